//! The kubelet's HTTPS server: logs, pods, statistics, health, metrics.
//!
//! Every connection needs a client certificate under the configured roots. What a client may do is
//! the API server's business: it alone is expected here, and it authorises before it asks.

mod logs;
mod query;
mod stats;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use k8s_openapi::api::core::v1::Pod;
use kontiki_api::Object;
use kontiki_base::{
    tasks::{TaskKind, Tasks},
    telemetry,
    tls::{self, ClientCertificates},
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use crate::node::context::Context;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 512;
/// A peer that does not finish its handshake in this time is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// Certificate or roots are unusable.
    #[error("cannot serve")]
    Tls(#[from] tls::Error),
}

type Body = BoxBody<Bytes, Infallible>;

/// Listens and serves until the tasks are stopped.
pub async fn start(context: &Arc<Context>, tasks: &Tasks) -> Result<(), Error> {
    let options = &context.options;
    let config = tls::server_config(
        &options.serving,
        &options.client_roots,
        ClientCertificates::Required,
        &[b"h2", b"http/1.1"],
    )?;
    let address = options.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let (context, shutdown) = (context.clone(), tasks.shutdown());
    let connections = tasks.child();
    tasks.spawn_infallible(TaskKind::logged("kubelet server"), async move {
        let server = accept(context, listener, Arc::new(config), connections);
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            () = server => {}
        }
    });
    Ok(())
}

async fn accept(
    context: Arc<Context>,
    listener: TcpListener,
    config: Arc<rustls::ServerConfig>,
    tasks: Tasks,
) {
    let acceptor = TlsAcceptor::from(config);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (context, acceptor, shutdown) = (context.clone(), acceptor.clone(), tasks.shutdown());
        let (kind, own) = (TaskKind::logged("kubelet connection"), tasks.clone());
        tasks.spawn_infallible(kind, async move {
            let _permit = permit;
            tokio::select! { biased;
                () = shutdown.cancelled() => {}
                () = serve(context, acceptor, stream, own) => {}
            }
        });
    }
}

async fn serve(context: Arc<Context>, acceptor: TlsAcceptor, stream: TcpStream, tasks: Tasks) {
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!("TLS handshake failed: {error}"),
        Err(_) => return,
    };
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (context, tasks) = (context.clone(), tasks.clone());
        async move { Ok::<_, Infallible>(answer(&context, &tasks, &request).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("connection ended: {error}");
    }
}

async fn answer(
    context: &Arc<Context>,
    tasks: &Tasks,
    request: &Request<Incoming>,
) -> Response<Body> {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n");
    }
    let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    match parts[..] {
        ["healthz"] => text(StatusCode::OK, "ok"),
        ["metrics"] => text(StatusCode::OK, telemetry::metrics_text()),
        ["pods"] | ["runningpods"] => pods(context),
        ["stats", "summary"] => stats::answer(context).await,
        ["containerLogs", namespace, pod, container] => {
            let query = request.uri().query().unwrap_or_default();
            logs::answer(context, tasks, (namespace, pod, container), query).await
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn pods(context: &Context) -> Response<Body> {
    let workers = context.workers.lock();
    let items: Vec<serde_json::Value> = workers
        .values()
        .filter_map(|inbox| inbox.latest())
        .map(|pod| Pod::to_value(&pod))
        .collect();
    let list = json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items });
    json_text(list.to_string())
}

fn json_text(json: String) -> Response<Body> {
    let mut response = text(StatusCode::OK, json);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed());
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// An answer that is written as it comes.
fn streaming(receiver: mpsc::Receiver<Bytes>) -> Response<Body> {
    let frames = ReceiverStream::new(receiver).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let mut response = text(StatusCode::OK, "");
    *response.body_mut() = BodyExt::boxed(StreamBody::new(frames));
    response
}
