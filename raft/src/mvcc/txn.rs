//! One transaction: compares, operations, and the versions they leave behind.
//!
//! In three passes, as etcd applies one: all compares, also those within, choose their branches
//! by the state before; what was chosen is checked; then it is executed. That can fail no more,
//! unless transactions within write a key twice in a way that only the execution could tell.

use std::{cmp::Ordering, io, ops::ControlFlow};

use bytes::Bytes;

use super::{
    keys, lease, range,
    record::{self, Header, Stored, Version},
    view::{Overlay, Space, View},
};
use crate::{
    error::{Error, Refusal},
    types::{
        Compare, Delete, KeyRange, KeyValue, LeaseId, Op, OpResult, Put, Range, RangeReply,
        Relation, Revision, Target, Txn, TxnReply, WatchBatch, WatchEvent, WatchEventKind,
    },
};

/// Keys and values that one delete takes at most. They are held in memory until the entry is
/// applied: this is a million small objects. The same on every member, or their states would
/// differ; lower where traps can be set, so that tests get there.
pub(crate) const DELETED_BYTES_MAX: usize =
    if cfg!(feature = "failpoints") { 8 << 20 } else { 512 << 20 };

/// Why a transaction ended without effect.
#[derive(Debug)]
pub(crate) enum Stop {
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

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        match error {
            Error::Refused(refusal) => Stop::Refused(refusal),
            Error::Compacted { requested, oldest } => {
                Stop::Refused(Refusal::Compacted { requested, oldest })
            }
            Error::FutureRevision { requested, current } => {
                Stop::Refused(Refusal::FutureRevision { requested, current })
            }
            Error::Storage(error) => Stop::Failed(error),
            other => Stop::Failed(io::Error::other(other)),
        }
    }
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Error {
        match stop {
            Stop::Refused(refusal) => refusal.into(),
            Stop::Failed(error) => error.into(),
        }
    }
}

/// The branch of a transaction that its compares chose, and of those within.
struct Chosen<'t> {
    succeeded: bool,
    operations: Vec<Step<'t>>,
}

