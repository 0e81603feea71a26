//! Watches: every change once, in order, to whoever asked for its keys.
//!
//! ```text
//! apply ─▶ Hub ─▶ bounded queue per live watch ─▶ Watch::recv
//!                 changes on disk ─▶ replay ──────▶ (a watch of the past, until it has caught up)
//! ```
//!
//! A watch that starts in the past reads `changes` piece by piece, and joins the hub where that
//! ends. A queue that is full cuts its watch with [`WatchError::TooSlow`]: nothing is skipped.

mod hub;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until},
};

pub(crate) use self::hub::Hub;
use self::hub::{Feed, Subscription};
use crate::{
    environment::blocking,
    error::Error,
    mvcc,
    state::Shared,
    types::{Revision, WatchBatch, WatchRequest},
};

/// Revisions that one step of a replay looks at.
const REPLAY_REVISIONS: u64 = 512;
/// A quiet watch reports progress this long after the revision moved, unless it is asked.
const PROGRESS_DELAY: Duration = Duration::from_millis(10);

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
    /// Its reader fell too far behind.
    #[error("the watch fell behind, its next revision was {next}")]
    TooSlow {
        /// Where to resume.
        next: Revision,
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

/// A subscription to changes. Dropping it ends it.
pub struct Watch {
    request: WatchRequest,
    shared: Arc<Shared>,
    /// The first revision that has not been delivered.
    next: Revision,
    /// Replayed, not yet handed out.
    backlog: VecDeque<WatchBatch>,
    live: Option<Live>,
    asked: Arc<Notify>,
}

struct Live {
    /// The first revision that the feed has; what lies before it is on disk.
    from: Revision,
    feed: mpsc::Receiver<Feed>,
    published: watch::Receiver<Revision>,
    subscription: Subscription,
}

/// Asks a watch for its progress, from another task. Cheap to clone.
#[derive(Clone)]
pub struct ProgressRequest(Arc<Notify>);

impl ProgressRequest {
    /// The watch's next [`Watch::recv`] answers at once, with a batch without events if nothing
    /// else is due. A request made before the revision moved is not lost.
    pub fn request(&self) {
        self.0.notify_one();
    }
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, request: WatchRequest) -> Watch {
        let mut watch = Watch {
            next: request.from.unwrap_or_default().max(Revision(1)),
            request,
            shared,
            backlog: VecDeque::new(),
            live: None,
            asked: Arc::new(Notify::new()),
        };
        if watch.request.from.is_none() {
            watch.next = watch.join();
        }
        watch
    }

    /// A handle that asks this watch for progress.
    pub fn progress_request(&self) -> ProgressRequest {
        ProgressRequest(self.asked.clone())
    }

    /// The next changes, or progress: a batch without events says that everything up to its
    /// revision has been delivered. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Result<WatchBatch, WatchError> {
        loop {
            if let Some(batch) = self.backlog.pop_front() {
                self.next = Revision(batch.revision.0 + 1);
                return Ok(batch);
            }
            let live_from = match &self.live {
                Some(live) => live.from,
                // Nothing left to replay: the feed goes on. A start in the future waits there,
                // too, and drops what comes before it.
                None if self.next > self.shared.applied().revision => self.join(),
                None => Revision(u64::MAX),
            };
            if self.next < live_from {
                self.replay(live_from).await?;
            } else if let Some(batch) = self.live().await? {
                return Ok(batch);
            }
        }
    }

    /// Subscribes to the hub; what it publishes from the returned revision on is in the feed.
    fn join(&mut self) -> Revision {
        let (subscription, feed, published) =
            self.shared.hub().subscribe(self.request.range.clone());
        let from = Revision(published.borrow().0 + 1);
        self.live = Some(Live { from, feed, published, subscription });
        from
    }

    /// Reads a piece of the past, up to `end` at most.
    async fn replay(&mut self, end: Revision) -> Result<(), WatchError> {
        let revisions = REPLAY_REVISIONS.min(end.0 - self.next.0);
        let (shared, range, from) = (self.shared.clone(), self.request.range.clone(), self.next);
        let read = move || mvcc::replay::replay(&shared.db().read(), &range, from, revisions - 1);
        let replay = blocking(read).await.map_err(|_| WatchError::Closed)??;
        self.backlog.extend(replay.batches);
        let seen = Revision(replay.next.0 - 1);
        let delivered = self.backlog.back().map_or(Revision(from.0 - 1), |last| last.revision);
        if seen > delivered {
            self.backlog.push_back(WatchBatch { revision: seen, events: Vec::new() });
        }
        if !self.request.previous {
            for event in self.backlog.iter_mut().flat_map(|batch| &mut batch.events) {
                event.previous = None;
            }
        }
        Ok(())
    }

    async fn live(&mut self) -> Result<Option<WatchBatch>, WatchError> {
        let Some(live) = &mut self.live else { return Ok(None) };
        // Read before the feed: what was published by then is in the feed already.
        let published = *live.published.borrow_and_update();
        let fed = match live.feed.try_recv() {
            Ok(fed) => Some(fed),
            Err(_) => {
                let due = Instant::now() + PROGRESS_DELAY;
                let behind = published >= self.next;
                tokio::select! { biased;
                    fed = live.feed.recv() => fed,
                    () = self.asked.notified() => return Ok(Some(self.progress(published))),
                    () = sleep_until(due), if behind => {
                        return Ok(Some(self.progress(published)));
                    }
                    changed = live.published.changed(), if !behind => {
                        changed.map_err(|_| WatchError::Closed)?;
                        return Ok(None);
                    }
                }
            }
        };
        match fed {
            Some(Feed::Changes(batch)) => Ok(self.select(&batch)),
            // A snapshot replaced the state: what lies between is on disk.
            Some(Feed::Resync) => {
                self.live = None;
                Ok(None)
            }
            None if live.subscription.overflowed() => Err(WatchError::TooSlow { next: self.next }),
            None => Err(WatchError::Closed),
        }
    }

    fn progress(&mut self, revision: Revision) -> WatchBatch {
        self.next = self.next.max(Revision(revision.0 + 1));
        WatchBatch { revision, events: Vec::new() }
    }

    /// The part of a batch that this watch asked for.
    fn select(&mut self, batch: &WatchBatch) -> Option<WatchBatch> {
        if batch.revision < self.next {
            return None;
        }
        self.next = Revision(batch.revision.0 + 1);
        let mut events: Vec<_> = batch
            .events
            .iter()
            .filter(|event| self.request.range.contains(&event.kv.key))
            .cloned()
            .collect();
        if !self.request.previous {
            for event in &mut events {
                event.previous = None;
            }
        }
        Some(WatchBatch { revision: batch.revision, events })
    }
}
