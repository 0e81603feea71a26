//! Mutual TLS to the servers of a cluster, any of which may be down.
//!
//! Requests go to one server over one HTTP/2 connection until it fails; then to the next. A
//! server that was powered off sends nothing, so the connection is probed: a dead one is noticed
//! within [`PROBE_INTERVAL`] plus [`PROBE_TIMEOUT`], also by watches that only wait.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, uri::Scheme};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::Connected},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use kontiki_base::tls::{self, Identity, Roots};
use kube::client::Body;
use parking_lot::RwLock;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::Client;

/// How long a TCP and TLS handshake may take before the next server is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often an open connection is probed.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// How long a probe may stay unanswered.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The `host:port` of every server, shared and replaceable while requests are under way.
#[derive(Clone, Debug)]
pub struct ServerList {
    servers: Arc<RwLock<Vec<String>>>,
    preferred: Arc<AtomicUsize>,
}

impl ServerList {
    /// A list that starts with a server drawn by chance, so that clients spread.
    pub fn new(servers: Vec<String>) -> ServerList {
        let preferred = rand::random_range(0..servers.len().max(1));
        ServerList {
            servers: Arc::new(RwLock::new(servers)),
            preferred: Arc::new(AtomicUsize::new(preferred)),
        }
    }

    /// The current list.
    pub fn servers(&self) -> Vec<String> {
        self.servers.read().clone()
    }

    /// Replaces the list; an empty one is ignored, since it could never be left again.
    pub fn update(&self, servers: Vec<String>) {
        if !servers.is_empty() {
            *self.servers.write() = servers;
        }
    }

    /// All servers, the one in use first.
    fn in_order(&self) -> Vec<(usize, String)> {
        let servers = self.servers.read();
        let first = self.preferred.load(Ordering::Relaxed) % servers.len().max(1);
        let indices = (0..servers.len()).map(|i| (first + i) % servers.len());
        indices.map(|i| (i, servers[i].clone())).collect()
    }

    fn prefer(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
    }
}

/// What it takes to speak to a cluster.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Its servers.
    pub servers: ServerList,
    /// The authority that signed their certificates.
    pub roots: Roots,
    /// Who the client is.
    pub identity: Option<Identity>,
}

impl Client {
    /// A client over mutual TLS with fail-over.
    pub fn remote(options: ConnectOptions) -> Result<Client, tls::Error> {
        let config = tls::client_config(&options.roots, options.identity.as_ref(), &[b"h2"])?;
        let connector = Connector { tls: TlsConnector::from(Arc::new(config)) };
        let http = legacy::Client::builder(TokioExecutor::new())
            .http2_only(true)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(PROBE_INTERVAL)
            .http2_keep_alive_timeout(PROBE_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .build(connector);
        let service = FailOver { http, servers: options.servers };
        Ok(Client::new(kube::Client::new(service, "default")))
    }
}

/// Sends each request to the server in use, and to the others when that one fails.
#[derive(Clone)]
struct FailOver {
    http: legacy::Client<Connector, Full<Bytes>>,
    servers: ServerList,
}

impl tower::Service<Request<Body>> for FailOver {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            this.send(parts, body).await
        })
    }
}

impl FailOver {
    async fn send(
        &self,
        parts: http::request::Parts,
        body: Bytes,
    ) -> Result<Response<Incoming>, BoxError> {
        let repeatable = matches!(parts.method, Method::GET | Method::HEAD);
        let mut failures = Vec::new();
        let servers = self.servers.in_order();
        let last = servers.len().saturating_sub(1);
        for (attempt, (index, server)) in servers.into_iter().enumerate() {
            let request = addressed(&parts, &server, body.clone())?;
            match self.http.request(request).await {
                Ok(response) => {
                    if response.status() == StatusCode::SERVICE_UNAVAILABLE && attempt < last {
                        failures.push(format!("{server}: not ready"));
                        continue;
                    }
                    self.servers.prefer(index);
                    return Ok(response);
                }
                Err(error) => {
                    let never_sent = error.is_connect();
                    failures.push(format!("{server}: {}", kontiki_base::tasks::render(&error)));
                    if !never_sent && !repeatable {
                        // It may have been carried out: the caller decides. Others move on.
                        self.servers.prefer(index + 1);
                        break;
                    }
                }
            }
        }
        Err(failures.join("; ").into())
    }
}

fn addressed(
    parts: &http::request::Parts,
    server: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, BoxError> {
    let mut uri = parts.uri.clone().into_parts();
    uri.scheme = Some(Scheme::HTTPS);
    uri.authority = Some(server.parse()?);
    if uri.path_and_query.is_none() {
        uri.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = Uri::from_parts(uri)?;
    *request.headers_mut() = parts.headers.clone();
    Ok(request)
}

/// Opens TLS connections.
#[derive(Clone)]
struct Connector {
    tls: TlsConnector,
}

impl tower::Service<Uri> for Connector {
    type Response = Connection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            let opened = tokio::time::timeout(CONNECT_TIMEOUT, open(&tls, &uri)).await;
            opened.map_err(|_| format!("no connection within {CONNECT_TIMEOUT:?}"))?
        })
    }
}

async fn open(tls: &TlsConnector, uri: &Uri) -> Result<Connection, BoxError> {
    let host = uri.host().ok_or("the server's address has no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned())?;
    let stream = tls.connect(name, stream).await?;
    Ok(Connection(TokioIo::new(stream)))
}

/// An open TLS connection that speaks HTTP/2.
struct Connection(TokioIo<TlsStream<TcpStream>>);

impl legacy::connect::Connection for Connection {
    fn connected(&self) -> Connected {
        Connected::new().negotiated_h2()
    }
}

impl hyper::rt::Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_in_use_comes_first() {
        let list = ServerList::new(vec!["a:1".into(), "b:1".into(), "c:1".into()]);
        list.prefer(2);
        let order: Vec<String> = list.in_order().into_iter().map(|(_, s)| s).collect();
        assert_eq!(order, ["c:1", "a:1", "b:1"]);
        list.update(vec![]);
        assert_eq!(list.servers().len(), 3);
        list.update(vec!["d:1".into()]);
        assert_eq!(list.in_order(), [(0, "d:1".to_owned())]);
    }
}
