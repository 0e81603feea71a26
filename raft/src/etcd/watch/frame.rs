//! A `WatchResponse` whose events are encoded already.
//!
//! An event is encoded once for all who want it; a response is its few numbers followed by such
//! events. On the wire it cannot be told from the message that `proto/etcd/watch.proto` describes.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{
        self, DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint, key_len,
        skip_field,
    },
};

use crate::etcd::proto::etcdserverpb::ResponseHeader;

const HEADER: u32 = 1;
const WATCH_ID: u32 = 2;
const CREATED: u32 = 3;
const CANCELED: u32 = 4;
const COMPACT_REVISION: u32 = 5;
const CANCEL_REASON: u32 = 6;
const FRAGMENT: u32 = 7;
const EVENTS: u32 = 11;

/// A response to be sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::etcd) struct Frame {
    pub(in crate::etcd) header: Option<ResponseHeader>,
    pub(in crate::etcd) watch_id: i64,
    pub(in crate::etcd) created: bool,
    pub(in crate::etcd) canceled: bool,
    pub(super) compact_revision: i64,
    pub(super) cancel_reason: String,
    pub(super) fragment: bool,
    pub(super) events: Events,
    /// Whether its watch takes fragments. Not sent.
    pub(super) divisible: bool,
}

/// Encoded events, each an `mvccpb.Event`; and how long they are on the wire, which is asked again
/// and again while they are gathered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::etcd) struct Events {
    encoded: Vec<Bytes>,
    length: usize,
}

impl Extend<Bytes> for Events {
    fn extend<T: IntoIterator<Item = Bytes>>(&mut self, events: T) {
        for event in events {
            self.length += event_len(&event);
            self.encoded.push(event);
        }
    }
}

fn event_len(event: &Bytes) -> usize {
    key_len(EVENTS) + encoded_len_varint(event.len() as u64) + event.len()
}

impl Frame {
    fn head_len(&self) -> usize {
        let flag = |tag, set: bool| if set { encoding::bool::encoded_len(tag, &true) } else { 0 };
        let number = |tag, number: i64| match number {
            0 => 0,
            number => encoding::int64::encoded_len(tag, &number),
        };
        let header = self.header.as_ref();
        let reason = match self.cancel_reason.as_str() {
            "" => 0,
            _ => encoding::string::encoded_len(CANCEL_REASON, &self.cancel_reason),
        };
        header.map_or(0, |header| encoding::message::encoded_len(HEADER, header))
            + number(WATCH_ID, self.watch_id)
            + flag(CREATED, self.created)
            + flag(CANCELED, self.canceled)
            + number(COMPACT_REVISION, self.compact_revision)
            + reason
            + flag(FRAGMENT, self.fragment)
    }

    /// Cuts a response into parts below `bytes_max`, all but the last marked as fragments: the
    /// first, and the rest. An event is never cut.
    pub(super) fn fragments(mut self, bytes_max: usize) -> (Frame, Vec<Frame>) {
        self.divisible = false;
        if self.events.encoded.len() < 2 || self.encoded_len() < bytes_max {
            return (self, Vec::new());
        }
        let events = std::mem::take(&mut self.events);
        let head = Frame { fragment: true, ..self };
        let (mut first, mut rest) = (head.clone(), Vec::new());
        let mut part = &mut first;
        for event in events.encoded {
            let full = part.encoded_len() + event_len(&event) >= bytes_max;
            if full && !part.events.encoded.is_empty() {
                part = rest.push_mut(head.clone());
            }
            part.events.extend([event]);
        }
        part.fragment = false;
        (first, rest)
    }
}

