//! Identities of proposals: which are under way, and which nobody waits for any more.
//!
//! Both sides of the line are bounded, in proposals and in bytes: whoever comes when it is full is
//! told so at once, because nothing is gained by growing what the leader cannot keep up with.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{command::Identity, error::Error, metrics, types::MemberId};

/// Proposals of one member under way at once; more wait in line.
const PENDING_MAX: usize = 4_096;
/// Proposals that wait in line: a second's worth on a slow disk.
const WAITING_MAX: usize = 8_192;
/// Bytes of both together: what a burst of large values may cost a member.
const BYTES_MAX: usize = 128 << 20;
/// How long a proposal waits in line. Nothing has happened to it by then.
const LINE_MAX: Duration = Duration::from_secs(5);

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
    /// In line and under way.
    proposals: usize,
    bytes: usize,
}

/// A proposal's share of what a member may hold, from when it came until it was answered.
struct Room {
    bytes: usize,
    pending: Arc<Mutex<Pending>>,
}

/// A proposal under way; dropping it says that nobody waits for its reply.
pub(crate) struct Ticket {
    identity: Identity,
    room: Room,
    _permit: OwnedSemaphorePermit,
}

impl Sequencer {
    pub(crate) fn new(member: MemberId, boot: u64) -> Sequencer {
        let permits = Arc::new(Semaphore::new(PENDING_MAX));
        Sequencer { member, boot, pending: Arc::default(), permits }
    }

    /// The next identity, for a proposal of so many bytes, once there is room.
    pub(crate) async fn begin(&self, bytes: usize) -> Result<Ticket, Error> {
        let room = Room::take(&self.pending, bytes).ok_or(Error::TooManyRequests)?;
        let permit = match timeout(LINE_MAX, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Error::ShutDown),
            Err(_) => return Err(Error::TooManyRequests),
        };
        let mut pending = self.pending.lock();
        pending.last += 1;
        let sequence = pending.last;
        pending.waiting.insert(sequence);
        let oldest_pending = pending.waiting.first().copied().unwrap_or(sequence);
        drop(pending);
        Ok(Ticket {
            identity: Identity { member: self.member, boot: self.boot, sequence, oldest_pending },
            room,
            _permit: permit,
        })
    }

    /// Refuses further proposals.
    pub(crate) fn close(&self) {
        self.permits.close();
    }
}

impl Room {
    /// `None` when the line is full.
    fn take(pending: &Arc<Mutex<Pending>>, bytes: usize) -> Option<Room> {
        let mut now = pending.lock();
        let full = now.proposals >= PENDING_MAX + WAITING_MAX || now.bytes + bytes > BYTES_MAX;
        // A proposal that is too large for the line alone is not the line's business.
        if full && now.proposals > 0 {
            metrics::health().proposals_rejected.inc();
            return None;
        }
        now.proposals += 1;
        now.bytes += bytes;
        metrics::store().proposals_pending.inc();
        Some(Room { bytes, pending: pending.clone() })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut now = self.pending.lock();
        now.proposals -= 1;
        now.bytes -= self.bytes;
        metrics::store().proposals_pending.dec();
    }
}

impl Ticket {
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.room.pending.lock().waiting.remove(&self.identity.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_pending_moves_when_it_is_answered() {
        let sequencer = Sequencer::new(MemberId(7), 1);
        let first = sequencer.begin(1).await.unwrap();
        let second = sequencer.begin(1).await.unwrap();
        assert_eq!((second.identity.sequence, second.identity.oldest_pending), (2, 1));
        drop(first);
        let third = sequencer.begin(1).await.unwrap();
        assert_eq!((third.identity.sequence, third.identity.oldest_pending), (3, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_when_the_line_is_full_is_told_at_once() {
        let sequencer = Sequencer::new(MemberId(7), 1);
        let mut under_way = Vec::new();
        for _ in 0..PENDING_MAX {
            under_way.push(sequencer.begin(1).await.unwrap());
        }
        let mut line = Vec::new();
        for _ in 0..WAITING_MAX {
            let mut next = Box::pin(sequencer.begin(1));
            assert!(futures::poll!(&mut next).is_pending(), "it waits in line");
            line.push(next);
        }
        let begun = tokio::time::Instant::now();
        assert!(matches!(sequencer.begin(1).await, Err(Error::TooManyRequests)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        // The first in line follows the first that is answered; the last waits for too long.
        drop(under_way.pop());
        let first = line.remove(0).await.unwrap();
        assert!(matches!(line.pop().unwrap().await, Err(Error::TooManyRequests)));
        assert_eq!(begun.elapsed(), LINE_MAX);
        drop((first, under_way, line));
        assert_eq!(sequencer.pending.lock().proposals, 0);
    }

    #[tokio::test]
    async fn large_proposals_fill_the_line_by_their_bytes() {
        let sequencer = Sequencer::new(MemberId(7), 1);
        let first = sequencer.begin(BYTES_MAX + 1).await.unwrap();
        assert!(matches!(sequencer.begin(1).await, Err(Error::TooManyRequests)));
        drop(first);
        let halves = [sequencer.begin(BYTES_MAX / 2).await, sequencer.begin(BYTES_MAX / 2).await];
        assert!(halves.iter().all(Result::is_ok));
        assert!(matches!(sequencer.begin(1).await, Err(Error::TooManyRequests)));
    }
}
