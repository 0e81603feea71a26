//! Answers that come bit by bit, as messages of a WebSocket: logs and watches for clients that can
//! speak that and not read a stream.
//!
//! The client has nothing to say. Whatever it sends is forgotten, but for pings and its goodbye; when
//! the answer ends it is told so with a close of code 1000.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt;
use kontiki_api::Status;
use tokio::sync::mpsc::WeakSender;

use super::{
    talk::{self, Outbox, Reader},
    websocket,
};
use crate::{answer::Body, core::Core, exchange::Exchange, upgrade};

const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";

/// How an answer's bytes become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// As they come.
    Pieces,
    /// As they come, as text.
    Base64,
    /// A line each, as text.
    Lines,
}

/// Whether an answer is to be sent in this way.
pub fn is_wanted(exchange: &Exchange) -> bool {
    upgrade::is_websocket(&exchange.parts.headers)
}

/// Sends a stream of bytes under the first protocol offered that is known; without an offer as bytes.
pub fn bytes(
    core: &Core,
    exchange: &mut Exchange,
    answer: Response<Body>,
) -> Result<Response<Body>, Status> {
    let offered = websocket::offered(&exchange.parts.headers);
    let known = offered.iter().find_map(|protocol| match *protocol {
        BINARY => Some((BINARY, Framing::Pieces)),
        BASE64 => Some((BASE64, Framing::Base64)),
        _ => None,
    });
    let (protocol, framing) = match known {
        Some(known) => known,
        None if offered.is_empty() => ("", Framing::Pieces),
        None => {
            return Err(Status::bad_request(format!(
                "requested protocol(s) are not supported: {offered:?}; supports [{BINARY} {BASE64}]"
            )));
        }
    };
    send(core, exchange, answer, protocol, framing)
}

/// Sends a stream of lines, a message each, under whatever one protocol is offered.
pub fn lines(
    core: &Core,
    exchange: &mut Exchange,
    answer: Response<Body>,
) -> Result<Response<Body>, Status> {
    let protocol = match websocket::offered(&exchange.parts.headers)[..] {
        [] => String::new(),
        [one] => one.to_owned(),
        _ => return Err(Status::bad_request("websocket: more than one protocol is offered")),
    };
    send(core, exchange, answer, &protocol, Framing::Lines)
}

fn send(
    core: &Core,
    exchange: &mut Exchange,
    answer: Response<Body>,
    protocol: &str,
    framing: Framing,
) -> Result<Response<Body>, Status> {
    let accepted = websocket::accept(&exchange.parts.headers, protocol)?;
    let client = upgrade::take(exchange)?;
    let place = core.streams.place(exchange)?;
    core.streams.run(place, async move {
        let Ok(client) = client.await else { return };
        let (reader, writer, outbox) = talk::open(client);
        // Who answers pings must not keep the writer waiting when all is said.
        let pongs = outbox.downgrade();
        let speech = async {
            tokio::join!(say(answer.into_body(), framing, outbox), writer.run());
        };
        tokio::select! { biased;
            () = listen(reader, pongs) => {}
            () = speech => {}
        }
    });
    Ok(accepted)
}

/// Hears the client until it is gone.
async fn listen(mut client: Reader, pongs: WeakSender<Bytes>) {
    let mut decoder = websocket::Decoder::default();
    loop {
        match decoder.next(client.buffer()) {
            Ok(Some(websocket::Event::Ping(payload))) => {
                if let Some(outbox) = pongs.upgrade() {
                    let _ = outbox.try_send(websocket::pong(&payload));
                }
            }
            Ok(Some(websocket::Event::Close)) => return,
            Ok(Some(_)) => {}
            Ok(None) => {
                if !matches!(client.more().await, Ok(true)) {
                    return;
                }
            }
            Err(error) => return tracing::debug!("a client is refused: {error}"),
        }
    }
}

/// Says all there is, and goodbye.
async fn say(mut body: Body, framing: Framing, outbox: Outbox) {
    let mut rest = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        for message in messages(framing, &data, &mut rest) {
            if outbox.send(message).await.is_err() {
                return;
            }
        }
    }
    let _ = outbox.send(websocket::close(1000)).await;
}

/// The messages that a piece makes, with what is left of the ones before.
fn messages(framing: Framing, data: &Bytes, rest: &mut BytesMut) -> Vec<Bytes> {
    match framing {
        _ if data.is_empty() => Vec::new(),
        Framing::Pieces => vec![websocket::message(&[data])],
        Framing::Base64 => vec![websocket::text(&STANDARD.encode(data))],
        Framing::Lines => {
            rest.extend_from_slice(data);
            let mut found = Vec::new();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.split_to(end + 1);
                found.push(websocket::text(&String::from_utf8_lossy(&line)));
            }
            found
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(framing: Framing, pieces: &[&str], expected: &[&str]) {
        let mut rest = BytesMut::new();
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes()));
        let found: Vec<String> = pieces
            .flat_map(|piece| messages(framing, &piece, &mut rest))
            .map(|message| {
                format!("{} {}", message[0] & 15, String::from_utf8_lossy(&message[2..]))
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn bytes_become_messages() {
        check(Framing::Pieces, &["one\ntw", "o\n"], &["2 one\ntw", "2 o\n"]);
        check(Framing::Base64, &["one"], &["1 b25l"]);
        check(
            Framing::Lines,
            &["one\ntw", "o\nthree\n", "four"],
            &["1 one\n", "1 two\n", "1 three\n"],
        );
    }
}
