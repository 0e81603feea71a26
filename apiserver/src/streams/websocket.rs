//! WebSocket (RFC 6455) as a server speaks it: the handshake, frames in, frames out. Pure.
//!
//! Messages are not collected. What has arrived of one is handed on piece by piece, so that a
//! message may be as long as its sender likes and costs no more than a read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kontiki_api::Status;

use crate::answer::Body;

/// What every accepted key is signed with, by the standard.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest payload of a ping, pong or close.
const CONTROL_BYTES_MAX: u64 = 125;
/// The two bytes, the long length and the mask.
const HEAD_BYTES_MAX: usize = 14;

/// A message of bytes.
pub const BINARY: u8 = 2;
const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The protocols that a client offers, in its order.
pub fn offered(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty()).collect()
}

/// The answer that switches to WebSocket under a protocol, or under none if it is empty.
pub fn accept(headers: &HeaderMap, protocol: &str) -> Result<Response<Body>, Status> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Status::bad_request(
            "websocket: unsupported version: 13 not found in 'Sec-Websocket-Version' header",
        ));
    }
    let key = text(header::SEC_WEBSOCKET_KEY).unwrap_or_default();
    if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err(Status::bad_request(
            "websocket: not a websocket handshake: 'Sec-WebSocket-Key' header must be Base64 encoded value of 16-byte in length",
        ));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|error| Status::internal_error(&error.to_string()))
    };
    if !protocol.is_empty() {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value(protocol)?);
    }
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, value(&signature(key))?);
    Ok(response)
}

fn signature(key: &str) -> String {
    let text = format!("{key}{GUID}");
    // What the standard asks for; nothing is kept secret by it.
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    STANDARD.encode(digest)
}

/// What has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of a message.
    Data {
        /// Whether the message begins with it.
        first: bool,
        /// The bytes.
        bytes: Bytes,
    },
    /// The client wants to know whether we are there.
    Ping(Bytes),
    /// The client is there.
    Pong,
    /// The client says goodbye.
    Close,
}

/// A client that does not keep to the standard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("websocket: {0}")]
pub struct Error(&'static str);

/// Reads frames.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The data frame whose payload is arriving.
    current: Option<Payload>,
    /// Whether a message goes on in the next data frame.
    fragmented: bool,
    /// Whether the next piece begins a message.
    first: bool,
}

#[derive(Debug)]
struct Payload {
    left: u64,
    mask: [u8; 4],
    offset: usize,
}

#[derive(Debug)]
struct Head {
    is_last: bool,
    opcode: u8,
    mask: [u8; 4],
    length: u64,
    size: usize,
}

impl Decoder {
    /// Takes the next event out of what was read; `None` needs more.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.piece(buffer) {
                return Ok(Some(event));
            }
            if self.current.is_some() {
                return Ok(None);
            }
            let Some(head) = read_head(buffer)? else { return Ok(None) };
            if head.opcode >= CLOSE {
                return control(&head, buffer);
            }
            self.begin(&head)?;
            buffer.advance(head.size);
        }
    }

    fn begin(&mut self, head: &Head) -> Result<(), Error> {
        match (head.opcode, self.fragmented) {
            (TEXT | BINARY, false) => self.first = true,
            (CONTINUATION, true) => {}
            (TEXT | BINARY, true) => return Err(Error("a message begins within another")),
            (CONTINUATION, false) => return Err(Error("no message goes on")),
            _ => return Err(Error("unknown opcode")),
        }
        self.fragmented = !head.is_last;
        self.current = Some(Payload { left: head.length, mask: head.mask, offset: 0 });
        Ok(())
    }

    /// What is there of the current frame. An empty message is one empty piece.
    fn piece(&mut self, buffer: &mut BytesMut) -> Option<Event> {
        let payload = self.current.as_mut()?;
        let there = usize::try_from(payload.left).unwrap_or(usize::MAX).min(buffer.len());
        if there == 0 && payload.left > 0 {
            return None;
        }
        let mut bytes = buffer.split_to(there);
        payload.unmask(&mut bytes);
        payload.left -= there as u64;
        if payload.left == 0 {
            self.current = None;
        }
        let first = std::mem::take(&mut self.first);
        (first || there > 0).then(|| Event::Data { first, bytes: bytes.freeze() })
    }
}

