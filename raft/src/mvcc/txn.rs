//! One transaction: compares, operations, and the versions they leave behind.

use std::{cmp::Ordering, collections::BTreeSet, io, ops::ControlFlow};

use bytes::Bytes;

use super::{
    keys, lease,
    record::{self, Version},
    view::{Overlay, Space, View},
};
use crate::{
    error::Refusal,
    types::{
        Compare, KeyRange, KeyValue, LeaseId, Op, OpResult, RangeReply, Relation, Revision, Target,
        Txn, TxnReply, WatchBatch, WatchEvent, WatchEventKind,
    },
};

/// Why a transaction ended without effect.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Refusal),
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Failed(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

/// A transaction in execution: all its writes carry the same revision.
pub(super) struct Execution<'o, 'v, V: View> {
    overlay: &'o mut Overlay<'v, V>,
    /// The store's revision before it.
    before: Revision,
    events: Vec<WatchEvent>,
    written: BTreeSet<Bytes>,
}

impl<'o, 'v, V: View> Execution<'o, 'v, V> {
    pub(super) fn new(overlay: &'o mut Overlay<'v, V>, before: Revision) -> Self {
        Execution { overlay, before, events: Vec::new(), written: BTreeSet::new() }
    }

    /// The changes, if there were any.
    pub(super) fn finish(self) -> Option<WatchBatch> {
        let revision = Revision(self.before.0 + 1);
        (!self.events.is_empty()).then_some(WatchBatch { revision, events: self.events })
    }

    fn own_revision(&self) -> Revision {
        Revision(self.before.0 + 1)
    }

    fn revision(&self) -> Revision {
        if self.events.is_empty() { self.before } else { self.own_revision() }
    }

    /// Executes a transaction, possibly one within another.
    pub(super) fn txn(&mut self, txn: &Txn) -> Result<TxnReply, Stop> {
        let mut succeeded = true;
        for compare in &txn.compares {
            succeeded = succeeded && holds(self.overlay, compare)?;
        }
        let operations = if succeeded { &txn.success } else { &txn.failure };
        let mut results = Vec::with_capacity(operations.len());
        for operation in operations {
            results.push(match operation {
                Op::Put { key, value, lease } => {
                    OpResult::Put { previous: self.put(key, value, *lease)? }
                }
                Op::Delete { range } => OpResult::Delete { previous: self.delete(range)? },
                Op::Range { range, limit } => OpResult::Range(self.range(range, *limit)?),
                Op::Txn(inner) => OpResult::Txn(self.txn(inner)?),
            });
        }
        Ok(TxnReply { revision: self.revision(), succeeded, results })
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        lease: LeaseId,
    ) -> Result<Option<KeyValue>, Stop> {
        self.claim(key)?;
        if lease.0 != 0 && !lease::exists(self.overlay, lease)? {
            return Err(Refusal::LeaseNotFound { lease }.into());
        }
        let modified = self.own_revision();
        let previous = record::current(self.overlay, key)?;
        let (create, version) = match &previous {
            Some(before) => (before.create, before.version + 1),
            None => (modified, 1),
        };
        let kind = WatchEventKind::Put;
        let now = Version { kind, create, modified, version, lease, value: value.clone() };
        if let Some(before) = &previous {
            self.retire(key, before, lease);
        }
        if lease.0 != 0 {
            self.overlay.put(Space::Meta, keys::lease_key(lease, key), Bytes::new());
        }
        self.overlay.put(Space::Current, key.to_vec(), now.encode());
        let previous = previous.map(|before| before.into_kv(key.clone()));
        self.changed(kind, now.into_kv(key.clone()), previous.clone());
        Ok(previous)
    }

    fn delete(&mut self, range: &KeyRange) -> Result<Vec<KeyValue>, Stop> {
        let found = collect(self.overlay, range, usize::MAX)?;
        let mut deleted = Vec::with_capacity(found.len());
        for (key, before) in found {
            self.claim(&key)?;
            let deletion = Version::deletion(self.own_revision());
            self.retire(&key, &before, LeaseId(0));
            self.overlay.remove(Space::Current, key.to_vec());
            self.overlay.put(
                Space::History,
                keys::history(&key, deletion.modified),
                deletion.encode(),
            );
            let before = before.into_kv(key.clone());
            self.changed(WatchEventKind::Delete, deletion.into_kv(key), Some(before.clone()));
            deleted.push(before);
        }
        Ok(deleted)
    }

    fn range(&self, range: &KeyRange, limit: u64) -> Result<RangeReply, Stop> {
        let found = collect(self.overlay, range, usize::MAX)?;
        let count = found.len() as u64;
        let take = if limit == 0 { count } else { limit.min(count) };
        let kvs: Vec<KeyValue> = found
            .into_iter()
            .take(usize::try_from(take).unwrap_or(usize::MAX))
            .map(|(key, version)| version.into_kv(key))
            .collect();
        Ok(RangeReply { revision: self.revision(), kvs, more: take < count, count })
    }

    /// Moves a version to history and takes its key off its lease.
    fn retire(&mut self, key: &Bytes, before: &Version, next_lease: LeaseId) {
        let at = keys::history(key, before.modified);
        self.overlay.put(Space::History, at, before.encode());
        if before.lease.0 != 0 && before.lease != next_lease {
            self.overlay.remove(Space::Meta, keys::lease_key(before.lease, key));
        }
    }

    /// A revision has one version of a key at most.
    fn claim(&mut self, key: &Bytes) -> Result<(), Refusal> {
        if self.written.insert(key.clone()) {
            return Ok(());
        }
        Err(Refusal::DuplicateKey { key: String::from_utf8_lossy(key).into_owned() })
    }

    fn changed(&mut self, kind: WatchEventKind, kv: KeyValue, previous: Option<KeyValue>) {
        let position = u32::try_from(self.events.len()).expect("a command is far below 4 GiB");
        let at = keys::change(self.own_revision(), position);
        self.overlay.put(Space::Changes, at.to_vec(), record::encode_change(kind, &kv.key));
        self.events.push(WatchEvent { kind, kv, previous });
    }
}

/// Current keys of a range, at most so many.
pub(super) fn collect(
    view: &impl View,
    range: &KeyRange,
    keys_max: usize,
) -> io::Result<Vec<(Bytes, Version)>> {
    let mut found = Vec::new();
    let mut problem = None;
    view.walk(Space::Current, &range.start, range.end.as_deref(), &mut |key, value| {
        if found.len() == keys_max {
            return ControlFlow::Break(());
        }
        match Version::decode(&Bytes::copy_from_slice(value)) {
            Ok(version) => {
                found.push((Bytes::copy_from_slice(key), version));
                ControlFlow::Continue(())
            }
            Err(error) => {
                problem = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    problem.map_or(Ok(found), |error| Err(error.into()))
}

fn holds(view: &impl View, compare: &Compare) -> io::Result<bool> {
    let current = record::current(view, &compare.key)?;
    let ordering = match &compare.target {
        Target::ModRevision(target) => {
            current.map_or(Revision(0), |version| version.modified).cmp(target)
        }
        Target::CreateRevision(target) => {
            current.map_or(Revision(0), |version| version.create).cmp(target)
        }
        Target::Version(target) => current.map_or(0, |version| version.version).cmp(target),
        Target::Lease(target) => current.map_or(LeaseId(0), |version| version.lease).cmp(target),
        // As in etcd, a comparison with the value of a missing key never holds.
        Target::Value(target) => match current {
            Some(version) => version.value.cmp(target),
            None => return Ok(false),
        },
    };
    Ok(match compare.relation {
        Relation::Equal => ordering == Ordering::Equal,
        Relation::NotEqual => ordering != Ordering::Equal,
        Relation::Less => ordering == Ordering::Less,
        Relation::Greater => ordering == Ordering::Greater,
    })
}
