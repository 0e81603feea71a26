//! Events as they are shared by all who watch: kept once, encoded once.

use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};

use crate::types::{KeyValue, Revision, WatchBatch, WatchEvent, WatchEventKind};

/// What an event costs beside its bytes.
const EVENT_OVERHEAD_BYTES: usize = 256;

/// The changes of one revision.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) revision: Revision,
    pub(crate) events: Box<[SharedEvent]>,
    /// About what it occupies.
    pub(crate) bytes: usize,
}

impl From<WatchBatch> for Published {
    fn from(batch: WatchBatch) -> Published {
        let events: Box<[SharedEvent]> = batch.events.into_iter().map(SharedEvent::new).collect();
        let bytes = events.iter().map(SharedEvent::bytes).sum();
        Published { revision: batch.revision, events, bytes }
    }
}

/// An event and its encoded forms, each made when first asked for.
#[derive(Debug)]
pub(crate) struct SharedEvent {
    pub(crate) event: WatchEvent,
    plain: OnceLock<Bytes>,
    with_previous: OnceLock<Bytes>,
}

impl SharedEvent {
    pub(crate) fn new(event: WatchEvent) -> SharedEvent {
        SharedEvent { event, plain: OnceLock::new(), with_previous: OnceLock::new() }
    }

    /// The event as `mvccpb.Event`.
    pub(crate) fn encoded(&self, previous: bool) -> &Bytes {
        let (form, before) = match &self.event.previous {
            Some(before) if previous => (&self.with_previous, Some(before)),
            _ => (&self.plain, None),
        };
        form.get_or_init(|| encode(self.event.kind, &self.event.kv, before))
    }

    /// About what it occupies.
    pub(crate) fn bytes(&self) -> usize {
        let previous = self.event.previous.as_ref().map_or(0, |before| before.value.len());
        EVENT_OVERHEAD_BYTES + self.event.kv.key.len() + self.event.kv.value.len() + previous
    }
}

/// Which events of a [`Published`] a watcher gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Picks {
    All,
    Some(Box<[u32]>),
}

impl Picks {
    /// From positions in order.
    pub(crate) fn new(positions: Vec<u32>, of: usize) -> Picks {
        if positions.len() == of { Picks::All } else { Picks::Some(positions.into()) }
    }

    /// The picked events.
    pub(crate) fn of<'a>(&'a self, batch: &'a Published) -> impl Iterator<Item = &'a SharedEvent> {
        let (all, some): (&[SharedEvent], &[u32]) = match self {
            Picks::All => (&batch.events, &[]),
            Picks::Some(positions) => (&[], positions),
        };
        all.iter().chain(some.iter().map(|position| &batch.events[*position as usize]))
    }
}

// Field numbers of mvccpb.Event and mvccpb.KeyValue, as tags.
const EVENT_TYPE: u8 = 1 << 3;
const EVENT_KV: u8 = (2 << 3) | 2;
const EVENT_PREV_KV: u8 = (3 << 3) | 2;
const KV_KEY: u8 = (1 << 3) | 2;
const KV_CREATE_REVISION: u8 = 2 << 3;
const KV_MOD_REVISION: u8 = 3 << 3;
const KV_VERSION: u8 = 4 << 3;
const KV_VALUE: u8 = (5 << 3) | 2;
const KV_LEASE: u8 = 6 << 3;

/// Encodes an event as protobuf's `mvccpb.Event`, in one allocation.
fn encode(kind: WatchEventKind, kv: &KeyValue, previous: Option<&KeyValue>) -> Bytes {
    let nested = |kv: &KeyValue| 1 + varint_len(kv_len(kv)) + kv_len(kv);
    let deleted = kind == WatchEventKind::Delete;
    let length = 2 * usize::from(deleted) + nested(kv) + previous.map_or(0, nested);
    let mut out = BytesMut::with_capacity(length);
    if deleted {
        out.put_slice(&[EVENT_TYPE, 1]);
    }
    put_kv(&mut out, EVENT_KV, kv);
    if let Some(previous) = previous {
        put_kv(&mut out, EVENT_PREV_KV, previous);
    }
    debug_assert_eq!(out.len(), length);
    out.freeze()
}

fn numbers(kv: &KeyValue) -> [(u8, u64); 3] {
    [
        (KV_CREATE_REVISION, kv.create_revision.0),
        (KV_MOD_REVISION, kv.mod_revision.0),
        (KV_VERSION, kv.version),
    ]
}

fn lease_bits(kv: &KeyValue) -> u64 {
    u64::from_ne_bytes(kv.lease.0.to_ne_bytes())
}

fn kv_len(kv: &KeyValue) -> usize {
    let bytes = |bytes: &Bytes| match bytes.len() {
        0 => 0,
        length => 1 + varint_len(length) + length,
    };
    let number = |number: u64| match number {
        0 => 0,
        number => 1 + varint_len_of(number),
    };
    let counters: usize = numbers(kv).into_iter().map(|(_, value)| number(value)).sum();
    bytes(&kv.key) + counters + bytes(&kv.value) + number(lease_bits(kv))
}

fn put_kv(out: &mut BytesMut, tag: u8, kv: &KeyValue) {
    out.put_u8(tag);
    put_varint(out, kv_len(kv) as u64);
    put_bytes(out, KV_KEY, &kv.key);
    for (tag, number) in numbers(kv) {
        put_number(out, tag, number);
    }
    put_bytes(out, KV_VALUE, &kv.value);
    put_number(out, KV_LEASE, lease_bits(kv));
}

fn put_bytes(out: &mut BytesMut, tag: u8, bytes: &Bytes) {
    if !bytes.is_empty() {
        out.put_u8(tag);
        put_varint(out, bytes.len() as u64);
        out.put_slice(bytes);
    }
}

fn put_number(out: &mut BytesMut, tag: u8, number: u64) {
    if number != 0 {
        out.put_u8(tag);
        put_varint(out, number);
    }
}

fn put_varint(out: &mut BytesMut, number: u64) {
    prost::encoding::encode_varint(number, out);
}

fn varint_len(length: usize) -> usize {
    varint_len_of(length as u64)
}

fn varint_len_of(number: u64) -> usize {
    prost::encoding::encoded_len_varint(number)
}