impl Message for Frame {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(header) = &self.header {
            encoding::message::encode(HEADER, header, buf);
        }
        for (tag, number) in [(WATCH_ID, self.watch_id), (COMPACT_REVISION, self.compact_revision)]
        {
            if number != 0 {
                encoding::int64::encode(tag, &number, buf);
            }
        }
        let flags = [(CREATED, self.created), (CANCELED, self.canceled), (FRAGMENT, self.fragment)];
        for (tag, set) in flags {
            if set {
                encoding::bool::encode(tag, &true, buf);
            }
        }
        if !self.cancel_reason.is_empty() {
            encoding::string::encode(CANCEL_REASON, &self.cancel_reason, buf);
        }
        for event in &self.events.encoded {
            encode_key(EVENTS, WireType::LengthDelimited, buf);
            encode_varint(event.len() as u64, buf);
            buf.put_slice(event);
        }
    }

    /// A member only sends responses.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.head_len() + self.events.length
    }

    fn clear(&mut self) {
        *self = Frame::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        types::{KeyValue, LeaseId, Revision, WatchEvent, WatchEventKind},
        watch::event::SharedEvent,
    };

    fn kv(key: &'static str, value: &'static str, lease: i64) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: value.into(),
            create_revision: Revision(2),
            mod_revision: Revision(300),
            version: 17,
            lease: LeaseId(lease),
        }
    }

    fn frame(count: usize) -> Frame {
        let kind = WatchEventKind::Delete;
        let previous = Some(kv("k", "before", i64::MIN));
        let event = SharedEvent::new(WatchEvent { kind, kv: kv("k", "", 0), previous });
        let mut frame = Frame {
            header: Some(ResponseHeader { revision: 300, raft_term: 2, ..Default::default() }),
            watch_id: -1,
            created: true,
            canceled: true,
            compact_revision: 99,
            cancel_reason: "why".to_owned(),
            fragment: false,
            ..Frame::default()
        };
        frame.events.extend(vec![event.encoded(true).clone(); count]);
        frame
    }

    /// What prost makes of the bytes, by the descriptors that reflection shows: the same message.
    #[test]
    fn it_is_the_message_of_the_proto_file() {
        use prost_types::FileDescriptorSet;
        let descriptors = FileDescriptorSet::decode(crate::etcd::proto::DESCRIPTORS).unwrap();
        let messages: Vec<_> = descriptors.file.iter().flat_map(|f| &f.message_type).collect();
        let response = messages.iter().find(|m| m.name() == "WatchResponse").unwrap();
        let mut fields: Vec<_> =
            response.field.iter().map(|field| (field.name(), field.number())).collect();
        fields.sort_by_key(|(_, number)| *number);
        let own = [
            ("header", HEADER),
            ("watch_id", WATCH_ID),
            ("created", CREATED),
            ("canceled", CANCELED),
            ("compact_revision", COMPACT_REVISION),
            ("cancel_reason", CANCEL_REASON),
            ("fragment", FRAGMENT),
            ("events", EVENTS),
        ];
        assert_eq!(fields, own.map(|(name, tag)| (name, i32::try_from(tag).unwrap())));
    }

    #[test]
    fn its_length_is_what_it_says() {
        for frame in [frame(0), frame(3), Frame::default()] {
            assert_eq!(frame.encode_to_vec().len(), frame.encoded_len());
        }
    }

    #[test]
    fn fragments_keep_all_events_and_only_the_last_ends() {
        let whole = frame(10);
        let bytes = whole.encoded_len();
        let cut = |frame: &Frame, bytes_max| {
            let (first, mut parts) = frame.clone().fragments(bytes_max);
            parts.insert(0, first);
            parts
        };
        let parts = cut(&whole, bytes / 3);
        assert!(parts.len() >= 3);
        assert!(parts.iter().all(|part| part.encoded_len() < bytes / 3));
        let flags: Vec<bool> = parts.iter().map(|part| part.fragment).collect();
        let (last, others) = flags.split_last().unwrap();
        assert!(!last && others.iter().all(|fragment| *fragment));
        let events: Vec<Bytes> =
            parts.iter().flat_map(|part| part.events.encoded.clone()).collect();
        assert_eq!(events, whole.events.encoded);
        // What fits, or cannot be cut, stays whole.
        assert_eq!(cut(&whole, bytes + 1), [whole]);
        assert_eq!(cut(&frame(1), 1), [frame(1)]);
        assert_eq!(cut(&frame(2), 1).len(), 2);
    }
}
