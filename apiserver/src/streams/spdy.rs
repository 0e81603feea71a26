//! SPDY/3.1 as a client of kubelets speaks it: as much as remote commands need. Pure.
//!
//! The client opens every stream, so nothing has to be read out of a compressed header block. What
//! it writes into one is stored, not compressed: the zlib stream that runs through a connection
//! allows that, and asks for no dictionary then. Flow control does not exist between these peers;
//! TCP's own holds a fast sender back.
//!
//! ```text
//! control  1|version 3 |type     flags|length     data  0|stream id
//!          payload                                      flags|length  payload
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;
const VERSION: u16 = 0x8003;
/// On the last frame of a direction.
const FIN: u8 = 1;
const HEAD_BYTES: usize = 8;
/// Control frames are small; one that is not is no SPDY.
const CONTROL_BYTES_MAX: usize = 64 << 10;

/// A stream within a connection.
pub type StreamId = u32;

/// What has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of what a stream says.
    Data {
        /// The stream.
        stream: StreamId,
        /// The bytes.
        bytes: Bytes,
    },
    /// A stream says no more.
    Finished(StreamId),
    /// A stream was accepted.
    Reply(StreamId),
    /// A stream was refused, or broke off.
    Reset(StreamId),
    /// The peer wants to know whether we are there; or answers the same question of ours.
    Ping(u32),
    /// The peer takes no more streams.
    GoAway,
}

/// A peer that does not speak SPDY.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spdy: {0}")]
pub struct Error(&'static str);

/// Reads frames. The payload of data is handed on as it comes.
#[derive(Debug, Default)]
pub struct Decoder {
    current: Option<Data>,
    /// A stream that ended with the bytes handed on before.
    finished: Option<StreamId>,
}

#[derive(Debug)]
struct Data {
    stream: StreamId,
    is_last: bool,
    left: usize,
}

impl Decoder {
    /// Takes the next event out of what was read; `None` needs more.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, Error> {
        loop {
            if let Some(stream) = self.finished.take() {
                return Ok(Some(Event::Finished(stream)));
            }
            if let Some(data) = self.current.as_mut() {
                let there = data.left.min(buffer.len());
                if there == 0 && data.left > 0 {
                    return Ok(None);
                }
                data.left -= there;
                let stream = data.stream;
                if data.left == 0 {
                    self.finished = data.is_last.then_some(stream);
                    self.current = None;
                }
                if there > 0 {
                    let bytes = buffer.split_to(there).freeze();
                    return Ok(Some(Event::Data { stream, bytes }));
                }
                continue;
            }
            if buffer.len() < HEAD_BYTES {
                return Ok(None);
            }
            let mut head = &buffer[..HEAD_BYTES];
            let (first, second) = (head.get_u32(), head.get_u32());
            let (flags, length) = ((second >> 24) as u8, (second & 0x00ff_ffff) as usize);
            if first & 0x8000_0000 == 0 {
                buffer.advance(HEAD_BYTES);
                let is_last = flags & FIN != 0;
                self.current = Some(Data { stream: first, is_last, left: length });
                continue;
            }
            if (first >> 16) as u16 != VERSION || length > CONTROL_BYTES_MAX {
                return Err(Error("not a frame of version 3"));
            }
            if buffer.len() < HEAD_BYTES + length {
                return Ok(None);
            }
            buffer.advance(HEAD_BYTES);
            let payload = buffer.split_to(length);
            if let Some(event) = self.control((first & 0xffff) as u16, flags, &payload)? {
                return Ok(Some(event));
            }
        }
    }

    fn control(
        &mut self,
        kind: u16,
        flags: u8,
        mut payload: &[u8],
    ) -> Result<Option<Event>, Error> {
        if !matches!(kind, SYN_REPLY | RST_STREAM | PING | GO_AWAY) {
            // Settings, headers and windows change nothing for us.
            return Ok(None);
        }
        if payload.len() < 4 {
            return Err(Error("a control frame is too short"));
        }
        let id = payload.get_u32();
        Ok(Some(match kind {
            SYN_REPLY => {
                self.finished = (flags & FIN != 0).then_some(id);
                Event::Reply(id)
            }
            RST_STREAM => Event::Reset(id),
            PING => Event::Ping(id),
            _ => Event::GoAway,
        }))
    }
}

/// Writes frames.
#[derive(Debug, Default)]
pub struct Encoder {
    /// Streams opened so far.
    opened: u32,
}

impl Encoder {
    /// Opens a stream with one header. Clients count in odd numbers.
    pub fn open(&mut self, name: &str, value: &str) -> (StreamId, Bytes) {
        let stream = 2 * self.opened + 1;
        let mut block = BytesMut::new();
        block.put_u32(1);
        for text in [name, value] {
            block.put_u32(u32::try_from(text.len()).unwrap_or(0));
            block.put_slice(text.as_bytes());
        }
        let block = stored(&block, self.opened == 0);
        self.opened += 1;
        let mut frame = control(SYN_STREAM, 10 + block.len());
        frame.put_u32(stream);
        frame.put_u32(0);
        frame.put_u16(0);
        frame.put_slice(&block);
        (stream, frame.freeze())
    }
}

