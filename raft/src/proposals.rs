//! Identities of proposals: which are under way, and which nobody waits for any more.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{command::Identity, metrics, types::MemberId};

/// Proposals of one member under way at once; more wait in line.
const PENDING_MAX: usize = 4_096;

/// Gives proposals their identity.
pub(crate) struct Sequencer {
    member: MemberId,
    boot: u64,
    pending: Arc<Mutex<Pending>>,
    permits: Arc<Semaphore>,
}

#[derive(Default)]
struct Pending {
    last: u64,
    waiting: BTreeSet<u64>,
}

/// A proposal under way; dropping it says that nobody waits for its reply.
pub(crate) struct Ticket {
    identity: Identity,
    pending: Arc<Mutex<Pending>>,
    _permit: OwnedSemaphorePermit,
}

impl Sequencer {
    pub(crate) fn new(member: MemberId, boot: u64) -> Sequencer {
        let permits = Arc::new(Semaphore::new(PENDING_MAX));
        Sequencer { member, boot, pending: Arc::default(), permits }
    }

    /// The next identity, once there is room. `None` when the store has closed.
    pub(crate) async fn begin(&self) -> Option<Ticket> {
        let permit = self.permits.clone().acquire_owned().await.ok()?;
        let mut pending = self.pending.lock();
        pending.last += 1;
        let sequence = pending.last;
        pending.waiting.insert(sequence);
        let oldest_pending = pending.waiting.first().copied().unwrap_or(sequence);
        metrics::store().proposals_pending.inc();
        Some(Ticket {
            identity: Identity { member: self.member, boot: self.boot, sequence, oldest_pending },
            pending: self.pending.clone(),
            _permit: permit,
        })
    }

    /// Refuses further proposals.
    pub(crate) fn close(&self) {
        self.permits.close();
    }
}

impl Ticket {
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pending.lock().waiting.remove(&self.identity.sequence);
        metrics::store().proposals_pending.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_pending_moves_when_it_is_answered() {
        let sequencer = Sequencer::new(MemberId(7), 1);
        let first = sequencer.begin().await.unwrap();
        let second = sequencer.begin().await.unwrap();
        assert_eq!((second.identity.sequence, second.identity.oldest_pending), (2, 1));
        drop(first);
        let third = sequencer.begin().await.unwrap();
        assert_eq!((third.identity.sequence, third.identity.oldest_pending), (3, 2));
    }
}
