//! The kubelet's HTTPS server: logs, commands, ports, pods, statistics, health, metrics.
//!
//! Every request needs a client certificate under the configured roots, or a bearer token of which
//! the API server says whose it is, and is authorised ([`access`]): the API server may do everything
//! here, everybody else what the API server says.

mod access;
mod bearer;
mod logs;
mod query;
mod stats;
mod streaming;

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
    splice,
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

/// What all connections share.
#[derive(Clone)]
struct Shared {
    context: Arc<Context>,
    tasks: Tasks,
    /// Room for joined streams.
    streams: Arc<Semaphore>,
    bearers: Arc<bearer::Bearers>,
}

/// Listens and serves until the tasks are stopped.
pub async fn start(context: &Arc<Context>, tasks: &Tasks) -> Result<(), Error> {
    let options = &context.options;
    let config = tls::server_config(
        &options.serving,
        &options.client_roots,
        ClientCertificates::Optional,
        &[b"h2", b"http/1.1"],
    )?;
    let address = options.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let shutdown = tasks.shutdown();
    let shared = Shared {
        context: context.clone(),
        tasks: tasks.child(),
        streams: Arc::new(Semaphore::new(streaming::STREAMS_MAX)),
        bearers: Arc::default(),
    };
    tasks.spawn_infallible(TaskKind::logged("kubelet server"), async move {
        let server = accept(shared, listener, Arc::new(config));
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            () = server => {}
        }
    });
    Ok(())
}

async fn accept(shared: Shared, listener: TcpListener, config: Arc<rustls::ServerConfig>) {
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
        let (own, acceptor, shutdown) = (shared.clone(), acceptor.clone(), shared.tasks.shutdown());
        let kind = TaskKind::logged("kubelet connection");
        shared.tasks.spawn_infallible(kind, async move {
            let _permit = permit;
            tokio::select! { biased;
                () = shutdown.cancelled() => {}
                () = serve(own, acceptor, stream) => {}
            }
        });
    }
}

async fn serve(shared: Shared, acceptor: TlsAcceptor, stream: TcpStream) {
    // Only a comfort: without it a dead peer is noticed later.
    let _ = splice::keep_alive(&stream);
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!("TLS handshake failed: {error}"),
        Err(_) => return,
    };
    let chain = stream.get_ref().1.peer_certificates();
    let caller = chain.and_then(|chain| access::Caller::of(chain.first()?)).map(Arc::new);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (shared, caller) = (shared.clone(), caller.clone());
        async move { Ok::<_, Infallible>(answer(&shared, caller.as_deref(), request).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!("connection ended: {error}");
    }
}

async fn answer(
    shared: &Shared,
    caller: Option<&access::Caller>,
    request: Request<Incoming>,
) -> Response<Body> {
    let (context, tasks) = (&shared.context, &shared.tasks);
    let path = request.uri().path().to_owned();
    let by_token = match caller {
        Some(_) => None,
        None => shared.bearers.caller(context, request.headers()).await,
    };
    let caller = caller.or(by_token.as_deref());
    if let Err((status, problem)) = access::judge(context, caller, request.method(), &path).await {
        return text(status, problem);
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if let Some(asked) = streaming::Asked::parse(&parts, request.uri().query().unwrap_or_default())
    {
        return streaming::answer(shared, asked, request).await;
    }
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n");
    }
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
