//! The hub: hands applied changes to live watches.
//!
//! ```text
//! apply ─▶ intake ─▶ dispatcher: index ─▶ mailbox per reader (one wake-up per batch)
//!                               └──────▶ recent (for who joins a little behind)
//! ```
//!
//! Applying only queues; matching and waking is the dispatcher's, on the runtime of the readers, so
//! that many watches never delay Raft. Where they are few, what applies dispatches as well, since
//! that is less than to wake somebody for it. Invariants: what a mailbox gets is in order of revisions,
//! each once; a watch misses nothing between [`Delivery::Joined`] and [`Delivery::Behind`]; what is
//! before [`Delivery::Progress`] in a mailbox is all there was up to it, for watches that are fed.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use kontiki_base::CancellationToken;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

pub(crate) use super::mailbox::{Closed, Delivery};
use super::{
    event::{Picks, Published},
    index::Index,
    mailbox::{Mailbox, Posted},
};
use crate::{
    metrics,
    types::{KeyRange, Revision, WatchBatch, WatchEventKind},
};

/// What is held in memory at most; beyond it, watches read from disk.
#[derive(Clone, Copy)]
struct Capacity {
    /// Changes times watches that are matched where they are published.
    at_once: usize,
    /// What may wait for the dispatcher.
    intake_bytes: usize,
    /// What may wait in a mailbox: seconds of churn of a large cluster, in references.
    deliveries: usize,
    /// What that keeps in memory.
    delivery_bytes: usize,
    /// Revisions that are kept for watches that join a little behind.
    recent: usize,
    /// Their bytes.
    recent_bytes: usize,
}

const CAPACITY: Capacity = Capacity {
    at_once: 128,
    intake_bytes: 32 << 20,
    deliveries: 16_384,
    delivery_bytes: 16 << 20,
    recent: 1_024,
    recent_bytes: 4 << 20,
};

/// What a watch is interested in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) range: KeyRange,
    pub(crate) puts: bool,
    pub(crate) deletes: bool,
}

impl Wanted {
    /// Whether it wants events of this kind.
    pub(crate) fn kind(&self, kind: WatchEventKind) -> bool {
        match kind {
            WatchEventKind::Put => self.puts,
            WatchEventKind::Delete => self.deletes,
        }
    }

    /// What it wants of a batch.
    pub(crate) fn picks(&self, batch: &Published) -> Option<Picks> {
        let wanted = |(_, shared): &(usize, &super::event::SharedEvent)| {
            self.kind(shared.event.kind) && self.range.contains(&shared.event.kv.key)
        };
        let picked = batch.events.iter().enumerate().filter(wanted);
        let positions: Vec<u32> =
            picked.map(|(at, _)| u32::try_from(at).expect("changes count in u32")).collect();
        (!positions.is_empty()).then(|| Picks::new(positions, batch.events.len()))
    }
}

/// All live watches.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Inner>);

struct Inner {
    capacity: Capacity,
    intake: Mutex<Intake>,
    arrived: Notify,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Intake {
    items: Vec<Item>,
    bytes: usize,
}

enum Item {
    Changes(Vec<Published>, Revision),
    /// The state jumped, or the dispatcher was too slow: what lies before is on disk.
    Resync(Revision),
}

struct Registry {
    capacity: Capacity,
    watchers: Index<Arc<Watcher>>,
    mailboxes: HashMap<u64, Arc<Mailbox>>,
    recent: VecDeque<Arc<Published>>,
    recent_bytes: usize,
    /// Everything up to here is in `recent` from here on.
    recent_after: Revision,
    /// Everything up to here has been handed out.
    dispatched: Revision,
    /// Who wants to know when that much has been handed out.
    curious: Vec<(Revision, Arc<Mailbox>)>,
    last_id: u64,
    closed: bool,
}

struct Watcher {
    id: u64,
    wanted: Wanted,
    /// The first revision it wants.
    from: Revision,
    tag: u64,
    mailbox: Arc<Mailbox>,
}

/// The reader's side of a mailbox.
pub(crate) struct Inbox {
    hub: Hub,
    id: u64,
    mailbox: Arc<Mailbox>,
}

impl Inbox {
    /// Takes all that waits, in order, into an empty buffer; an error once nothing will ever come.
    pub(crate) fn take(&self, into: &mut VecDeque<Delivery>) -> Result<(), Closed> {
        self.mailbox.take(into)
    }

    /// Resolves when there is something to take.
    pub(crate) async fn ready(&self) {
        self.mailbox.ready().await;
    }

    /// Asks for [`Delivery::Progress`] once everything up to `at_least` has been handed out.
    pub(crate) fn request_progress(&self, at_least: Revision) {
        self.progress_request().request(at_least);
    }

