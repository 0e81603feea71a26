//! Judging a history: linearizable, complete, and nothing twice. Pure.
//!
//! Every write has a revision of its own and every reply says at which revision it was true. So
//! there is one order to check, that of revisions: each step must be what the model makes of the
//! one before, each reply must be the model's at its revision, and the order must respect time:
//! what ended before something else began must not come after it. This decides in linear time
//! what is exponential for stores without revisions.

mod order;
mod truth;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use self::truth::Truth;
use super::{
    action::{Action, Outcome},
    history::{Moment, Record, Recorded},
    model::Model,
};
use crate::types::{LeaseId, OpResult, Revision, TxnReply, WatchEvent, WatchEventKind};

/// What is wrong with a history that ended with revision `last`.
pub(super) fn judge(recorded: &Recorded, last: Revision) -> Vec<String> {
    let mut violations = recorded.violations.clone();
    let truth = Truth::gather(recorded, &mut violations);
    let mut replay = Replay::new(recorded, &truth);
    replay.run(last);
    violations.append(&mut replay.violations);
    violations.extend(order::check(&recorded.records, &replay.took_effect));
    violations
}

/// The history once more, in the order of revisions.
struct Replay<'a> {
    recorded: &'a Recorded,
    truth: &'a Truth,
    model: Model,
    /// The revision at which a write took effect.
    took_effect: BTreeMap<usize, Revision>,
    tags: BTreeMap<&'a Bytes, usize>,
    /// Replies to be checked when the model is at their revision.
    due: BTreeMap<Revision, Vec<usize>>,
    compacted: bool,
    violations: Vec<String>,
}

