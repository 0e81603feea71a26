//! A lean client of gRPC: unary calls and streams of one connection, nothing else.
//!
//! Servers and generator share the machine, so every microsecond spent here is missing there. One
//! task drives the connection; calls put their frame on it and wait for the answer's, without
//! queues, middleware or timers of their own. Who calls sets the deadline, for a whole run.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{
    HeaderMap, HeaderValue, Request, Uri,
    header::{CONTENT_TYPE, TE},
    uri::{Authority, PathAndQuery, Scheme},
};
use kontiki_base::tasks::{TaskKind, Tasks};
use prost::Message;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Large enough that a range of 10,000 keys never waits for a window.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// The compressed flag and the length that precede a message.
const PREFIX: usize = 5;
/// Refuses lengths that no answer of ours has.
const ANSWER_MAX: usize = 512 << 20;

/// A connection to one member. Clones share it.
#[derive(Clone)]
pub(super) struct Grpc {
    sender: SendRequest<Bytes>,
    scheme: Scheme,
    authority: Authority,
}

impl Grpc {
    /// Connects to `host:port`, plainly or with TLS.
    pub(super) async fn connect(
        server: &str,
        tls: Option<&Arc<ClientConfig>>,
        tasks: &Tasks,
    ) -> Result<Grpc> {
        let stream = TcpStream::connect(server)
            .await
            .with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true)?;
        let authority: Authority = server.parse()?;
        let (sender, scheme) = match tls {
            None => (handshake(stream, tasks).await?, Scheme::HTTP),
            Some(tls) => {
                let host = authority.host().trim_matches(['[', ']']).to_owned();
                let stream = TlsConnector::from(tls.clone())
                    .connect(ServerName::try_from(host)?, stream)
                    .await
                    .with_context(|| format!("TLS with {server}"))?;
                (handshake(stream, tasks).await?, Scheme::HTTPS)
            }
        };
        Ok(Grpc { sender, scheme, authority })
    }

    /// Sends one message and waits for the answer and its status. A call that is left before its
    /// end is reset, and a connection endures only so many of these (1,024 in h2).
    pub(super) async fn call<A: Message + Default>(
        &self,
        path: &'static str,
        message: &impl Message,
    ) -> Result<A> {
        let mut answers = self.start(path, message, true).await?.1;
        let answer = answers.next().await?.ok_or_else(|| anyhow!("{path}: an empty answer"))?;
        ensure!(answers.next::<A>().await?.is_none(), "{path}: more than one answer");
        Ok(answer)
    }

    /// Opens a stream in both directions with its first message.
    pub(super) async fn stream(
        &self,
        path: &'static str,
        first: &impl Message,
    ) -> Result<(Requests, Answers)> {
        self.start(path, first, false).await
    }

    async fn start(
        &self,
        path: &'static str,
        first: &impl Message,
        only: bool,
    ) -> Result<(Requests, Answers)> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut body) = sender.send_request(self.head(path)?, false)?;
        body.send_data(frame(first), only)?;
        Ok((
            Requests(body),
            Answers { response: Some(response), body: None, frames: Frames::default() },
        ))
    }

    fn head(&self, path: &'static str) -> Result<Request<()>> {
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(PathAndQuery::from_static(path))
            .build()?;
        let mut request = Request::post(uri).body(())?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        Ok(request)
    }
}

async fn handshake<S>(stream: S, tasks: &Tasks) -> Result<SendRequest<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(stream)
        .await?;
    tasks.spawn_infallible(TaskKind::logged("connection"), async move {
        // Its end shows as the error of a call.
        let _ = connection.await;
    });
    Ok(sender)
}

/// The direction of a stream that goes to the server.
pub(super) struct Requests(SendStream<Bytes>);

impl Requests {
    /// Sends another message.
    pub(super) fn send(&mut self, message: &impl Message) -> Result<()> {
        Ok(self.0.send_data(frame(message), false)?)
    }
}

