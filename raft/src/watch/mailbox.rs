//! Where what the hub hands out waits for its reader: one queue and one wake-up for all watches of
//! a reader, however many they are.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::event::{Picks, Published};
use crate::types::Revision;

/// Something for a reader. A watch is fed from [`Delivery::Joined`] to [`Delivery::Behind`].
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    /// From here on the watch is given everything from its next revision on.
    Joined {
        /// Which of the reader's watches.
        tag: u64,
    },
    /// A revision that touched what a watch wants.
    Changes {
        /// Which of the reader's watches.
        tag: u64,
        /// The revision.
        batch: Arc<Published>,
        /// What the watch wants of it.
        picks: Picks,
    },
    /// The watch is not fed any more: what follows is on disk.
    Behind {
        /// Which of the reader's watches.
        tag: u64,
    },
    /// All of the reader's watches that are fed have been given everything up to this revision.
    Progress(Revision),
}

/// The store has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// A bounded queue of deliveries.
pub(super) struct Mailbox {
    deliveries_max: usize,
    bytes_max: usize,
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    closed: bool,
}

/// What became of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// They wait behind others: the reader has been, or will be woken.
    Queued,
    /// They are the first: wake the reader.
    First,
    /// There is no room. The reader is told that the watch is behind; it is not to be fed on.
    Cut,
}

impl Mailbox {
    pub(super) fn new(deliveries_max: usize, bytes_max: usize) -> Mailbox {
        let (queue, arrived) = (Mutex::default(), Notify::new());
        Mailbox { deliveries_max, bytes_max, queue, arrived }
    }

    /// Adds changes, or cuts the watch.
    pub(super) fn post(&self, tag: u64, batch: &Arc<Published>, picks: Picks) -> Posted {
        let bytes = match &picks {
            Picks::All => batch.bytes,
            Picks::Some(_) => picks.of(batch).map(super::event::SharedEvent::bytes).sum(),
        };
        let mut queue = self.queue.lock();
        let first = queue.deliveries.is_empty();
        let room = queue.deliveries.len() < self.deliveries_max
            && queue.bytes.saturating_add(bytes) <= self.bytes_max;
        // Without changes in it, it takes any: what is larger than all room would never arrive.
        if !room && queue.bytes > 0 {
            queue.deliveries.push_back(Delivery::Behind { tag });
            return Posted::Cut;
        }
        queue.bytes += bytes;
        queue.deliveries.push_back(Delivery::Changes { tag, batch: batch.clone(), picks });
        if first { Posted::First } else { Posted::Queued }
    }

    /// Adds what always fits: there are two per watch, or one per request, at most. `true` asks to
    /// wake the reader.
    pub(super) fn notice(&self, delivery: Delivery) -> bool {
        let mut queue = self.queue.lock();
        queue.deliveries.push_back(delivery);
        queue.deliveries.len() == 1
    }

    pub(super) fn wake(&self) {
        self.arrived.notify_one();
    }

    /// Nothing will come any more.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Takes all that waits, in order, into an empty buffer; an error once nothing will ever come.
    pub(super) fn take(&self, into: &mut VecDeque<Delivery>) -> Result<(), Closed> {
        debug_assert!(into.is_empty());
        let mut queue = self.queue.lock();
        if queue.closed && queue.deliveries.is_empty() {
            return Err(Closed);
        }
        queue.bytes = 0;
        std::mem::swap(&mut queue.deliveries, into);
        Ok(())
    }

    /// Resolves when [`Mailbox::take`] has something to say. For one reader at a time.
    pub(super) async fn ready(&self) {
        loop {
            {
                let queue = self.queue.lock();
                if queue.closed || !queue.deliveries.is_empty() {
                    return;
                }
            }
            self.arrived.notified().await;
        }
    }
}
