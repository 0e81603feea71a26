//! What clients do, and what came of it.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    Store,
    error::{Error, Refusal},
    types::{
        Compare, Consistency, Delete, KeyRange, Lease, LeaseGrant, LeaseId, Op, Put, Range,
        RangeReply, RangeRequest, Revision, Txn, TxnReply,
    },
};

/// Something a client does. A write's value is its own: it tells later which write it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Writes a key.
    Put { key: Bytes, value: Bytes, lease: LeaseId },
    /// Writes a key if it is as it was, and reads it otherwise.
    Swap { key: Bytes, expected: Revision, value: Bytes },
    /// Deletes a key and says so under another.
    Delete { key: Bytes, mark: Bytes, value: Bytes },
    /// Reads two keys and writes both.
    Pair { keys: [Bytes; 2], value: Bytes },
    /// Reads, perhaps the past.
    Read { range: KeyRange, consistency: Consistency, at: Option<Revision> },
    /// Creates a lease.
    Grant { ttl: Duration, together: bool },
    /// Renews a lease.
    KeepAlive { lease: LeaseId },
    /// Ends a lease.
    Revoke { lease: LeaseId },
    /// Forgets the past.
    Compact { revision: Revision },
}

/// What came of it, as its client learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A transaction's reply.
    Txn(TxnReply),
    /// A read's.
    Read(RangeReply),
    /// A new lease.
    Granted(Lease),
    /// Done, without more to say.
    Done,
    /// It certainly has not happened and never will.
    Refused(String),
    /// It may have happened, or may happen yet.
    Unknown(String),
}

fn put(key: &Bytes, value: &Bytes) -> Op {
    Op::Put(Put { previous: true, ..Put::new(key.clone(), value.clone()) })
}

fn read(key: &Bytes) -> Op {
    Op::Range(Range::new(KeyRange::key(key.clone())))
}

impl Action {
    /// As a transaction, if it is one.
    pub(super) fn txn(&self) -> Option<Txn> {
        match self {
            Action::Put { key, value, lease } => {
                let put = Put { lease: Some(*lease), ..Put::new(key.clone(), value.clone()) };
                Some(Txn::of([Op::Put(Put { previous: true, ..put })]))
            }
            Action::Swap { key, expected, value } => Some(Txn {
                compares: vec![Compare::mod_revision(key.clone(), *expected)],
                success: vec![put(key, value)],
                failure: vec![read(key)],
                fence: None,
            }),
            Action::Delete { key, mark, value } => {
                let range = KeyRange::key(key.clone());
                let delete = Op::Delete(Delete { range, previous: true });
                Some(Txn::of([delete, put(mark, value)]))
            }
            Action::Pair { keys: [a, b], value } => {
                Some(Txn::of([read(a), read(b), put(a, value), put(b, value)]))
            }
            _ => None,
        }
    }

    /// The value that tells it from all others, if it writes.
    pub(super) fn tag(&self) -> Option<&Bytes> {
        match self {
            Action::Put { value, .. }
            | Action::Swap { value, .. }
            | Action::Delete { value, .. }
            | Action::Pair { value, .. } => Some(value),
            _ => None,
        }
    }

    /// Does it.
    pub(super) async fn execute(&self, store: &Store) -> Outcome {
        if let Some(txn) = self.txn() {
            return store.txn(txn).await.map_or_else(unclear, Outcome::Txn);
        }
        match self {
            Action::Read { range, consistency, at } => {
                let mut request = RangeRequest::new(range.clone());
                request.consistency = *consistency;
                request.query.revision = *at;
                store.range(request).await.map_or_else(unclear, Outcome::Read)
            }
            Action::Grant { ttl, together } => {
                let grant = LeaseGrant { id: None, ttl: *ttl, together: *together };
                store.lease_grant(grant).await.map_or_else(unclear, Outcome::Granted)
            }
            Action::KeepAlive { lease } => {
                store.lease_keep_alive(*lease).await.map_or_else(unclear, |_| Outcome::Done)
            }
            Action::Revoke { lease } => {
                store.lease_revoke(*lease).await.map_or_else(unclear, |()| Outcome::Done)
            }
            Action::Compact { revision } => {
                store.compact(*revision).await.map_or_else(unclear, |()| Outcome::Done)
            }
            _ => unreachable!("a transaction"),
        }
    }
}

fn unclear(error: Error) -> Outcome {
    match error {
        Error::Refused(refusal) if !matches!(refusal, Refusal::Outdated { .. }) => {
            Outcome::Refused(refusal.to_string())
        }
        other => Outcome::Unknown(kontiki_base::tasks::render(&other)),
    }
}
