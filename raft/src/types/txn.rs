//! Transactions: conditions, operations, and what they did.

use bytes::Bytes;
use kontiki_base::Fence;
use serde::{Deserialize, Serialize};

use super::{KeyRange, KeyValue, LeaseId, Range, RangeReply, Revision};

/// One condition of a transaction: it holds when it holds for every key of the range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The keys. Where there is none, one with revisions, version and lease 0 is compared; a
    /// condition on its value never holds, for no value means that there is no key.
    pub range: KeyRange,
    /// The relation that must hold: `current RELATION target`.
    pub relation: Relation,
    /// What is compared, and with what.
    pub target: Target,
}

impl Compare {
    /// The key was last written by exactly this revision.
    pub fn mod_revision(key: impl Into<Bytes>, revision: Revision) -> Compare {
        Compare {
            range: KeyRange::key(key),
            relation: Relation::Equal,
            target: Target::ModRevision(revision),
        }
    }

    /// The key does not exist.
    pub fn absent(key: impl Into<Bytes>) -> Compare {
        Compare {
            range: KeyRange::key(key),
            relation: Relation::Equal,
            target: Target::CreateRevision(Revision(0)),
        }
    }
}

/// Relations of a [`Compare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    Greater,
}

/// Quantities of a key that a [`Compare`] can test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Target {
    ModRevision(Revision),
    CreateRevision(Revision),
    Version(u64),
    Lease(LeaseId),
    Value(Bytes),
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Writes a key.
    Put(Put),
    /// Deletes all keys of a range.
    Delete(Delete),
    /// Reads, after the operations before it.
    Range(Range),
    /// A transaction within the transaction.
    Txn(Box<Txn>),
}

/// Writes one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The key.
    pub key: Bytes,
    /// Its new value; `None` keeps the one it has, and is refused if it has none.
    pub value: Option<Bytes>,
    /// The lease to attach it to, 0 for none; `None` keeps what it has, and is refused if there
    /// is no such key.
    pub lease: Option<LeaseId>,
    /// Whether the result carries the key as it was before.
    pub previous: bool,
}

impl Put {
    /// Writes a value, on no lease.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put {
        let (key, value) = (key.into(), Some(value.into()));
        Put { key, value, lease: Some(LeaseId(0)), previous: false }
    }
}

/// Deletes all keys of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// Which.
    pub range: KeyRange,
    /// Whether the result carries the keys as they were before.
    pub previous: bool,
}

impl Delete {
    /// Deletes a range.
    pub fn new(range: KeyRange) -> Delete {
        Delete { range, previous: false }
    }
}

/// A transaction: if all compares hold, `success` is executed, otherwise `failure`; atomically,
/// at one revision.
///
/// All compares, also those of transactions within, are decided by the state before the whole
/// transaction. A transaction that may write a key twice is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// Conditions; none is true.
    pub compares: Vec<Compare>,
    /// Operations when all hold.
    pub success: Vec<Op>,
    /// Operations otherwise.
    pub failure: Vec<Op>,
    /// When given, the transaction is refused unless this is the committed leadership under
    /// which its log entry stands. Only the outermost one counts.
    pub fence: Option<Fence>,
}

impl Txn {
    /// Operations without a condition.
    pub fn of(operations: impl Into<Vec<Op>>) -> Txn {
        Txn { success: operations.into(), ..Txn::default() }
    }

    /// Whether it is executed once it has been checked, or may still fail half-way: by a key that
    /// is written twice within, or by a delete that is too large.
    pub(crate) fn is_sure(&self) -> bool {
        let single = self.success.len() <= 1 && self.failure.len() <= 1;
        self.success.iter().chain(&self.failure).all(|operation| match operation {
            Op::Put(_) | Op::Range(_) => true,
            Op::Delete(delete) => single || delete.range.single().is_some(),
            Op::Txn(_) => false,
        })
    }

    /// Whether it may touch more keys than it names.
    pub(crate) fn touches_ranges(&self) -> bool {
        let wide = |range: &KeyRange| range.single().is_none();
        self.compares.iter().any(|compare| wide(&compare.range))
            || self.success.iter().chain(&self.failure).any(|operation| match operation {
                Op::Put(_) => false,
                Op::Delete(delete) => wide(&delete.range),
                Op::Range(request) => wide(&request.range),
                Op::Txn(inner) => inner.touches_ranges(),
            })
    }

    /// Whether no branch of it writes.
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|operation| match operation {
            Op::Put(_) | Op::Delete(_) => false,
            Op::Range(_) => true,
            Op::Txn(inner) => inner.is_read_only(),
        })
    }
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnReply {
    /// The store's revision after the transaction: its own if it wrote anything.
    pub revision: Revision,
    /// Whether all compares held.
    pub succeeded: bool,
    /// One result per executed operation.
    pub results: Vec<OpResult>,
}

/// The result of one [`Op`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpResult {
    /// Of a put.
    Put {
        /// The key before, if that was asked for and there was one.
        previous: Option<KeyValue>,
    },
    /// Of a delete.
    Delete {
        /// How many keys.
        deleted: u64,
        /// As they were, if that was asked for.
        previous: Vec<KeyValue>,
    },
    /// What was read.
    Range(RangeReply),
    /// Of a nested transaction.
    Txn(TxnReply),
}
