//! Watches: every change once, in order, to whoever asked for its keys.
//!
//! ```text
//! apply ─▶ Hub ─▶ bounded mailbox per reader ─▶ Watch::recv, or a stream of the etcd API
//!                 changes on disk ─▶ replay ──▶ (a watch that is behind, until it has caught up)
//! ```
//!
//! A watch is either fed by the hub or behind. One that is behind reads `changes` from disk step by
//! step until the hub still has what comes next, and is fed from there. A mailbox that is full, or
//! a state that is replaced by a snapshot, puts it behind again. So nothing is skipped or repeated,
//! a slow reader costs bounded memory, and only a compaction can end a watch.

pub(crate) mod event;
mod hub;
mod index;
mod mailbox;

use std::{collections::VecDeque, sync::Arc};

pub(crate) use self::{
    event::{Picks, Published},
    hub::{Closed, Delivery, Hub, Inbox, ProgressHandle, Subscription, Wanted},
    index::Index,
};
use crate::{
    environment::blocking,
    error::Error,
    mvcc::{self, replay::Limits},
    state::Shared,
    types::{Revision, WatchBatch, WatchRequest},
};

/// What one step of a replay may look at and read.
pub(crate) const REPLAY_LIMITS: Limits = Limits { changes: 10_000, bytes: 1 << 20 };

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// What it should deliver next is gone.
    #[error("revision {requested} is compacted, the oldest kept is {oldest}")]
    Compacted {
        /// What it wanted.
        requested: Revision,
        /// The oldest kept.
        oldest: Revision,
    },
    /// The store has stopped.
    #[error("the store is shut down")]
    Closed,
    /// The past could not be read.
    #[error("cannot read past changes")]
    Storage(#[source] Box<Error>),
}

impl From<Error> for WatchError {
    fn from(error: Error) -> WatchError {
        match error {
            Error::Compacted { requested, oldest } => WatchError::Compacted { requested, oldest },
            Error::ShutDown => WatchError::Closed,
            other => WatchError::Storage(Box::new(other)),
        }
    }
}

impl From<Closed> for WatchError {
    fn from(Closed: Closed) -> WatchError {
        WatchError::Closed
    }
}

/// A subscription to changes. Dropping it ends it.
pub struct Watch {
    shared: Arc<Shared>,
    wanted: Wanted,
    previous: bool,
    /// The first revision that has not been delivered.
    next: Revision,
    /// Replayed, not yet handed out.
    backlog: VecDeque<WatchBatch>,
    /// Taken from the inbox, not yet handed out.
    taken: VecDeque<Delivery>,
    subscription: Option<Subscription>,
    /// Whether what comes out of the inbox is all there is, from `next` on.
    fed: bool,
    /// Progress was asked for while it was not.
    asked: bool,
    inbox: Inbox,
}

/// Asks a watch for its progress, from another task. Cheap to clone.
#[derive(Clone)]
pub struct ProgressRequest {
    shared: Arc<Shared>,
    handle: ProgressHandle,
}

impl ProgressRequest {
    /// The watch will say, behind everything it has to deliver by then, how far it is: with a
    /// batch without events whose revision is at least the store's of this moment.
    pub fn request(&self) {
        self.handle.request(self.shared.applied().revision);
    }
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, request: WatchRequest) -> Watch {
        let applied = shared.applied().revision;
        let next = request.from.unwrap_or(Revision(applied.0 + 1)).max(Revision(1));
        let inbox = shared.hub().inbox();
        Watch {
            shared,
            wanted: Wanted { range: request.range, puts: true, deletes: true },
            previous: request.previous,
            next,
            backlog: VecDeque::new(),
            taken: VecDeque::new(),
            subscription: None,
            fed: false,
            asked: false,
            inbox,
        }
    }

    /// A handle that asks this watch for progress.
    pub fn progress_request(&self) -> ProgressRequest {
        ProgressRequest { shared: self.shared.clone(), handle: self.inbox.progress_request() }
    }

    /// The next changes, or progress: a batch without events says that everything up to its
    /// revision has been delivered. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Result<WatchBatch, WatchError> {
        loop {
            if let Some(batch) = self.backlog.pop_front() {
                self.next = Revision(batch.revision.0 + 1);
                return Ok(batch);
            }
            if let Some(delivery) = self.taken.pop_front() {
                match self.deliver(delivery) {
                    Some(batch) => return Ok(batch),
                    None => continue,
                }
            }
            if self.subscription.is_none() {
                let hub = self.shared.hub();
                self.subscription = hub.subscribe(&self.inbox, 0, &self.wanted, self.next)?;
                if self.subscription.is_none() {
                    self.replay().await?;
                    continue;
                }
            }
            self.inbox.ready().await;
            self.inbox.take(&mut self.taken)?;
        }
    }

    /// Reads a piece of the past.
    async fn replay(&mut self) -> Result<(), WatchError> {
        let (shared, wanted) = (self.shared.clone(), self.wanted.clone());
        let (from, previous) = (self.next, self.previous);
        let read = move || {
            let wants = &mut |kind, key: &[u8]| wanted.kind(kind) && wanted.range.contains(key);
            mvcc::replay::replay(&shared.db().read(), from, wants, previous, REPLAY_LIMITS)
        };
        let replay = blocking(read).await.map_err(|_| WatchError::Closed)??;
        let seen = Revision(replay.next.0 - 1);
        self.backlog.extend(replay.batches);
        if self.backlog.back().is_none_or(|last| last.revision < seen) {
            self.backlog.push_back(WatchBatch { revision: seen, events: Vec::new() });
        }
        Ok(())
    }

    fn deliver(&mut self, delivery: Delivery) -> Option<WatchBatch> {
        match delivery {
            Delivery::Changes { batch, picks, .. } => {
                if batch.revision < self.next {
                    return None;
                }
                self.next = Revision(batch.revision.0 + 1);
                let mut events: Vec<_> =
                    picks.of(&batch).map(|shared| shared.event.clone()).collect();
                if !self.previous {
                    for event in &mut events {
                        event.previous = None;
                    }
                }
                Some(WatchBatch { revision: batch.revision, events })
            }
            Delivery::Joined { .. } => {
                self.fed = true;
                if std::mem::take(&mut self.asked) {
                    self.inbox.request_progress(self.shared.applied().revision);
                }
                None
            }
            Delivery::Behind { .. } => {
                (self.subscription, self.fed) = (None, false);
                None
            }
            Delivery::Progress(_) if !self.fed => {
                self.asked = true;
                None
            }
            Delivery::Progress(revision) => {
                self.next = self.next.max(Revision(revision.0 + 1));
                Some(WatchBatch { revision, events: Vec::new() })
            }
        }
    }
}
