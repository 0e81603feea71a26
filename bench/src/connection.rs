//! One client's own HTTP/2 connection over mutual TLS, as client-go has it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kontiki_base::tasks::{TaskKind, Tasks};
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// No request may take longer: a server that hangs is an error, not a long benchmark.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to one server. Clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    server: String,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The answer, unless it is an error.
    pub fn success(self) -> Result<Answer> {
        if self.status.is_success() {
            return Ok(self);
        }
        bail!(
            "{}: {}",
            self.status,
            String::from_utf8_lossy(&self.body[..self.body.len().min(300)])
        )
    }
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(server: &str, tls: &Arc<ClientConfig>, tasks: &Tasks) -> Result<Connection> {
        let stream = TcpStream::connect(server)
            .await
            .with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true)?;
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host)?;
        let stream = TlsConnector::from(tls.clone())
            .connect(name, stream)
            .await
            .with_context(|| format!("TLS with {server}"))?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        tasks.spawn_infallible(TaskKind::logged("connection"), async move {
            // Its end shows as the error of a request.
            let _ = connection.await;
        });
        Ok(Connection { sender, server: server.to_owned() })
    }

    /// Sends a request and waits for the head of the answer.
    pub async fn send(
        &mut self,
        method: Method,
        uri: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{uri}", self.server))
            .header("accept", "application/json");
        let content = match body {
            Some((content_type, content)) => {
                request = request.header("content-type", content_type);
                content
            }
            None => Bytes::new(),
        };
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(Full::new(content))?).await?)
    }

    /// Sends a request and waits for the whole answer.
    pub async fn call(
        &mut self,
        method: Method,
        uri: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Answer> {
        let exchange = async {
            let response = self.send(method, uri, body).await?;
            let status = response.status();
            Ok(Answer { status, body: response.into_body().collect().await?.to_bytes() })
        };
        tokio::time::timeout(REQUEST_TIMEOUT, exchange)
            .await
            .with_context(|| format!("no answer to {uri} in {REQUEST_TIMEOUT:?}"))?
    }

    /// Reads an answer without keeping it; its size.
    pub async fn drain(&mut self, uri: &str) -> Result<usize> {
        let response = self.send(Method::GET, uri, None).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame?.data_ref().map_or(0, Bytes::len);
        }
        if !status.is_success() {
            bail!("{uri}: {status}");
        }
        Ok(size)
    }

    /// Creates an object.
    pub async fn create(&mut self, collection: &str, object: &Value) -> Result<Answer> {
        let body = Bytes::from(serde_json::to_vec(object)?);
        self.call(Method::POST, collection, Some(("application/json", body))).await
    }
}
