//! What clients and watchers saw, and when.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    action::{Action, Outcome},
    trace::Trace,
};
use crate::types::{KeyRange, Revision, WatchBatch};

/// A moment: of two, the later has the greater sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub(super) sequence: u64,
    pub(super) time: Duration,
}

/// One action of one client.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) action: Action,
    pub(super) began: Moment,
    /// Without an end nobody knows.
    pub(super) ended: Option<(Moment, Outcome)>,
}

/// A watch as long as it lasted.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) watcher: usize,
    pub(super) range: KeyRange,
    pub(super) from: Revision,
    pub(super) batches: Vec<(Moment, WatchBatch)>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorded {
    pub(super) records: Vec<Record>,
    pub(super) watches: Vec<Watched>,
    pub(super) violations: Vec<String>,
    sequence: u64,
}

/// Shared by all who write it.
#[derive(Clone)]
pub(super) struct History {
    recorded: Arc<Mutex<Recorded>>,
    trace: Trace,
}

impl History {
    pub(super) fn new(trace: Trace) -> History {
        History { recorded: Arc::default(), trace }
    }

    /// A client begins something.
    pub(super) fn begin(&self, client: usize, host: usize, action: Action) -> usize {
        let mut recorded = self.recorded.lock();
        let (began, number) = (recorded.moment(&self.trace), recorded.records.len());
        self.trace.line(format_args!("client {client} at {host} begins {number}: {action:?}"));
        recorded.records.push(Record { action, began, ended: None });
        number
    }

    /// And learns what came of it.
    pub(super) fn end(&self, number: usize, outcome: Outcome) {
        let mut recorded = self.recorded.lock();
        self.trace.line(format_args!("{number} ends: {outcome:?}"));
        let ended = recorded.moment(&self.trace);
        recorded.records[number].ended = Some((ended, outcome));
    }

    /// A watch begins.
    pub(super) fn watch(&self, watcher: usize, range: KeyRange, from: Revision) -> usize {
        let mut recorded = self.recorded.lock();
        recorded.watches.push(Watched { watcher, range, from, batches: Vec::new() });
        recorded.watches.len() - 1
    }

    /// A watch delivers.
    pub(super) fn deliver(&self, watch: usize, batch: WatchBatch) {
        let mut recorded = self.recorded.lock();
        let (revision, events) = (batch.revision, batch.events.len());
        self.trace.line(format_args!("watch {watch} delivers {events} at {revision}"));
        let moment = recorded.moment(&self.trace);
        recorded.watches[watch].batches.push((moment, batch));
    }

    /// Something that must never be.
    pub(super) fn violation(&self, what: String) {
        self.trace.line(format_args!("VIOLATION {what}"));
        self.recorded.lock().violations.push(what);
    }

    /// A copy of it.
    pub(super) fn recorded(&self) -> Recorded {
        self.recorded.lock().clone()
    }
}

impl Recorded {
    fn moment(&mut self, trace: &Trace) -> Moment {
        self.sequence += 1;
        Moment { sequence: self.sequence, time: trace.now() }
    }
}
