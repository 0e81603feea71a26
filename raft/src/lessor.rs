//! When leases end: what a leader counts, by its own clock.
//!
//! A member that does not lead counts nothing. A new leadership reads which leases exist and
//! gives each its full time again, as etcd does without checkpoints: a lease may live longer than
//! asked, never shorter.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use kontiki_base::Fence;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{mvcc::apply::LeaseChange, types::LeaseId};

/// Counts, and tells who waits for the next end that there is an earlier one.
#[derive(Default)]
pub(crate) struct Lessor {
    deadlines: Mutex<Deadlines>,
    earlier: Notify,
}

impl Lessor {
    /// Looks at the deadlines, or moves them.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Deadlines) -> T) -> T {
        let mut deadlines = self.deadlines.lock();
        let before = deadlines.next();
        let seen = look(&mut deadlines);
        let after = deadlines.next();
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.earlier.notify_one();
        }
        seen
    }

    /// Takes note of what was applied.
    pub(crate) fn note(&self, changes: &[LeaseChange]) {
        if !changes.is_empty() {
            self.with(|deadlines| deadlines.note(changes, Instant::now()));
        }
    }

    /// Waits until there is an earlier end than before.
    pub(crate) async fn earlier(&self) {
        self.earlier.notified().await;
    }
}

/// When each lease ends.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// The leadership under which it is counted; `None` counts nothing.
    under: Option<Fence>,
    /// Those that ended while a new leadership reads which there are.
    ended_meanwhile: Option<BTreeSet<LeaseId>>,
    leases: HashMap<LeaseId, Counted>,
    /// Those that are not ending yet, in order.
    by_end: BTreeSet<(Instant, LeaseId)>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    ttl: Duration,
    end: Instant,
    /// Its end is proposed: too late to renew.
    ending: bool,
}

/// What a leader says about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It does not count under this leadership, or not yet.
    NotCounting,
    /// There is none, or it is ending.
    NotFound,
    /// It lives for so long.
    Alive {
        /// After each renewal.
        granted: Duration,
        /// From now on.
        remaining: Duration,
    },
}

impl Deadlines {
    /// Stops counting.
    pub(crate) fn stop(&mut self) {
        *self = Deadlines::default();
    }

    /// Begins to count; those that exist are still to be read.
    pub(crate) fn begin(&mut self, under: Fence) {
        let ended_meanwhile = Some(BTreeSet::new());
        *self = Deadlines { under: Some(under), ended_meanwhile, ..Deadlines::default() };
    }

    /// Takes over those that existed after the beginning.
    pub(crate) fn load(&mut self, under: Fence, leases: &[(LeaseId, Duration)], now: Instant) {
        if self.under != Some(under) {
            return;
        }
        let ended = self.ended_meanwhile.take().unwrap_or_default();
        for (lease, ttl) in leases {
            if !ended.contains(lease) && !self.leases.contains_key(lease) {
                self.insert(*lease, *ttl, now);
            }
        }
    }

    fn note(&mut self, changes: &[LeaseChange], now: Instant) {
        if self.under.is_none() {
            return;
        }
        for change in changes {
            match change {
                LeaseChange::Granted(lease) => self.insert(lease.id, lease.ttl, now),
                LeaseChange::Ended(lease) => {
                    self.remove(*lease);
                    if let Some(ended) = &mut self.ended_meanwhile {
                        ended.insert(*lease);
                    }
                }
            }
        }
    }

    fn insert(&mut self, lease: LeaseId, ttl: Duration, now: Instant) {
        let end = now + ttl;
        self.leases.insert(lease, Counted { ttl, end, ending: false });
        self.by_end.insert((end, lease));
    }

    fn remove(&mut self, lease: LeaseId) {
        if let Some(counted) = self.leases.remove(&lease) {
            self.by_end.remove(&(counted.end, lease));
        }
    }

    /// Lets a lease live for its full time after `now`.
    pub(crate) fn renew(&mut self, under: Fence, lease: LeaseId, now: Instant) -> Told {
        if let Some(counted) = self.leases.get_mut(&lease)
            && !counted.ending
        {
            self.by_end.remove(&(counted.end, lease));
            counted.end = counted.end.max(now + counted.ttl);
            self.by_end.insert((counted.end, lease));
        }
        self.tell(under, lease, now)
    }

    /// How long a lease still lives.
    pub(crate) fn tell(&self, under: Fence, lease: LeaseId, now: Instant) -> Told {
        if self.under != Some(under) || self.ended_meanwhile.is_some() {
            return Told::NotCounting;
        }
        match self.leases.get(&lease) {
            Some(Counted { ttl, end, ending: false }) => {
                let remaining = end.saturating_duration_since(now);
                Told::Alive { granted: *ttl, remaining }
            }
            _ => Told::NotFound,
        }
    }