/// One part of a connection's zlib stream: a stored block, and an empty one so that the reader does
/// not wait for more.
fn stored(bytes: &[u8], first: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes.len() + 12);
    if first {
        // 32 KiB window, no dictionary, fastest.
        out.put_slice(&[0x78, 0x01]);
    }
    for part in [bytes, &[]] {
        let length = u16::try_from(part.len()).unwrap_or(0);
        out.put_u8(0);
        out.put_u16_le(length);
        out.put_u16_le(!length);
        out.put_slice(part);
    }
    out.freeze()
}

fn control(kind: u16, length: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + length);
    frame.put_u16(VERSION);
    frame.put_u16(kind);
    frame.put_u32(u32::try_from(length).unwrap_or(0));
    frame
}

/// What a stream says.
pub fn data(stream: StreamId, bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + bytes.len());
    frame.put_u32(stream);
    frame.put_u32(u32::try_from(bytes.len()).unwrap_or(0) & 0x00ff_ffff);
    frame.put_slice(bytes);
    frame.freeze()
}

/// A stream says no more.
pub fn finish(stream: StreamId) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES);
    frame.put_u32(stream);
    frame.put_u32(u32::from(FIN) << 24);
    frame.freeze()
}

/// A question whether the peer is there, or the answer to its own.
pub fn ping(id: u32) -> Bytes {
    let mut frame = control(PING, 4);
    frame.put_u32(id);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], step: usize) -> String {
        let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
        let mut seen = Vec::new();
        for part in bytes.chunks(step) {
            buffer.extend_from_slice(part);
            loop {
                match decoder.next(&mut buffer) {
                    Ok(Some(Event::Data { stream, bytes })) => {
                        seen.push(format!("{stream}:{}", String::from_utf8_lossy(&bytes)));
                    }
                    Ok(Some(event)) => seen.push(format!("{event:?}")),
                    Ok(None) => break,
                    Err(error) => return format!("{} {error}", seen.join(" ")).trim().to_owned(),
                }
            }
        }
        seen.join(" ")
    }

    fn reply(kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = control(kind, payload.len());
        frame[4] = flags;
        frame.put_slice(payload);
        frame.to_vec()
    }

    #[test]
    fn frames_become_events_however_they_arrive() {
        let all = [
            reply(SYN_REPLY, 0, &[0, 0, 0, 3, 9, 9, 9]),
            data(3, b"hello").to_vec(),
            reply(4, 0, &[0; 12]),
            ping(2).to_vec(),
            finish(3).to_vec(),
            reply(RST_STREAM, 0, &[0, 0, 0, 5, 0, 0, 0, 1]),
            reply(GO_AWAY, 0, &[0; 8]),
        ]
        .concat();
        assert_eq!(read(&all, all.len()), "Reply(3) 3:hello Ping(2) Finished(3) Reset(5) GoAway");
        assert_eq!(
            read(&all, 1),
            "Reply(3) 3:h 3:e 3:l 3:l 3:o Ping(2) Finished(3) Reset(5) GoAway"
        );
        let mut last = data(1, b"x").to_vec();
        last[4] = FIN;
        assert_eq!(read(&last, 99), "1:x Finished(1)");
        assert_eq!(read(&reply(SYN_REPLY, FIN, &[0, 0, 0, 7]), 99), "Reply(7) Finished(7)");
    }

    #[test]
    fn other_protocols_are_refused() {
        assert_eq!(read(b"\x80\x02\x00\x01\0\0\0\0", 8), "spdy: not a frame of version 3");
        assert_eq!(read(b"\x80\x03\x00\x01\x00\xff\xff\xff", 8), "spdy: not a frame of version 3");
        assert_eq!(read(&reply(PING, 0, &[0, 0]), 99), "spdy: a control frame is too short");
    }

    #[test]
    fn header_blocks_are_one_zlib_stream() {
        let mut encoder = Encoder::default();
        let mut inflate = flate2::Decompress::new(true);
        for (id, value) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
            let (stream, frame) = encoder.open("streamtype", value);
            assert_eq!(stream, id);
            assert_eq!(&frame[..4], [0x80, 3, 0, 1]);
            assert_eq!(&frame[8..18], [0, 0, 0, u8::try_from(id).unwrap(), 0, 0, 0, 0, 0, 0]);
            let mut block = Vec::with_capacity(1024);
            inflate
                .decompress_vec(&frame[18..], &mut block, flate2::FlushDecompress::Sync)
                .unwrap();
            let expected =
                [&[0, 0, 0, 1, 0, 0, 0, 10][..], b"streamtype", &[0, 0, 0, 5], value.as_bytes()];
            let mut expected = expected.concat();
            expected[21] = u8::try_from(value.len()).unwrap();
            assert_eq!(block, expected);
        }
    }
}