impl Payload {
    fn unmask(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte ^= self.mask[self.offset];
            self.offset = (self.offset + 1) % 4;
        }
    }
}

fn control(head: &Head, buffer: &mut BytesMut) -> Result<Option<Event>, Error> {
    if head.length > CONTROL_BYTES_MAX || !head.is_last {
        return Err(Error("a control frame is too long or in pieces"));
    }
    let length = usize::try_from(head.length).unwrap_or(usize::MAX);
    if buffer.len() < head.size + length {
        return Ok(None);
    }
    buffer.advance(head.size);
    let mut bytes = buffer.split_to(length);
    Payload { left: 0, mask: head.mask, offset: 0 }.unmask(&mut bytes);
    match head.opcode {
        CLOSE => Ok(Some(Event::Close)),
        PING => Ok(Some(Event::Ping(bytes.freeze()))),
        PONG => Ok(Some(Event::Pong)),
        _ => Err(Error("unknown opcode")),
    }
}

fn read_head(buffer: &[u8]) -> Result<Option<Head>, Error> {
    let mut rest = &buffer[..buffer.len().min(HEAD_BYTES_MAX)];
    if rest.len() < 2 {
        return Ok(None);
    }
    let (flags, length) = (rest.get_u8(), rest.get_u8());
    if flags & 0x70 != 0 {
        return Err(Error("reserved bits are set"));
    }
    if length & 0x80 == 0 {
        return Err(Error("a client must mask what it sends"));
    }
    let extended = match length & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if rest.len() < extended + 4 {
        return Ok(None);
    }
    let length = match length & 0x7f {
        126 => u64::from(rest.get_u16()),
        127 => rest.get_u64(),
        short => u64::from(short),
    };
    if length > i64::MAX as u64 {
        return Err(Error("a length is out of range"));
    }
    let mut mask = [0; 4];
    rest.copy_to_slice(&mut mask);
    let size = 2 + extended + 4;
    Ok(Some(Head { is_last: flags & 0x80 != 0, opcode: flags & 0x0f, mask, length, size }))
}

/// A whole frame of a server, its payload in parts.
fn frame(opcode: u8, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = BytesMut::with_capacity(length + HEAD_BYTES_MAX);
    out.put_u8(0x80 | opcode);
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        out.put_u8(short);
    } else if let Ok(medium) = u16::try_from(length) {
        out.put_u8(126);
        out.put_u16(medium);
    } else {
        out.put_u8(127);
        out.put_u64(length as u64);
    }
    for part in parts {
        out.put_slice(part);
    }
    out.freeze()
}

/// A message of bytes.
pub fn message(parts: &[&[u8]]) -> Bytes {
    frame(BINARY, parts)
}

/// A message of text.
pub fn text(text: &str) -> Bytes {
    frame(TEXT, &[text.as_bytes()])
}

/// The answer to a ping. Unasked, it says that we are there.
pub fn pong(payload: &[u8]) -> Bytes {
    frame(PONG, &[payload])
}