    /// A handle to ask from elsewhere.
    pub(crate) fn progress_request(&self) -> ProgressHandle {
        ProgressHandle { hub: self.hub.clone(), mailbox: self.mailbox.clone() }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.hub.0.registry.lock().mailboxes.remove(&self.id);
    }
}

/// Asks for the progress of a mailbox.
#[derive(Clone)]
pub(crate) struct ProgressHandle {
    hub: Hub,
    mailbox: Arc<Mailbox>,
}

impl ProgressHandle {
    pub(crate) fn request(&self, at_least: Revision) {
        let mut registry = self.hub.0.registry.lock();
        if registry.dispatched < at_least && !registry.closed {
            registry.curious.push((at_least, self.mailbox.clone()));
            return;
        }
        if self.mailbox.notice(Delivery::Progress(registry.dispatched)) {
            self.mailbox.wake();
        }
    }
}

/// Feeds a watch as long as it exists, or until the watch is behind.
pub(crate) struct Subscription {
    hub: Hub,
    watcher: Arc<Watcher>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Watcher { id, wanted, .. } = &*self.watcher;
        if self.hub.0.registry.lock().watchers.remove(*id, &wanted.range).is_some() {
            metrics::store().watchers.dec();
        }
    }
}

impl Hub {
    pub(crate) fn new(revision: Revision) -> Hub {
        Hub::with_capacity(revision, CAPACITY)
    }

    fn with_capacity(revision: Revision, capacity: Capacity) -> Hub {
        let registry = Registry {
            capacity,
            watchers: Index::default(),
            mailboxes: HashMap::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            recent_after: revision,
            dispatched: revision,
            curious: Vec::new(),
            last_id: 0,
            closed: false,
        };
        Hub(Arc::new(Inner {
            capacity,
            intake: Mutex::default(),
            arrived: Notify::new(),
            registry: Mutex::new(registry),
        }))
    }

    /// Queues changes for the watches. Called in order of revisions, after they can be read.
    pub(crate) fn publish(&self, batches: Vec<WatchBatch>, revision: Revision) {
        if batches.is_empty() {
            return;
        }
        let batches: Vec<Published> = batches.into_iter().map(Published::from).collect();
        let bytes: usize = batches.iter().map(|batch| batch.bytes).sum();
        let changes = batches.len();
        {
            let mut intake = self.0.intake.lock();
            intake.bytes = intake.bytes.saturating_add(bytes);
            if intake.bytes > self.0.capacity.intake_bytes && !intake.items.is_empty() {
                *intake = Intake { items: vec![Item::Resync(revision)], bytes: 0 };
            } else {
                intake.items.push(Item::Changes(batches, revision));
            }
        }
        match self.0.registry.try_lock() {
            Some(registry) if registry.watchers.len() * changes <= self.0.capacity.at_once => {
                self.dispatch_to(registry);
            }
            _ => self.0.arrived.notify_one(),
        }
    }

    /// Sends all watches back to the past: the state jumped.
    pub(crate) fn resync(&self, revision: Revision) {
        *self.0.intake.lock() = Intake { items: vec![Item::Resync(revision)], bytes: 0 };
        self.0.arrived.notify_one();
    }

    /// Hands out what is queued until `shutdown`, or until the hub is closed.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        loop {
            tokio::select! { biased;
                () = shutdown.cancelled() => return,
                () = self.0.arrived.notified() => {}
            }
            if !self.dispatch() {
                return;
            }
        }
    }

    /// Hands out what is queued; `false` once the hub is closed.
    pub(crate) fn dispatch(&self) -> bool {
        loop {
            let registry = self.0.registry.lock();
            if registry.closed {
                return false;
            }
            if !self.dispatch_to(registry) {
                return true;
            }
        }
    }

    /// Hands out what is queued, if there is anything.
    fn dispatch_to(&self, mut registry: MutexGuard<'_, Registry>) -> bool {
        // Taken under the registry's lock, so that two who dispatch keep the order.
        let items = std::mem::take(&mut *self.0.intake.lock()).items;
        if items.is_empty() || registry.closed {
            return false;
        }
        let mut wake = Vec::new();
        for item in items {
            match item {
                Item::Changes(batches, revision) => {
                    registry.hand_out(batches, revision, &mut wake);
                }
                Item::Resync(revision) => registry.send_back(revision, &mut wake),
            }
        }
        registry.tell_the_curious(&mut wake);
        drop(registry);
        for mailbox in wake {
            mailbox.wake();
        }
        true
    }

    /// Ends all watches, for good, after what has been published.
    pub(crate) fn close(&self) {
        self.dispatch();
        let mut registry = self.0.registry.lock();
        registry.closed = true;
        let ended = registry.watchers.drain().len();
        metrics::store().watchers.sub(i64::try_from(ended).unwrap_or(i64::MAX));
        registry.curious.clear();
        for mailbox in registry.mailboxes.values() {
            mailbox.close();
        }
        drop(registry);
        self.0.arrived.notify_one();
    }

    /// A mailbox for a reader's watches.
    pub(crate) fn inbox(&self) -> Inbox {
        let Capacity { deliveries, delivery_bytes, .. } = self.0.capacity;
        let mailbox = Arc::new(Mailbox::new(deliveries, delivery_bytes));
        let mut registry = self.0.registry.lock();
        registry.last_id += 1;
        let id = registry.last_id;
        if registry.closed {
            mailbox.close();
        }
        registry.mailboxes.insert(id, mailbox.clone());
        drop(registry);
        Inbox { hub: self.clone(), id, mailbox }
    }

    /// Feeds what is `wanted` from revision `next` on into the inbox, under a tag. `None` if some
    /// of that is only on disk by now: replay it first.
    pub(crate) fn subscribe(
        &self,
        inbox: &Inbox,
        tag: u64,
        wanted: &Wanted,
        next: Revision,
    ) -> Result<Option<Subscription>, Closed> {
        let mut registry = self.0.registry.lock();
        if registry.closed {
            return Err(Closed);
        }
        if next <= registry.recent_after {
            return Ok(None);
        }
        registry.last_id += 1;
        let watcher = Arc::new(Watcher {
            id: registry.last_id,
            wanted: wanted.clone(),
            from: next,
            tag,
            mailbox: inbox.mailbox.clone(),
        });
        // No need to wake the reader: it is here, and looks before it waits.
        inbox.mailbox.notice(Delivery::Joined { tag });
        let missed = registry.recent.partition_point(|batch| batch.revision < next);
        let mut caught_up = true;
        for batch in registry.recent.range(missed..) {
            let Some(picks) = wanted.picks(batch) else { continue };
            if watcher.mailbox.post(tag, batch, picks) == Posted::Cut {
                caught_up = false;
                break;
            }
        }
        if caught_up {
            registry.watchers.insert(watcher.id, &wanted.range, watcher.clone());
            metrics::store().watchers.inc();
        }
        drop(registry);
        Ok(Some(Subscription { hub: self.clone(), watcher }))
    }
}

