//! The hub: hands applied changes to live watches.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::{
    metrics,
    types::{KeyRange, Revision, WatchBatch},
};

/// Batches that may wait for one watcher: seconds of churn of a large cluster, in references.
const WATCH_BACKLOG_MAX: usize = 16_384;

/// What a live watch is fed with.
pub(super) enum Feed {
    /// A revision that touched its range.
    Changes(Arc<WatchBatch>),
    /// The state was replaced by a snapshot: read the past again.
    Resync,
}

/// All live watches.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Inner>);

struct Inner {
    published: watch::Sender<Revision>,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    last_id: u64,
    watchers: HashMap<u64, Watcher>,
    closed: bool,
}

struct Watcher {
    range: KeyRange,
    feed: mpsc::Sender<Feed>,
    overflowed: Arc<AtomicBool>,
}

/// Ends with its watch.
pub(super) struct Subscription {
    hub: Hub,
    id: u64,
    overflowed: Arc<AtomicBool>,
}

impl Subscription {
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Acquire)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.hub.0.registry.lock().watchers.remove(&self.id).is_some() {
            metrics::store().watchers.dec();
        }
    }
}

impl Hub {
    pub(crate) fn new(revision: Revision) -> Hub {
        Hub(Arc::new(Inner {
            published: watch::Sender::new(revision),
            registry: Mutex::new(Registry::default()),
        }))
    }

    /// Feeds the watches. Called in order of revisions, after the changes can be read.
    pub(crate) fn publish(&self, batches: Vec<WatchBatch>, revision: Revision) {
        let mut registry = self.0.registry.lock();
        if !registry.watchers.is_empty() {
            for batch in batches {
                registry.feed(&Arc::new(batch));
            }
        }
        // Under the lock: who subscribes sees either the change in its feed or its revision here.
        self.0.published.send_if_modified(|last| std::mem::replace(last, revision) != revision);
    }

    /// Sends all watches back to the past: the state jumped.
    pub(crate) fn resync(&self, revision: Revision) {
        let mut registry = self.0.registry.lock();
        registry.retain(|watcher| watcher.send(Feed::Resync));
        self.0.published.send_replace(revision);
    }

    /// Ends all watches, for good.
    pub(crate) fn close(&self) {
        let mut registry = self.0.registry.lock();
        registry.closed = true;
        let ended = registry.watchers.drain().count();
        metrics::store().watchers.sub(i64::try_from(ended).unwrap_or(i64::MAX));
    }

    pub(super) fn subscribe(
        &self,
        range: KeyRange,
    ) -> (Subscription, mpsc::Receiver<Feed>, watch::Receiver<Revision>) {
        let (feed, receiver) = mpsc::channel(WATCH_BACKLOG_MAX);
        let overflowed = Arc::new(AtomicBool::new(false));
        let mut registry = self.0.registry.lock();
        registry.last_id += 1;
        let id = registry.last_id;
        if !registry.closed {
            let watcher = Watcher { range, feed, overflowed: overflowed.clone() };
            registry.watchers.insert(id, watcher);
            metrics::store().watchers.inc();
        }
        let published = self.0.published.subscribe();
        drop(registry);
        (Subscription { hub: self.clone(), id, overflowed }, receiver, published)
    }
}

impl Registry {
    fn feed(&mut self, batch: &Arc<WatchBatch>) {
        self.retain(|watcher| {
            let wanted = batch.events.iter().any(|event| watcher.range.contains(&event.kv.key));
            !wanted || watcher.send(Feed::Changes(batch.clone()))
        });
    }

    fn retain(&mut self, keep: impl Fn(&Watcher) -> bool) {
        let before = self.watchers.len();
        self.watchers.retain(|_, watcher| keep(watcher));
        let cut = before - self.watchers.len();
        if cut > 0 {
            metrics::store().watchers.sub(i64::try_from(cut).unwrap_or(i64::MAX));
        }
    }
}

impl Watcher {
    /// `false` cuts the watcher.
    fn send(&self, feed: Feed) -> bool {
        match self.feed.try_send(feed) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.overflowed.store(true, Ordering::Release);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{KeyValue, LeaseId, WatchEvent, WatchEventKind};

    fn change(key: &'static str, revision: u64) -> WatchBatch {
        let revision = Revision(revision);
        let kv = KeyValue {
            key: key.into(),
            value: "v".into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: LeaseId(0),
        };
        let event = WatchEvent { kind: WatchEventKind::Put, kv, previous: None };
        WatchBatch { revision, events: vec![event] }
    }

    #[test]
    fn a_watcher_that_does_not_read_is_cut_and_others_are_not() {
        let hub = Hub::new(Revision(1));
        let (slow, mut slow_feed, _) = hub.subscribe(KeyRange::prefix("a"));
        let (other, mut other_feed, _) = hub.subscribe(KeyRange::prefix("b"));
        let behind = WATCH_BACKLOG_MAX as u64 + 1;
        for revision in 2..=behind + 1 {
            hub.publish(vec![change("a", revision)], Revision(revision));
        }
        hub.publish(vec![change("b", behind + 2)], Revision(behind + 2));
        assert!(slow.overflowed() && !other.overflowed());
        // What was queued before is still delivered, then it ends.
        let mut delivered = 0;
        while slow_feed.try_recv().is_ok() {
            delivered += 1;
        }
        assert_eq!(delivered, WATCH_BACKLOG_MAX);
        assert!(slow_feed.is_closed());
        assert!(matches!(other_feed.try_recv(), Ok(Feed::Changes(_))));
    }
}