/// Goodbye, with one of the standard's codes.
pub fn close(code: u16) -> Bytes {
    frame(CLOSE, &[&code.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame, masked.
    fn client(flags: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = vec![flags];
        match payload.len() {
            short @ 0..126 => out.push(0x80 | u8::try_from(short).unwrap()),
            medium @ 126..65536 => {
                out.push(0x80 | 126);
                out.extend(u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                out.push(0x80 | 127);
                out.extend((long as u64).to_be_bytes());
            }
        }
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    fn shown(event: &Event) -> String {
        match event {
            Event::Data { first, bytes } => {
                format!("{}{}", if *first { "[" } else { "" }, String::from_utf8_lossy(bytes))
            }
            Event::Ping(bytes) => format!("ping {}", String::from_utf8_lossy(bytes)),
            Event::Pong => "pong".to_owned(),
            Event::Close => "close".to_owned(),
        }
    }

    /// Feeds bytes in steps of a size; what comes out, one event after the other.
    fn read(bytes: &[u8], step: usize) -> String {
        let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
        let mut seen = Vec::new();
        for part in bytes.chunks(step) {
            buffer.extend_from_slice(part);
            loop {
                match decoder.next(&mut buffer) {
                    Ok(Some(event)) => seen.push(shown(&event)),
                    Ok(None) => break,
                    Err(error) => return format!("{} {error}", seen.join(" ")).trim().to_owned(),
                }
            }
        }
        seen.join(" ")
    }

    #[test]
    fn frames_become_events_however_they_arrive() {
        let frames = [
            client(0x82, b"one"),
            client(0x02, b"tw"),
            client(0x89, b"hi"),
            client(0x80, b"o"),
            client(0x82, b""),
            client(0x8a, b""),
            client(0x88, &[3, 232]),
        ];
        let all = frames.concat();
        assert_eq!(read(&all, all.len()), "[one [tw ping hi o [ pong close");
        assert_eq!(read(&all, 1), "[o n e [t w ping hi o [ pong close");
    }

    #[test]
    fn long_messages_are_handed_on_as_they_come() {
        for length in [125_usize, 126, 65_535, 65_536, 200_000] {
            let bytes = client(0x82, &vec![b'x'; length]);
            let seen = read(&bytes, 4_096);
            assert_eq!(seen.matches('x').count(), length);
            assert!(seen.starts_with('[') && seen.matches('[').count() == 1);
        }
    }

    #[test]
    fn what_breaks_the_standard_is_refused() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(read(bytes, bytes.len()), expected);
        check(&[0x82, 0x01, b'x'], "websocket: a client must mask what it sends");
        check(&client(0xc2, b"x"), "websocket: reserved bits are set");
        check(&client(0x80, b"x"), "websocket: no message goes on");
        check(&client(0x83, b"x"), "websocket: unknown opcode");
        check(&client(0x8b, b"x"), "websocket: unknown opcode");
        check(
            &[client(0x02, b"x"), client(0x82, b"y")].concat(),
            "[x websocket: a message begins within another",
        );
        check(&client(0x89, &[b'x'; 126]), "websocket: a control frame is too long or in pieces");
        check(
            &[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0],
            "websocket: a length is out of range",
        );
    }

    #[test]
    fn frames_of_a_server_are_not_masked() {
        assert_eq!(&message(&[&[1], b"ab"])[..], &[0x82, 3, 1, b'a', b'b']);
        assert_eq!(&message(&[&[0; 300]])[..4], &[0x82, 126, 1, 44]);
        assert_eq!(&message(&[&vec![0; 70_000]])[..10], &[0x82, 127, 0, 0, 0, 0, 0, 1, 17, 112]);
        assert_eq!(&close(1000)[..], &[0x88, 2, 3, 232]);
        assert_eq!(&pong(b"")[..], &[0x8a, 0]);
    }

    #[test]
    fn the_handshake_is_the_standards_own() {
        let mut headers = HeaderMap::new();
        headers.insert(header::SEC_WEBSOCKET_VERSION, "13".parse().unwrap());
        headers.insert(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io, other".parse().unwrap());
        assert_eq!(offered(&headers), ["v5.channel.k8s.io", "other"]);
        let response = accept(&headers, "v5.channel.k8s.io").unwrap();
        let accepted = &response.headers()[header::SEC_WEBSOCKET_ACCEPT];
        assert_eq!(accepted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.insert(header::SEC_WEBSOCKET_KEY, "short".parse().unwrap());
        assert_eq!(accept(&headers, "x").err().unwrap().code, 400);
    }
}
