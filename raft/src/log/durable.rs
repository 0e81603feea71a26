//! How far the log is safe on the local disk.
//!
//! The state machine waits here before it applies: its own files may be flushed at any time, and
//! must never hold the effect of an entry that the local log could still lose.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Shared mark of durability. A truncation invalidates what was queued before it.
#[derive(Clone)]
pub(crate) struct Durable {
    mark: Arc<watch::Sender<u64>>,
    generation: Arc<Mutex<u64>>,
}

/// What becomes durable with a queued append.
pub(super) struct Ticket {
    generation: u64,
    next: Option<u64>,
}

impl Default for Durable {
    fn default() -> Durable {
        Durable { mark: Arc::new(watch::Sender::new(0)), generation: Arc::default() }
    }
}

impl Durable {
    /// A mark that holds nothing back, for a state machine without a log.
    #[cfg(test)]
    pub(crate) fn unlimited() -> Durable {
        let durable = Durable::default();
        durable.mark.send_replace(u64::MAX);
        durable
    }

    /// Everything that was read from disk at the start is durable.
    pub(super) fn start_at(&self, last: Option<u64>) {
        self.mark.send_replace(last.map_or(0, |index| index + 1));
    }

    /// Entries up to `index` are in a durable snapshot.
    pub(super) fn raise(&self, index: u64) {
        self.mark.send_if_modified(|next| {
            let raised = (*next).max(index + 1);
            std::mem::replace(next, raised) != raised
        });
    }

    /// For an append whose last entry is `last`.
    pub(super) fn ticket(&self, last: Option<u64>) -> Ticket {
        Ticket { generation: *self.generation.lock(), next: last.map(|index| index + 1) }
    }

    /// The append has been flushed.
    pub(super) fn completed(&self, ticket: &Ticket) {
        let generation = self.generation.lock();
        if *generation == ticket.generation
            && let Some(next) = ticket.next
        {
            self.mark.send_replace(next);
        }
    }

    /// Entries behind `last` are gone.
    pub(super) fn truncate(&self, last: Option<u64>) {
        let mut generation = self.generation.lock();
        *generation += 1;
        let kept = last.map_or(0, |index| index + 1);
        self.mark.send_if_modified(|next| {
            let lowered = (*next).min(kept);
            std::mem::replace(next, lowered) != lowered
        });
    }

    /// Waits until the entry at `index` is durable. `false` if the log is gone.
    pub(crate) async fn reaches(&self, index: u64) -> bool {
        let mut mark = self.mark.subscribe();
        mark.wait_for(|next| *next > index).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_from_before_a_truncation_does_not_count() {
        let durable = Durable::default();
        let early = durable.ticket(Some(10));
        durable.truncate(Some(5));
        durable.completed(&early);
        assert_eq!(*durable.mark.borrow(), 0);
        let late = durable.ticket(Some(6));
        durable.completed(&late);
        assert_eq!(*durable.mark.borrow(), 7);
    }
}