enum Step<'t> {
    Put(&'t Put),
    Delete(&'t Delete),
    Range(&'t Range),
    Txn(Chosen<'t>),
}

fn choose<'t>(view: &impl View, txn: &'t Txn) -> io::Result<Chosen<'t>> {
    let mut succeeded = true;
    for compare in &txn.compares {
        succeeded = succeeded && holds(view, compare)?;
    }
    let operations = if succeeded { &txn.success } else { &txn.failure };
    let steps = operations.iter().map(|operation| {
        Ok(match operation {
            Op::Put(put) => Step::Put(put),
            Op::Delete(delete) => Step::Delete(delete),
            Op::Range(query) => Step::Range(query),
            Op::Txn(inner) => Step::Txn(choose(view, inner)?),
        })
    });
    let operations = steps.collect::<io::Result<_>>()?;
    Ok(Chosen { succeeded, operations })
}

/// Refuses what cannot be executed, before anything is.
fn check(view: &impl View, header: &Header, chosen: &Chosen<'_>) -> Result<(), Stop> {
    for step in &chosen.operations {
        match step {
            Step::Put(put) => check_put(view, put)?,
            Step::Delete(_) => {}
            Step::Range(query) => {
                range::readable(header, query.revision)?;
            }
            Step::Txn(inner) => check(view, header, inner)?,
        }
    }
    Ok(())
}

fn check_put(view: &impl View, put: &Put) -> Result<(), Stop> {
    let keeps = put.value.is_none() || put.lease.is_none();
    if keeps && view.get(Space::Current, &put.key)?.is_none() {
        return Err(Refusal::KeyNotFound { key: readable(&put.key) }.into());
    }
    match put.lease {
        Some(lease) if lease.0 != 0 && !lease::exists(view, lease)? => {
            Err(Refusal::LeaseNotFound { lease }.into())
        }
        _ => Ok(()),
    }
}

/// Executes a transaction that only reads.
pub(crate) fn read(view: &impl View, txn: &Txn) -> Result<TxnReply, Stop> {
    let header = Header::load(view)?;
    let mut overlay = Overlay::new(view);
    Execution::new(&mut overlay, header).run(txn)
}

/// A transaction in execution: all its writes carry the same revision.
pub(super) struct Execution<'o, 'v, V: View> {
    overlay: &'o mut Overlay<'v, V>,
    /// The store's counters before it.
    before: Header,
    events: Vec<WatchEvent>,
}

impl<'o, 'v, V: View> Execution<'o, 'v, V> {
    pub(super) fn new(overlay: &'o mut Overlay<'v, V>, before: Header) -> Self {
        Execution { overlay, before, events: Vec::new() }
    }

    /// The changes, if there were any.
    pub(super) fn finish(self) -> Option<WatchBatch> {
        let revision = self.own_revision();
        (!self.events.is_empty()).then_some(WatchBatch { revision, events: self.events })
    }

    fn own_revision(&self) -> Revision {
        Revision(self.before.revision.0 + 1)
    }

    /// The store's revision as of the operations so far.
    pub(super) fn revision(&self) -> Revision {
        if self.events.is_empty() { self.before.revision } else { self.own_revision() }
    }

    /// Executes a transaction.
    pub(super) fn run(&mut self, txn: &Txn) -> Result<TxnReply, Stop> {
        let chosen = choose(self.overlay, txn)?;
        check(self.overlay, &self.before, &chosen)?;
        self.execute(chosen)
    }

    fn execute(&mut self, chosen: Chosen<'_>) -> Result<TxnReply, Stop> {
        let mut results = Vec::with_capacity(chosen.operations.len());
        for step in chosen.operations {
            results.push(match step {
                Step::Put(put) => OpResult::Put { previous: self.put(put)? },
                Step::Delete(delete) => self.delete(delete)?,
                Step::Range(query) => OpResult::Range(self.range(query)?),
                Step::Txn(inner) => OpResult::Txn(self.execute(inner)?),
            });
        }
        Ok(TxnReply { revision: self.revision(), succeeded: chosen.succeeded, results })
    }

    fn put(&mut self, put: &Put) -> Result<Option<KeyValue>, Stop> {
        let key = &put.key;
        let modified = self.own_revision();
        let stored = record::stored(self.overlay, key)?;
        let before = stored.as_ref().map(|stored| &stored.version);
        self.claim(key, before)?;
        let missing = || Refusal::KeyNotFound { key: readable(key) };
        let value = match (&put.value, &before) {
            (Some(value), _) => value.clone(),
            (None, before) => before.ok_or_else(missing)?.value.clone(),
        };
        let lease = match (put.lease, &before) {
            (Some(lease), _) => lease,
            (None, before) => before.ok_or_else(missing)?.lease,
        };
        let (create, version) = match before {
            Some(before) => (before.create, before.version + 1),
            None => (modified, 1),
        };
        let kind = WatchEventKind::Put;
        let now = Version { kind, create, modified, version, lease, value };
        let attached = before.is_some_and(|before| before.lease == lease);
        if let Some(stored) = &stored {
            self.retire(key, stored, lease);
        }
        if lease.0 != 0 && !attached {
            self.overlay.put(Space::Meta, keys::lease_key(lease, key), Bytes::new());
        }
        self.overlay.put(Space::Current, key.to_vec(), now.encode());
        let before = stored.map(|stored| stored.version.into_kv(key.clone()));
        let previous = before.clone().filter(|_| put.previous);
        self.changed(kind, now.into_kv(key.clone()), before);
        Ok(previous)
    }

    fn delete(&mut self, delete: &Delete) -> Result<OpResult, Stop> {
        let found = self.collect(&delete.range)?;
        let deleted = found.len() as u64;
        let mut previous = Vec::new();
        for (key, before) in found {
            let before = self.delete_key(key, before)?;
            if delete.previous {
                previous.push(before);
            }
        }
        Ok(OpResult::Delete { deleted, previous })
    }

    fn delete_key(&mut self, key: Bytes, stored: Stored) -> Result<KeyValue, Stop> {
        self.claim(&key, Some(&stored.version))?;
        let deletion = Version::deletion(self.own_revision());
        self.retire(&key, &stored, LeaseId(0));
        self.overlay.remove(Space::Current, key.to_vec());
        let at = keys::history(&key, deletion.modified);
        self.overlay.put(Space::History, at, deletion.encode());
        let before = stored.version.into_kv(key.clone());
        self.changed(WatchEventKind::Delete, deletion.into_kv(key), Some(before.clone()));
        Ok(before)
    }

    /// Current keys of a range.
    fn collect(&self, range: &KeyRange) -> Result<Vec<(Bytes, Stored)>, Stop> {
        if let Some(key) = range.single() {
            let stored = record::stored(self.overlay, key)?;
            return Ok(stored.map(|stored| (key.clone(), stored)).into_iter().collect());
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut problem = None;
        let (start, end) = (&range.start, range.end.as_deref());
        self.overlay.walk(Space::Current, start, end, &mut |key, value| {
            bytes += key.len() + value.len();
            if bytes > DELETED_BYTES_MAX {
                return ControlFlow::Break(());
            }
            match Stored::decode(Bytes::copy_from_slice(value)) {
                Ok(stored) => {
                    found.push((Bytes::copy_from_slice(key), stored));
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    problem = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if bytes > DELETED_BYTES_MAX {
            return Err(Refusal::TooLarge { bytes_max: DELETED_BYTES_MAX as u64 }.into());
        }
        problem.map_or(Ok(found), |error| Err(io::Error::from(error).into()))
    }

    fn range(&self, query: &Range) -> Result<RangeReply, Stop> {
        let now = Header { revision: self.revision(), ..self.before };
        Ok(range::read(self.overlay, &now, query, true)?)
    }

    /// Moves a version to history and takes its key off its lease.
    fn retire(&mut self, key: &Bytes, stored: &Stored, next_lease: LeaseId) {
        let before = &stored.version;
        let at = keys::history(key, before.modified);
        self.overlay.put(Space::History, at, stored.bytes.clone());
        if before.lease.0 != 0 && before.lease != next_lease {
            self.overlay.remove(Space::Meta, keys::lease_key(before.lease, key));
        }
    }

    /// A revision has one version of a key at most.
    fn claim(&self, key: &Bytes, before: Option<&Version>) -> Result<(), Refusal> {
        let own = self.own_revision();
        let written = match before {
            Some(before) => before.modified == own,
            None => {
                !self.events.is_empty()
                    && self.overlay.is_staged(Space::History, &keys::history(key, own))
            }
        };
        if written { Err(Refusal::DuplicateKey { key: readable(key) }) } else { Ok(()) }
    }

    fn changed(&mut self, kind: WatchEventKind, kv: KeyValue, previous: Option<KeyValue>) {
        let position = u32::try_from(self.events.len()).expect("a command is far below 4 GiB");
        let at = keys::change(self.own_revision(), position);
        self.overlay.put(Space::Changes, at.to_vec(), record::encode_change(kind, &kv.key));
        self.events.push(WatchEvent { kind, kv, previous });
    }
}

pub(super) fn readable(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// Whether a compare holds for every key of its range.
fn holds(view: &impl View, compare: &Compare) -> io::Result<bool> {
    if let Some(key) = compare.range.single() {
        return Ok(match record::current(view, key)? {
            Some(version) => satisfies(&version, compare),
            None => absent_satisfies(compare),
        });
    }
    let (mut any, mut all) = (false, true);
    let mut problem = None;
    let range = &compare.range;
    let valued = matches!(compare.target, Target::Value(_));
    view.walk(Space::Current, &range.start, range.end.as_deref(), &mut |_, value| {
        let version = if valued {
            Version::decode(&Bytes::copy_from_slice(value))
        } else {
            Version::decode_head(value)
        };
        any = true;
        match version {
            Ok(version) => all = satisfies(&version, compare),
            Err(error) => problem = Some(error),
        }
        if all && problem.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    match problem {
        Some(error) => Err(error.into()),
        None if any => Ok(all),
        None => Ok(absent_satisfies(compare)),
    }
}

/// No value is no key: unlike other quantities, it is not compared as if it were 0.
fn absent_satisfies(compare: &Compare) -> bool {
    let nothing = Version::deletion(Revision(0));
    !matches!(compare.target, Target::Value(_)) && satisfies(&nothing, compare)
}

fn satisfies(version: &Version, compare: &Compare) -> bool {
    let ordering = match &compare.target {
        Target::ModRevision(target) => version.modified.cmp(target),
        Target::CreateRevision(target) => version.create.cmp(target),
        Target::Version(target) => version.version.cmp(target),
        Target::Lease(target) => version.lease.cmp(target),
        Target::Value(target) => version.value.cmp(target),
    };
    match compare.relation {
        Relation::Equal => ordering == Ordering::Equal,
        Relation::NotEqual => ordering != Ordering::Equal,
        Relation::Less => ordering == Ordering::Less,
        Relation::Greater => ordering == Ordering::Greater,
    }
}