impl<'a> Replay<'a> {
    fn new(recorded: &'a Recorded, truth: &'a Truth) -> Replay<'a> {
        let mut replay = Replay {
            recorded,
            truth,
            model: Model::default(),
            took_effect: BTreeMap::new(),
            tags: BTreeMap::new(),
            due: BTreeMap::new(),
            compacted: false,
            violations: Vec::new(),
        };
        for (number, record) in recorded.records.iter().enumerate() {
            if let Some(tag) = record.action.tag() {
                replay.tags.insert(tag, number);
            }
            replay.compacted |= matches!(record.action, Action::Compact { .. });
            let at = match (&record.action, &record.ended) {
                (Action::Read { at: Some(at), .. }, Some((_, Outcome::Read(_)))) => *at,
                (_, Some((_, Outcome::Read(reply)))) => reply.revision,
                (_, Some((_, Outcome::Txn(reply)))) => reply.revision,
                _ => continue,
            };
            replay.due.entry(at).or_default().push(number);
        }
        replay
    }

    fn run(&mut self, last: Revision) {
        self.check_replies();
        while self.model.revision < last {
            let revision = Revision(self.model.revision.0 + 1);
            let Some(events) = self.truth.events(revision) else {
                self.violations.push(format!("no watch ever delivered revision {revision}"));
                return;
            };
            if !self.step(revision, events) {
                return;
            }
            self.check_replies();
        }
        if let Some((revision, _)) = self.due.range(Revision(last.0 + 1)..).next() {
            self.violations.push(format!("a reply of revision {revision}, the last is {last}"));
        }
    }

    /// One revision: `false` when what follows would only be noise.
    fn step(&mut self, revision: Revision, events: &[WatchEvent]) -> bool {
        let tag = events.iter().find(|event| event.kind == WatchEventKind::Put);
        let Some(tag) = tag.map(|event| &event.kv.value) else {
            return self.lease_end(revision, events);
        };
        let Some(number) = self.tags.get(tag).copied() else {
            self.violations.push(format!("revision {revision}: nobody wrote {tag:?}"));
            return false;
        };
        if let Some(before) = self.took_effect.insert(number, revision) {
            self.violations.push(format!("write {number} happened at {before} and {revision}"));
        }
        let Record { action, ended, .. } = &self.recorded.records[number];
        if let Some((_, Outcome::Refused(reason))) = ended {
            self.violations.push(format!("write {number} was refused ({reason}), yet {revision}"));
        }
        let (expected, changes) = self.model.execute(action);
        if !self.same(&changes, events) {
            self.violations.push(format!(
                "revision {revision} of write {number} should be {changes:?}, it is {events:?}"
            ));
            return false;
        }
        if let Some((_, Outcome::Txn(reply))) = ended
            && plain(reply) != plain(&expected)
        {
            self.violations
                .push(format!("write {number} was answered {reply:?} instead of {expected:?}"));
        }
        true
    }

    /// Events are equal; what was before may be forgotten once something was compacted.
    fn same(&self, expected: &[WatchEvent], actual: &[WatchEvent]) -> bool {
        expected.len() == actual.len()
            && expected.iter().zip(actual).all(|(expected, actual)| {
                let forgotten = self.compacted && actual.previous.is_none();
                expected.kind == actual.kind
                    && expected.kv == actual.kv
                    && (expected.previous == actual.previous || forgotten)
            })
    }

    fn lease_end(&mut self, revision: Revision, events: &[WatchEvent]) -> bool {
        let mut changes = Vec::new();
        for event in events {
            let lease = self.model.keys.get(&event.kv.key).map_or(LeaseId(0), |kv| kv.lease);
            let seen = self.truth.first_seen(revision);
            let earliest = self.earliest_end(lease, seen);
            if earliest.is_none_or(|earliest| seen.time < earliest) {
                self.violations.push(format!(
                    "revision {revision} deleted {:?} of {lease:?} at {:?}, not before {earliest:?}",
                    event.kv.key, seen.time
                ));
            }
            changes.extend(self.model.delete(&event.kv.key, revision));
        }
        self.model.revision = revision;
        if !self.same(&changes, events) {
            self.violations
                .push(format!("revision {revision} should be {changes:?}, it is {events:?}"));
            return false;
        }
        true
    }

    /// When a lease whose end was `seen` may have ended at the earliest; `None` if there never was
    /// one. An action that began later than it was seen has not moved it.
    fn earliest_end(&self, lease: LeaseId, seen: Moment) -> Option<Duration> {
        let before = self.recorded.records.iter().filter(|record| record.began < seen);
        let (mut ttl, mut earliest) = (None, None);
        for Record { action, began, ended } in before {
            match (action, ended) {
                (Action::Grant { .. }, Some((_, Outcome::Granted(granted))))
                    if granted.id == lease =>
                {
                    ttl = Some(granted.ttl);
                    earliest = Some(began.time + granted.ttl);
                }
                (Action::KeepAlive { lease: kept }, Some((_, Outcome::Done))) if *kept == lease => {
                    earliest = earliest.max(ttl.map(|ttl| began.time + ttl));
                }
                (Action::Revoke { lease: revoked }, _) if *revoked == lease => {
                    earliest = earliest.min(Some(began.time));
                }
                _ => {}
            }
        }
        earliest
    }

    /// Checks the replies that say how it is at the model's revision.
    fn check_replies(&mut self) {
        for number in self.due.remove(&self.model.revision).unwrap_or_default() {
            let Record { action, ended, .. } = &self.recorded.records[number];
            match (action, ended) {
                (Action::Read { range, .. }, Some((_, Outcome::Read(reply)))) => {
                    let expected = self.model.read(range);
                    if (&reply.kvs, reply.count) != (&expected.kvs, expected.count) {
                        let at = self.model.revision;
                        self.violations.push(format!(
                            "read {number} at {at} found {:?} instead of {:?}",
                            reply.kvs, expected.kvs
                        ));
                    }
                }
                (_, Some((_, Outcome::Txn(reply)))) => self.check_txn(number, action, reply),
                _ => {}
            }
        }
    }

    /// A transaction either is the write of its revision or has changed nothing.
    fn check_txn(&mut self, number: usize, action: &Action, reply: &TxnReply) {
        match self.took_effect.get(&number) {
            Some(revision) if *revision == reply.revision => {}
            Some(revision) => self.violations.push(format!(
                "write {number} took effect at {revision} and was answered {}",
                reply.revision
            )),
            None => {
                let (expected, changes) = self.model.clone().execute(action);
                if !changes.is_empty() || plain(reply) != plain(&expected) {
                    self.violations.push(format!(
                        "write {number} is lost: it was answered {reply:?}, {expected:?} is right"
                    ));
                }
            }
        }
    }
}

/// A reply without what only says when its parts were read.
fn plain(reply: &TxnReply) -> TxnReply {
    let mut reply = reply.clone();
    for result in &mut reply.results {
        if let OpResult::Range(range) = result {
            range.revision = Revision(0);
        }
    }
    reply
}

/// A moment in words.
fn at(moment: Moment) -> String {
    format!("{:?}", moment.time)
}
