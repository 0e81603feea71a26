//! The words of the store: revisions, keys, transactions, ranges and watch events.
//!
//! They mean what they mean in etcd's v3 data model: one [`Revision`] per transaction, a create
//! and a mod revision and a version per key.

mod lease;
mod read;
mod txn;

use std::fmt;

use bytes::Bytes;
use kontiki_base::Fence;
use serde::{Deserialize, Serialize};

pub use self::{
    lease::{Lease, LeaseGrant, LeaseStatus},
    read::{
        Consistency, Range, RangeReply, RangeRequest, RevisionBounds, Sort, SortOrder, SortTarget,
    },
    txn::{Compare, Delete, Op, OpResult, Put, Relation, Target, Txn, TxnReply},
};

/// The store's global version: it rises by one with every transaction that writes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A participant of the Raft group. Random, and never used twice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A lease; 0 is none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct LeaseId(pub i64);

/// A key with its value and history counters, as of some revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty when only keys were asked for.
    pub value: Bytes,
    /// Revision of the transaction that created the key.
    pub create_revision: Revision,
    /// Revision of the transaction that last wrote it.
    pub mod_revision: Revision,
    /// Writes since its creation; 1 right after.
    pub version: u64,
    /// The lease it is attached to.
    pub lease: LeaseId,
}

/// A half-open interval of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// First key.
    pub start: Bytes,
    /// First key behind the range; `None` has no upper bound.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Exactly one key.
    pub fn key(key: impl Into<Bytes>) -> KeyRange {
        let start = key.into();
        let mut end = start.to_vec();
        end.push(0);
        KeyRange { start, end: Some(end.into()) }
    }

    /// All keys that start with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> KeyRange {
        let start = prefix.into();
        let mut end = start.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return KeyRange { start, end: Some(end.into()) };
            }
        }
        KeyRange { start, end: None }
    }

    /// The key, if there can be only one.
    pub fn single(&self) -> Option<&Bytes> {
        let end = self.end.as_ref()?;
        let one = end.split_last() == Some((&0, self.start.as_ref()));
        one.then_some(&self.start)
    }

    /// Whether `key` lies within.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_ref() && self.end.as_ref().is_none_or(|end| key < end.as_ref())
    }
}

/// A subscription to changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    /// Which keys.
    pub range: KeyRange,
    /// First revision to deliver; `None` starts with the next change. In the past it replays,
    /// below the compaction floor it fails.
    pub from: Option<Revision>,
    /// Whether events carry the value before the change.
    pub previous: bool,
}

/// All changes of one revision that a watcher asked for, in order of the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision.
    pub revision: Revision,
    /// At least one, unless the batch only reports progress.
    pub events: Vec<WatchEvent>,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// Put or delete.
    pub kind: WatchEventKind,
    /// The key as the change left it. For a delete: key and mod revision of the delete.
    pub kv: KeyValue,
    /// The key before the change, if asked for and still known.
    pub previous: Option<KeyValue>,
}

/// Kinds of [`WatchEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum WatchEventKind {
    Put,
    Delete,
}

/// A participant as the replicated membership knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its identity.
    pub id: MemberId,
    /// The host's name, for people.
    pub name: String,
    /// `host:port` where peers reach it: a hint, not its identity.
    pub peer_address: String,
    /// `host:port` of its API server, for clients and joiners.
    pub api_address: String,
    /// `host:port` where it speaks etcd's API; empty if it does not.
    pub client_address: String,
    /// Whether it votes.
    pub voter: bool,
}

/// Who leads, as far as this member knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader, if one is known.
    pub leader: Option<MemberId>,
    /// Set exactly while this member leads and has committed an entry in its term.
    pub fence: Option<Fence>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_behind_its_last_key() {
        let cases: [(&[u8], Option<&[u8]>); 4] =
            [(b"/a/", Some(b"/a0")), (b"a\xff", Some(b"b")), (b"\xff\xff", None), (b"", None)];
        for (prefix, end) in cases {
            let range = KeyRange::prefix(prefix.to_vec());
            assert_eq!(range.end.as_deref(), end, "prefix {prefix:?}");
        }
    }

    #[test]
    fn a_single_key_contains_only_itself() {
        let range = KeyRange::key("a");
        assert!(range.contains(b"a"));
        assert_eq!(range.single().map(Bytes::as_ref), Some(b"a".as_ref()));
        assert_eq!(KeyRange::prefix("a").single(), None);
        assert!(!range.contains(b"a\0"));
        assert!(!range.contains(b"b"));
    }
}