/// The direction of a call that comes from the server.
pub(super) struct Answers {
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    frames: Frames,
}

impl Answers {
    /// The next message; `None` when the server has ended the call well.
    pub(super) async fn next<A: Message + Default>(&mut self) -> Result<Option<A>> {
        if let Some(response) = self.response.take() {
            let (head, body) = response.await?.into_parts();
            if head.headers.contains_key("grpc-status") {
                check(&head.headers)?;
            }
            if !head.status.is_success() {
                bail!("HTTP status {}", head.status);
            }
            self.body = Some(body);
        }
        let body = self.body.as_mut().context("the call has ended")?;
        loop {
            if let Some(message) = self.frames.take()? {
                return Ok(Some(A::decode(message)?));
            }
            let Some(chunk) = body.data().await else { break };
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            self.frames.push(chunk);
        }
        let trailers = body.trailers().await?.context("the answer has no status")?;
        check(&trailers)?;
        Ok(None)
    }
}

/// What has come of an answer. A message that came in one piece is not copied.
#[derive(Debug, Default)]
struct Frames {
    ready: Bytes,
    partial: BytesMut,
}

impl Frames {
    fn push(&mut self, chunk: Bytes) {
        if self.partial.is_empty() && self.ready.is_empty() {
            self.ready = chunk;
            return;
        }
        if self.partial.is_empty() {
            let left = std::mem::take(&mut self.ready);
            self.partial.reserve(wanted(&left).max(left.len() + chunk.len()));
            self.partial.extend_from_slice(&left);
        }
        self.partial.extend_from_slice(&chunk);
        if self.partial.len() >= wanted(&self.partial) {
            self.ready = std::mem::take(&mut self.partial).freeze();
        }
    }

    /// Takes one message off the front, if it is all there.
    fn take(&mut self) -> Result<Option<Bytes>> {
        if !self.partial.is_empty() || self.ready.len() < PREFIX {
            return Ok(None);
        }
        let size = wanted(&self.ready);
        if self.ready[0] != 0 || size > ANSWER_MAX {
            bail!("an answer that is compressed or has {size} bytes");
        }
        if self.ready.len() < size {
            return Ok(None);
        }
        self.ready.advance(PREFIX);
        Ok(Some(self.ready.split_to(size - PREFIX)))
    }
}

/// How many bytes the first message of a buffer needs, as far as can be told.
fn wanted(read: &[u8]) -> usize {
    match read.get(1..PREFIX) {
        Some(mut length) => usize::try_from(length.get_u32()).unwrap_or(usize::MAX) + PREFIX,
        None => PREFIX,
    }
}

fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a request is far below 4 GiB"));
    message.encode(&mut frame).expect("the buffer has room");
    frame.freeze()
}

/// The call's outcome, from the trailers or, when there was no message, from the head.
fn check(headers: &HeaderMap) -> Result<()> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "0" => Ok(()),
        code => bail!("status {code}: {}", text("grpc-message")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::messages::PutRequest;

    #[test]
    fn messages_are_taken_off_whole_however_they_come() {
        let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
        let three = Bytes::from([frame(&put), frame(&put), frame(&put)].concat());
        for size in 1..=three.len() {
            let (mut frames, mut whole) = (Frames::default(), 0);
            for from in (0..three.len()).step_by(size) {
                frames.push(three.slice(from..three.len().min(from + size)));
                while let Some(message) = frames.take().unwrap() {
                    assert_eq!(PutRequest::decode(message).unwrap(), put);
                    whole += 1;
                }
            }
            assert_eq!(whole, 3, "in pieces of {size}");
        }
    }

    #[test]
    fn a_status_other_than_zero_is_an_error() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("14"));
        headers.insert("grpc-message", HeaderValue::from_static("no leader"));
        assert_eq!(check(&headers).unwrap_err().to_string(), "status 14: no leader");
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        assert!(check(&headers).is_ok());
    }
}