    /// Those whose time is over, at most so many; they cannot be renewed any more.
    pub(crate) fn take_due(&mut self, now: Instant, most: usize) -> Vec<LeaseId> {
        let due = self.by_end.iter().take_while(|(end, _)| *end <= now).take(most);
        let due: Vec<(Instant, LeaseId)> = due.copied().collect();
        for (end, lease) in &due {
            self.by_end.remove(&(*end, *lease));
            if let Some(counted) = self.leases.get_mut(lease) {
                counted.ending = true;
            }
        }
        due.into_iter().map(|(_, lease)| lease).collect()
    }

    /// A lease that could not be ended is tried again, and may be renewed until then.
    pub(crate) fn put_back(&mut self, lease: LeaseId, until: Instant) {
        if let Some(counted) = self.leases.get_mut(&lease)
            && counted.ending
        {
            (counted.ending, counted.end) = (false, until);
            self.by_end.insert((until, lease));
        }
    }

    /// When the first one ends.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_end.first().map(|(end, _)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Lease;

    const SECOND: Duration = Duration::from_secs(1);
    const FIRST: Fence = Fence { term: 1, member: 1 };

    fn leading(leases: &[(i64, u32)], now: Instant) -> Deadlines {
        let mut deadlines = Deadlines::default();
        deadlines.begin(FIRST);
        load(&mut deadlines, FIRST, leases, now);
        deadlines
    }

    fn load(deadlines: &mut Deadlines, under: Fence, leases: &[(i64, u32)], now: Instant) {
        let leases = leases.iter().map(|(lease, ttl)| (LeaseId(*lease), SECOND * *ttl));
        deadlines.load(under, &leases.collect::<Vec<_>>(), now);
    }

    fn grant(lease: i64, ttl: u32) -> LeaseChange {
        LeaseChange::Granted(Lease { id: LeaseId(lease), ttl: SECOND * ttl })
    }

    #[tokio::test]
    async fn leases_end_in_order() {
        let start = Instant::now();
        let mut deadlines = leading(&[(1, 5)], start);
        deadlines.note(&[grant(2, 1)], start + SECOND);
        assert_eq!(deadlines.next(), Some(start + SECOND * 2));
        assert_eq!(deadlines.take_due(start + SECOND * 5, 1), [LeaseId(2)]);
        assert_eq!(deadlines.take_due(start + SECOND * 5, 9), [LeaseId(1)]);
        assert_eq!(deadlines.take_due(start + SECOND * 5, 9), []);
        let ended = [1, 2].map(|lease| LeaseChange::Ended(LeaseId(lease)));
        deadlines.note(&ended, start);
        assert_eq!((deadlines.next(), deadlines.leases.len()), (None, 0));
    }

    #[tokio::test]
    async fn a_renewal_prolongs_and_comes_too_late_for_an_end() {
        let start = Instant::now();
        let (lease, ttl) = (LeaseId(1), SECOND * 5);
        let mut deadlines = leading(&[(1, 5)], start);
        let alive = |remaining| Told::Alive { granted: ttl, remaining };
        assert_eq!(deadlines.renew(FIRST, lease, start + SECOND), alive(ttl));
        assert_eq!(deadlines.tell(FIRST, lease, start + SECOND * 2), alive(SECOND * 4));
        // One that was under way longer than another shortens nothing.
        assert_eq!(deadlines.renew(FIRST, lease, start), alive(SECOND * 6));
        assert_eq!(deadlines.take_due(start + SECOND * 6, 9), [lease]);
        assert_eq!(deadlines.renew(FIRST, lease, start + SECOND * 6), Told::NotFound);
        deadlines.put_back(lease, start + SECOND * 7);
        assert_eq!(deadlines.renew(FIRST, lease, start + SECOND * 6), alive(ttl));
    }

    #[tokio::test]
    async fn a_new_leadership_counts_anew() {
        let start = Instant::now();
        let second = Fence { term: 2, member: 1 };
        let mut deadlines = leading(&[(1, 5), (2, 5)], start);
        deadlines.take_due(start + SECOND * 5, 9);
        deadlines.begin(second);
        // What changes while the leases are being read is newer than what is read.
        deadlines.note(&[LeaseChange::Ended(LeaseId(2)), grant(3, 5)], start + SECOND * 6);
        assert_eq!(deadlines.tell(second, LeaseId(1), start), Told::NotCounting);
        load(&mut deadlines, second, &[(1, 5), (2, 5), (3, 5)], start + SECOND * 7);
        assert_eq!(deadlines.tell(second, LeaseId(2), start), Told::NotFound);
        assert_eq!(deadlines.tell(FIRST, LeaseId(1), start), Told::NotCounting);
        assert_eq!(deadlines.take_due(start + SECOND * 11, 9), [LeaseId(3)]);
        assert_eq!(deadlines.take_due(start + SECOND * 12, 9), [LeaseId(1)]);
        deadlines.stop();
        assert_eq!(deadlines.next(), None);
    }
}