type Wake = Vec<Arc<Mailbox>>;

impl Registry {
    fn hand_out(&mut self, batches: Vec<Published>, revision: Revision, wake: &mut Wake) {
        for batch in batches {
            let batch = Arc::new(batch);
            if self.watchers.len() > 0 {
                self.feed(&batch, wake);
            }
            self.recent_bytes += batch.bytes;
            self.recent.push_back(batch);
            let Capacity { recent, recent_bytes, .. } = self.capacity;
            while self.recent.len() > recent || self.recent_bytes > recent_bytes {
                let Some(oldest) = self.recent.pop_front() else { break };
                self.recent_bytes -= oldest.bytes;
                self.recent_after = oldest.revision;
            }
        }
        self.dispatched = revision;
    }

    fn feed(&mut self, batch: &Arc<Published>, wake: &mut Wake) {
        let mut cut = Vec::new();
        let mut deliver = |watcher: &Arc<Watcher>, picks: Picks| match watcher.mailbox.post(
            watcher.tag,
            batch,
            picks,
        ) {
            Posted::Queued => {}
            Posted::First => wake.push(watcher.mailbox.clone()),
            Posted::Cut => cut.push(watcher.clone()),
        };
        let wants = |watcher: &Watcher, kind: WatchEventKind| {
            watcher.wanted.kind(kind) && watcher.from <= batch.revision
        };
        if let [only] = &*batch.events {
            self.watchers.visit(&only.event.kv.key, &mut |_, watcher| {
                if wants(watcher, only.event.kind) {
                    deliver(watcher, Picks::All);
                }
            });
        } else {
            let mut picked: HashMap<u64, (Arc<Watcher>, Vec<u32>)> = HashMap::new();
            for (at, shared) in batch.events.iter().enumerate() {
                let at = u32::try_from(at).expect("changes count in u32");
                self.watchers.visit(&shared.event.kv.key, &mut |id, watcher| {
                    if wants(watcher, shared.event.kind) {
                        let entry = picked.entry(id);
                        let (_, picks) = entry.or_insert_with(|| (watcher.clone(), Vec::new()));
                        picks.push(at);
                    }
                });
            }
            for (watcher, picks) in picked.into_values() {
                deliver(&watcher, Picks::new(picks, batch.events.len()));
            }
        }
        for watcher in cut {
            if self.watchers.remove(watcher.id, &watcher.wanted.range).is_some() {
                metrics::store().watchers.dec();
                metrics::store().slow_watchers.inc();
            }
        }
    }

    fn send_back(&mut self, revision: Revision, wake: &mut Wake) {
        let sent_back = self.watchers.drain();
        metrics::store().watchers.sub(i64::try_from(sent_back.len()).unwrap_or(i64::MAX));
        for watcher in sent_back {
            if watcher.mailbox.notice(Delivery::Behind { tag: watcher.tag }) {
                wake.push(watcher.mailbox.clone());
            }
        }
        self.recent.clear();
        self.recent_bytes = 0;
        self.recent_after = revision;
        self.dispatched = revision;
    }

    fn tell_the_curious(&mut self, wake: &mut Wake) {
        let dispatched = self.dispatched;
        self.curious.retain(|(at_least, mailbox)| {
            let due = *at_least <= dispatched;
            if due && mailbox.notice(Delivery::Progress(dispatched)) {
                wake.push(mailbox.clone());
            }
            !due
        });
    }
}

#[cfg(test)]
mod tests;
