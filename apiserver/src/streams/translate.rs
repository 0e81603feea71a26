//! `v5.channel.k8s.io`: a WebSocket client, and a kubelet that speaks SPDY.
//!
//! ```text
//! client                      here                          kubelet
//! message [0, bytes]     ->   stdin                    ->   data of stream stdin
//! message [255, 0]       ->   stdin has ended          ->   last frame of stream stdin
//! message [4, json]      ->   the terminal's size      ->   data of stream resize
//! message [1|2, bytes]   <-   stdout, stderr           <-   data of their streams
//! message [3, Status]    <-   how the command ended    <-   data of stream error
//! ```
//!
//! WebSocket knows no end of one channel; that is what version 5 added. The client is accepted
//! before the kubelet is asked, so a refusal of the kubelet is told on channel 3.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::upgrade::{OnUpgrade, Upgraded};
use kontiki_api::Status;
use tokio::time::timeout;

use super::{
    spdy::{self, StreamId},
    talk::{self, Outbox, Reader},
    websocket,
};
use crate::{answer::Body, core::Core, dial::Target, exchange::Exchange, query::Query, upgrade};

/// The protocol.
pub const PROTOCOL: &str = "v5.channel.k8s.io";
/// What the kubelet is spoken to in.
const BEHIND: &str = "v4.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// The standard's code for an ordinary end.
const NORMAL: u16 = 1000;
/// How long the client may take to say goodbye, and the kubelet to close once all is said.
const LINGER: Duration = Duration::from_secs(5);
/// A refusal of the kubelet is read up to here.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Whether a client asks for it.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    upgrade::is_websocket(headers) && websocket::offered(headers).contains(&PROTOCOL)
}

/// Which streams a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    /// Reads the query of a request. A terminal has one output.
    pub fn of(query: &Query) -> Wanted {
        let tty = query.flag("tty");
        Wanted {
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr") && !tty,
            tty,
        }
    }

    /// Channels with the names of their streams, in the order in which they are opened.
    fn streams(self) -> impl Iterator<Item = (u8, &'static str)> {
        let all = [
            (true, ERROR, "error"),
            (self.stdin, STDIN, "stdin"),
            (self.stdout, STDOUT, "stdout"),
            (self.stderr, STDERR, "stderr"),
            (self.tty, RESIZE, "resize"),
        ];
        all.into_iter().filter(|(wanted, ..)| *wanted).map(|(_, channel, name)| (channel, name))
    }

    /// The channel on which a client hears that it was accepted.
    fn greeting(self) -> u8 {
        match (self.stdout, self.stderr) {
            (true, _) => STDOUT,
            (_, true) => STDERR,
            _ => ERROR,
        }
    }
}

/// Accepts the client and carries the conversation on.
pub fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
    target: Target,
    path: String,
) -> Result<Response<Body>, Status> {
    let wanted = Wanted::of(&exchange.query);
    let response = websocket::accept(&exchange.parts.headers, PROTOCOL)?;
    let client = upgrade::take(exchange)?;
    let place = core.streams.place(exchange)?;
    let own = core.clone();
    core.streams.run(place, async move { translate(&own, client, &target, &path, wanted).await });
    Ok(response)
}

async fn translate(core: &Core, client: OnUpgrade, target: &Target, path: &str, wanted: Wanted) {
    let client = match client.await {
        Ok(client) => client,
        Err(error) => return tracing::debug!("a stream ended before it began: {error}"),
    };
    let (mut client, writer, outbox) = talk::open(client);
    let talking = async {
        let greeting = websocket::message(&[&[wanted.greeting()]]);
        // A client that is gone shows at its reader.
        let _ = outbox.send(greeting).await;
        let failure = match dial(core, target, path).await {
            Ok(kubelet) => converse(&mut client, &outbox, kubelet, wanted).await,
            Err(status) => Some(status),
        };
        if let Some(status) = failure {
            let _ = outbox.send(websocket::message(&[&[ERROR], &status.encode()])).await;
        }
        let _ = outbox.send(websocket::close(NORMAL)).await;
        drop(outbox);
        let _ = timeout(LINGER, client.drain()).await;
    };
    tokio::join!(talking, writer.run());
}

/// Has the kubelet switch to SPDY.
async fn dial(core: &Core, target: &Target, path: &str) -> Result<Upgraded, Status> {
    let mut response = upgrade::ask(core, target, Method::POST, path, spdy_headers(BEHIND)).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgraded = hyper::upgrade::on(&mut response).await;
        return upgraded.map_err(|error| refused(&error.to_string()));
    }
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX);
    let text = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
    Err(refused(String::from_utf8_lossy(&text).trim()))
}

fn refused(why: &str) -> Status {
    Status::internal_error(&format!("unable to upgrade connection: {why}"))
}

/// The headers that ask for SPDY with a protocol of streams.
pub(super) fn spdy_headers(protocol: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert("x-stream-protocol-version", HeaderValue::from_static(protocol));
    headers
}

/// Which channel is which stream.
struct Routes(Vec<(u8, StreamId)>);

impl Routes {
    fn stream(&self, channel: u8) -> Option<StreamId> {
        self.0.iter().find(|(own, _)| *own == channel).map(|(_, stream)| *stream)
    }

