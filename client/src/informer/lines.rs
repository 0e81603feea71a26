//! The text of a watch: lines out of chunks, events out of lines, and what nobody reads out of
//! objects.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memmem};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Splits a stream of chunks into lines.
#[derive(Default)]
pub(super) struct Lines {
    buffer: BytesMut,
    searched: usize,
}

/// A line is longer than anybody may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    /// Takes what has arrived.
    pub(super) fn push(&mut self, chunk: &Bytes) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next complete line.
    pub(super) fn next(&mut self, bytes_max: usize) -> Result<Option<Bytes>, TooLong> {
        let Some(offset) = memchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > bytes_max { Err(TooLong) } else { Ok(None) };
        };
        let line = self.buffer.split_to(self.searched + offset).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Ok(Some(line))
    }
}

/// One event of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// `ADDED` and so on.
    pub(super) kind: &'a str,
    /// Its object.
    pub(super) object: &'a [u8],
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl<'a> Event<'a> {
    /// Reads a line. Nearly all are framed in one way, which takes no parser.
    pub(super) fn read(line: &'a [u8]) -> Result<Event<'a>, serde_json::Error> {
        if let Some(event) = Event::framed(line) {
            return Ok(event);
        }
        let frame: Frame<'a> = serde_json::from_slice(line)?;
        Ok(Event { kind: frame.kind, object: frame.object.get().as_bytes() })
    }

    /// Whether what is between these ends is one object is for its decoder to say.
    fn framed(line: &'a [u8]) -> Option<Event<'a>> {
        let rest = line.strip_prefix(b"{\"type\":\"")?;
        let kind = &rest[..memchr(b'"', rest)?];
        let object = rest[kind.len()..].strip_prefix(b"\",\"object\":")?.strip_suffix(b"}")?;
        let kind = std::str::from_utf8(kind).ok().filter(|kind| !kind.contains('\\'))?;
        object.starts_with(b"{").then_some(Event { kind, object })
    }
}

/// An object without `managedFields`: large, costly to decode, and of no use to a control loop.
pub(super) fn without_managers(json: &[u8]) -> Cow<'_, [u8]> {
    // Within a text the quotes would be escaped.
    const FIELD: &[u8] = b"\"managedFields\":[";
    let Some(start) = memmem::find(json, FIELD) else { return Cow::Borrowed(json) };
    let Some(length) = end_of_list(&json[start + FIELD.len()..]) else {
        return Cow::Borrowed(json);
    };
    let (mut before, mut after) = (&json[..start], &json[start + FIELD.len() + length..]);
    if let Some(next) = after.strip_prefix(b",") {
        after = next;
    } else if let Some(last) = before.strip_suffix(b",") {
        before = last;
    }
    Cow::Owned([before, after].concat())
}

/// Behind the bracket that closes a list of which one has been read.
fn end_of_list(json: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (1_usize, 0);
    while depth > 0 {
        match json.get(at)? {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' => {
                at += 1;
                while *json.get(at)? != b'"' {
                    at += if json[at] == b'\\' { 2 } else { 1 };
                }
            }
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_across_chunks() {
        let mut lines = Lines::default();
        lines.push(&Bytes::from_static(b"one\ntw"));
        assert_eq!(lines.next(9).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(lines.next(9).unwrap(), None);
        assert_eq!(lines.next(1).unwrap_err(), TooLong);
        lines.push(&Bytes::from_static(b"o\n\n"));
        assert_eq!(lines.next(9).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(lines.next(9).unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(lines.next(9).unwrap(), None);
    }

    #[test]
    fn events_are_read_however_they_are_framed() {
        for (line, framed) in [
            (r#"{"type":"ADDED","object":{"a":{"b":"}"}}}"#, true),
            (r#"{"object":{"a":{"b":"}"}},"type":"ADDED"}"#, false),
            (r#" {"type": "ADDED", "object": {"a":{"b":"}"}} } "#, false),
        ] {
            let event = Event::read(line.as_bytes()).unwrap();
            assert_eq!((event.kind, event.object), ("ADDED", &br#"{"a":{"b":"}"}}"#[..]));
            assert_eq!(Event::framed(line.as_bytes()).is_some(), framed, "{line}");
        }
        for line in ["", "{", r#"{"type":"ADDED"}"#, r#"{"type":"ADDED","object":1"#] {
            assert!(Event::read(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn managers_are_left_out_and_nothing_else_is() {
        for (whole, expected) in [
            (r#"{"metadata":{"name":"x"}}"#, r#"{"metadata":{"name":"x"}}"#),
            (r#"{"metadata":{"managedFields":[],"name":"x"}}"#, r#"{"metadata":{"name":"x"}}"#),
            (
                r#"{"metadata":{"name":"x","managedFields":[{"f":{"k:{\"a\":\"]\"}":{}}},{}]},"s":1}"#,
                r#"{"metadata":{"name":"x"},"s":1}"#,
            ),
            (r#"{"metadata":{"managedFields":[{"a":"\\"}]}}"#, r#"{"metadata":{}}"#),
            (
                r#"{"metadata":{"annotations":{"last":"{\"managedFields\":[1]}"},"name":"x"}}"#,
                r#"{"metadata":{"annotations":{"last":"{\"managedFields\":[1]}"},"name":"x"}}"#,
            ),
            (r#"{"metadata":{"managedFields":[{"a":"#, r#"{"metadata":{"managedFields":[{"a":"#),
        ] {
            let left = without_managers(whole.as_bytes());
            assert_eq!(std::str::from_utf8(&left).unwrap(), expected);
        }
    }
}