    fn channel(&self, stream: StreamId) -> Option<u8> {
        self.0.iter().find(|(_, own)| *own == stream).map(|(channel, _)| *channel)
    }
}

/// Passes messages both ways until the command or the client has ended. Answers with what the
/// client is still to be told.
async fn converse(
    client: &mut Reader,
    client_outbox: &Outbox,
    kubelet: Upgraded,
    wanted: Wanted,
) -> Option<Status> {
    let (kubelet, writer, outbox) = talk::open(kubelet);
    let mut encoder = spdy::Encoder::default();
    let (mut routes, mut opening) = (Routes(Vec::new()), Vec::new());
    for (channel, name) in wanted.streams() {
        let (stream, frame) = encoder.open("streamtype", name);
        routes.0.push((channel, stream));
        opening.extend_from_slice(&frame);
    }
    let _ = outbox.send(Bytes::from(opening)).await;
    tokio::select! { biased;
        status = from_kubelet(kubelet, &routes, client_outbox, &outbox) => status,
        () = from_client(client, &routes, client_outbox, &outbox) => None,
        () = writer.run_while_possible() => None,
    }
}

/// Passes on what the client says until it says goodbye or breaks off.
async fn from_client(client: &mut Reader, routes: &Routes, own: &Outbox, kubelet: &Outbox) {
    let mut decoder = websocket::Decoder::default();
    let mut channel = None;
    loop {
        loop {
            let event = match decoder.next(client.buffer()) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => return tracing::debug!("a client is refused: {error}"),
            };
            match event {
                websocket::Event::Data { first, mut bytes } => {
                    if first {
                        channel = None;
                    }
                    if channel.is_none() && !bytes.is_empty() {
                        channel = Some(bytes.split_to(1)[0]);
                    }
                    if !said(routes, kubelet, channel, &bytes).await {
                        return;
                    }
                }
                websocket::Event::Ping(payload) => {
                    let _ = own.try_send(websocket::pong(&payload));
                }
                websocket::Event::Pong => {}
                websocket::Event::Close => return,
            }
        }
        if !matches!(client.more().await, Ok(true)) {
            return;
        }
    }
}

/// Passes a piece of a message on; false once nobody listens.
async fn said(routes: &Routes, kubelet: &Outbox, channel: Option<u8>, bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let frame = match channel {
        Some(channel @ (STDIN | RESIZE)) => {
            routes.stream(channel).map(|stream| spdy::data(stream, bytes))
        }
        Some(CLOSE) => routes.stream(bytes[0]).map(spdy::finish),
        _ => None,
    };
    match frame {
        Some(frame) => kubelet.send(frame).await.is_ok(),
        None => true,
    }
}

/// Passes on what the container says until all of its streams have ended.
async fn from_kubelet(
    mut kubelet: Reader,
    routes: &Routes,
    client: &Outbox,
    own: &Outbox,
) -> Option<Status> {
    let mut decoder = spdy::Decoder::default();
    let mut open: Vec<u8> = vec![ERROR];
    open.extend([STDOUT, STDERR].iter().filter(|channel| routes.stream(**channel).is_some()));
    let mut has_status = false;
    loop {
        loop {
            let event = match decoder.next(kubelet.buffer()) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => return Some(Status::internal_error(&error.to_string())),
            };
            match event {
                spdy::Event::Data { stream, bytes } => {
                    let Some(channel) = routes.channel(stream) else { continue };
                    has_status |= channel == ERROR;
                    if client.send(websocket::message(&[&[channel], &bytes])).await.is_err() {
                        return None;
                    }
                }
                spdy::Event::Finished(stream) | spdy::Event::Reset(stream) => {
                    let ended = routes.channel(stream);
                    open.retain(|channel| Some(*channel) != ended);
                }
                spdy::Event::Ping(id) if id % 2 == 0 => {
                    let _ = own.try_send(spdy::ping(id));
                }
                spdy::Event::Ping(_) | spdy::Event::Reply(_) | spdy::Event::GoAway => {}
            }
        }
        if open.is_empty() {
            break;
        }
        // All but a straggler's output has been said once the status is there.
        let more = kubelet.more();
        let more = match open.contains(&ERROR) {
            true => more.await,
            false => timeout(LINGER, more).await.unwrap_or(Ok(false)),
        };
        if !matches!(more, Ok(true)) {
            break;
        }
    }
    let lost = "error reading from error stream: unexpected EOF";
    (!has_status).then(|| Status::internal_error(lost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_opened_in_the_order_that_kubelets_expect() {
        let check = |query: &str, expected: &str| {
            let wanted = Wanted::of(&Query::parse(query));
            let names: Vec<&str> = wanted.streams().map(|(_, name)| name).collect();
            assert_eq!(format!("{} greeted on {}", names.join(" "), wanted.greeting()), expected);
        };
        check("stdout=true&stderr=true", "error stdout stderr greeted on 1");
        check("stdin=1&stdout=1&stderr=1&tty=1", "error stdin stdout resize greeted on 1");
        check("stdin=true", "error stdin greeted on 3");
        check("stderr=true", "error stderr greeted on 2");
    }

    #[test]
    fn only_version_5_is_translated() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(BEHIND));
        assert!(!is_wanted(&headers));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        assert!(is_wanted(&headers));
    }
}
