//! Ending and renewing leases: the leader counts, the log decides.
//!
//! A new leader gives every lease its full time again, as etcd does without checkpoints: a lease
//! may live longer than asked, never shorter. For the same reason a renewal counts only once its
//! leader has made sure that it still leads, and an end is proposed under the leadership that
//! counted: its successor refuses it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kontiki_base::{CancellationToken, Fence};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::{Attempt, Inner, Store, unexpected};
use crate::{
    command::{Command, Reply},
    environment::blocking,
    error::{Error, Refusal},
    mvcc::lease,
    peer::LeaseQuery,
    types::{Lease, LeaseGrant, LeaseId, LeaseStatus},
};

/// Keys that one command deletes: a few milliseconds of applying.
const KEYS_PER_COMMAND_MAX: u32 = 500;
/// How long a question about a lease is asked.
const QUERY_MAX: Duration = Duration::from_secs(5);
/// Leases that end at the same time are ended by so many proposals at once.
const ENDING_AT_ONCE_MAX: usize = 64;
/// Between attempts to end a lease that failed although this member still leads.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What the leader counts.
#[derive(Default)]
pub(crate) struct Lessor(Mutex<Deadlines>);

/// When each lease ends, by this leader's clock.
#[derive(Debug, Default)]
struct Deadlines {
    /// The leadership under which it is counted; `None` counts nothing.
    under: Option<Fence>,
    ends: BTreeMap<LeaseId, Instant>,
    /// Being ended: too late to renew.
    ending: BTreeSet<LeaseId>,
}

impl Deadlines {
    /// Takes over which leases exist: under the same leadership, known ones keep their deadline.
    fn update(&mut self, under: Fence, leases: &[(LeaseId, Duration)], now: Instant) {
        if self.under != Some(under) {
            *self = Deadlines { under: Some(under), ..Deadlines::default() };
        }
        let known = std::mem::take(&mut self.ends);
        for (lease, ttl) in leases {
            let deadline = known.get(lease).copied().unwrap_or(now + *ttl);
            self.ends.insert(*lease, deadline);
        }
        self.ending.retain(|lease| self.ends.contains_key(lease));
    }

    /// Lets a lease live until `ttl` after `now`; `false` if it is ending.
    fn renew(&mut self, lease: LeaseId, ttl: Duration, now: Instant) -> bool {
        if self.ending.contains(&lease) {
            return false;
        }
        let end = self.ends.entry(lease).or_insert(now + ttl);
        *end = (*end).max(now + ttl);
        true
    }

    fn remaining(&self, lease: LeaseId, ttl: Duration, now: Instant) -> Duration {
        let end = self.ends.get(&lease).copied();
        end.map_or(ttl, |end| end.saturating_duration_since(now))
    }

    /// Those whose time is over, at most so many; they cannot be renewed any more.
    fn take_due(&mut self, now: Instant, most: usize) -> Vec<LeaseId> {
        let due =
            self.ends.iter().filter(|(lease, end)| **end <= now && !self.ending.contains(lease));
        let due: Vec<LeaseId> = due.map(|(lease, _)| *lease).take(most).collect();
        self.ending.extend(&due);
        due
    }

    /// A lease that could not be ended is tried again.
    fn put_back(&mut self, lease: LeaseId, until: Instant) {
        self.ending.remove(&lease);
        if let Some(end) = self.ends.get_mut(&lease) {
            *end = until;
        }
    }

    fn next(&self) -> Option<Instant> {
        let counting = self.ends.iter().filter(|(lease, _)| !self.ending.contains(lease));
        counting.map(|(_, end)| *end).min()
    }
}

/// Ends leases while this member leads.
pub(super) async fn run(inner: Arc<Inner>, shutdown: CancellationToken) {
    let mut leadership = inner.leadership.subscribe();
    let mut applied = inner.shared.watch_applied();
    let mut seen: Option<(Fence, u64)> = None;
    loop {
        let fence = leadership.borrow_and_update().fence;
        let generation = applied.borrow_and_update().lease_generation;
        match fence {
            None => {
                *inner.lessor.0.lock() = Deadlines::default();
                seen = None;
            }
            Some(fence) if seen != Some((fence, generation)) => match inner.stored_leases().await {
                Ok(leases) => {
                    inner.lessor.0.lock().update(fence, &leases, Instant::now());
                    seen = Some((fence, generation));
                }
                Err(error) => tracing::error!("cannot read the leases: {error}"),
            },
            Some(_) => {}
        }
        if let Some(fence) = fence {
            // Without a quorum an end waits for its deadline; a member that stops does not.
            tokio::select! { biased;
                () = shutdown.cancelled() => return,
                () = inner.end_due(fence) => {}
            }
        }
        let lease_changed = async {
            loop {
                if applied.changed().await.is_err() {
                    return;
                }
                if applied.borrow_and_update().lease_generation != generation {
                    return;
                }
            }
        };
        let next = inner.lessor.0.lock().next();
        let due = async {
            match next {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            _ = leadership.changed() => {}
            () = lease_changed, if fence.is_some() => {}
            () = due => {}
        }
    }
}

impl Inner {
    async fn stored_leases(&self) -> Result<Vec<(LeaseId, Duration)>, Error> {
        let shared = self.shared.clone();
        let read = move || lease::all(&shared.db().read());
        let all = blocking(read).await.map_err(|_| Error::ShutDown)??;
        Ok(all.into_iter().map(|(lease, record)| (lease, record.ttl)).collect())
    }

    async fn end_due(&self, fence: Fence) {
        loop {
            let due = self.lessor.0.lock().take_due(Instant::now(), ENDING_AT_ONCE_MAX);
            if due.is_empty() {
                return;
            }
            let ended = due.iter().map(|lease| self.end_lease(*lease, Some(fence)));
            let ended = futures::future::join_all(ended).await;
            for (lease, ended) in due.into_iter().zip(ended) {
                if let Err(error) = ended {
                    // Another leader counts by now, or there is no quorum.
                    tracing::info!(?lease, "a lease has not ended yet: {error}");
                    self.lessor.0.lock().put_back(lease, Instant::now() + RETRY_AFTER);
                }
            }
        }
    }

    /// Ends a lease, step by step.
    async fn end_lease(&self, lease: LeaseId, fence: Option<Fence>) -> Result<(), Error> {
        let mut begun = fence.is_some();
        loop {
            let command = Command::LeaseEnd { lease, keys_max: KEYS_PER_COMMAND_MAX, fence };
            match self.propose(command).await {
                Ok(Reply::LeaseEnded { complete: true }) => return Ok(()),
                Ok(Reply::LeaseEnded { complete: false }) => begun = true,
                // Somebody else finished it.
                Err(Error::Refused(Refusal::LeaseNotFound { .. })) if begun => return Ok(()),
                Ok(other) => return Err(unexpected(&other)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Has the leader say something about a lease.
    async fn ask_about_lease(&self, query: LeaseQuery) -> Result<LeaseStatus, Error> {
        let asked = self.ask_leader(QUERY_MAX, |leader| async move {
            if leader == self.identified.member {
                self.lease_here(query).await
            } else {
                self.peers.lease(leader, query).await
            }
        });
        let (LeaseQuery::KeepAlive(lease) | LeaseQuery::TimeToLive { lease, .. }) = query;
        asked.await?.ok_or(Error::Refused(Refusal::LeaseNotFound { lease }))
    }

    /// Answers on this member, which should be leading; `None` is that there is no such lease.
    pub(crate) async fn lease_here(&self, query: LeaseQuery) -> Attempt<Option<LeaseStatus>> {
        let Some(fence) = self.leadership.borrow().fence else {
            return Attempt::Again(format!("{} does not lead", self.identified.member));
        };
        let now = Instant::now();
        // Whoever leads after this check begins to count after `now`.
        match self.read_index_here().await {
            Attempt::Done(_) => {}
            Attempt::Again(reason) => return Attempt::Again(reason),
            Attempt::Refused(reason) => return Attempt::Refused(reason),
            Attempt::Stopped => return Attempt::Stopped,
        }
        let shared = self.shared.clone();
        let read = move || {
            let (db, keys) =
                (shared.db(), matches!(query, LeaseQuery::TimeToLive { keys: true, .. }));
            let (LeaseQuery::KeepAlive(lease) | LeaseQuery::TimeToLive { lease, .. }) = query;
            let view = db.read();
            let Some(record) = lease::find(&view, lease)? else { return Ok(None) };
            let keys = if keys { lease::attached(&view, lease, usize::MAX)?.0 } else { Vec::new() };
            Ok::<_, std::io::Error>(Some((lease, record.ttl, keys)))
        };
        let (lease, granted, keys) = match blocking(read).await {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => return Attempt::Done(None),
            Ok(Err(error)) => return Attempt::Refused(format!("cannot read a lease: {error}")),
            Err(_) => return Attempt::Stopped,
        };
        let mut deadlines = self.lessor.0.lock();
        if deadlines.under != Some(fence) {
            return Attempt::Again("a new leader has not begun to count yet".to_owned());
        }
        let remaining = match query {
            LeaseQuery::KeepAlive(_) if deadlines.renew(lease, granted, now) => granted,
            LeaseQuery::KeepAlive(_) => return Attempt::Done(None),
            LeaseQuery::TimeToLive { .. } => deadlines.remaining(lease, granted, now),
        };
        Attempt::Done(Some(LeaseStatus { granted, remaining, keys }))
    }
}

impl Store {
    /// Creates a lease: keys attached to it are deleted when it ends.
    pub async fn lease_grant(&self, grant: LeaseGrant) -> Result<Lease, Error> {
        match self.0.propose(Command::LeaseGrant(grant)).await? {
            Reply::Lease(lease) => Ok(lease),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a lease and deletes its keys.
    pub async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.0.end_lease(lease, None).await
    }

    /// Lets a lease live for its full time again, which is returned.
    pub async fn lease_keep_alive(&self, lease: LeaseId) -> Result<Duration, Error> {
        let status = self.0.ask_about_lease(LeaseQuery::KeepAlive(lease)).await?;
        Ok(status.granted)
    }

    /// How long a lease still lives, and if asked for, which keys hang on it.
    pub async fn lease_time_to_live(
        &self,
        lease: LeaseId,
        keys: bool,
    ) -> Result<LeaseStatus, Error> {
        self.0.ask_about_lease(LeaseQuery::TimeToLive { lease, keys }).await
    }

    /// All leases.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, Error> {
        self.read_index().await?;
        let leases = self.0.stored_leases().await?;
        Ok(leases.into_iter().map(|(lease, _)| lease).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn leading(leases: &[(i64, u32)], now: Instant) -> Deadlines {
        let mut deadlines = Deadlines::default();
        exist(&mut deadlines, 1, leases, now);
        deadlines
    }

    fn exist(deadlines: &mut Deadlines, term: u64, leases: &[(i64, u32)], now: Instant) {
        let leases: Vec<_> =
            leases.iter().map(|(lease, ttl)| (LeaseId(*lease), SECOND * *ttl)).collect();
        deadlines.update(Fence { term, member: 1 }, &leases, now);
    }

    #[tokio::test]
    async fn a_known_lease_keeps_its_deadline() {
        let start = Instant::now();
        let mut deadlines = leading(&[(1, 5)], start);
        exist(&mut deadlines, 1, &[(1, 5), (2, 1)], start + SECOND);
        assert_eq!(deadlines.next(), Some(start + SECOND * 2));
        assert_eq!(deadlines.take_due(start + SECOND * 5, 1), [LeaseId(1)]);
        assert_eq!(deadlines.take_due(start + SECOND * 5, 9), [LeaseId(2)]);
        exist(&mut deadlines, 1, &[], start);
        assert_eq!((deadlines.next(), deadlines.ending.len()), (None, 0));
    }

    #[tokio::test]
    async fn a_renewal_prolongs_and_comes_too_late_for_an_end() {
        let start = Instant::now();
        let mut deadlines = leading(&[(1, 5)], start);
        assert!(deadlines.renew(LeaseId(1), SECOND * 5, start + SECOND));
        assert_eq!(deadlines.remaining(LeaseId(1), SECOND * 5, start + SECOND * 2), SECOND * 4);
        // One that was under way longer than another shortens nothing.
        assert!(deadlines.renew(LeaseId(1), SECOND * 5, start));
        assert_eq!(deadlines.next(), Some(start + SECOND * 6));
        assert_eq!(deadlines.take_due(start + SECOND * 6, 9), [LeaseId(1)]);
        assert!(!deadlines.renew(LeaseId(1), SECOND * 5, start + SECOND * 6));
        deadlines.put_back(LeaseId(1), start + SECOND * 7);
        assert!(deadlines.renew(LeaseId(1), SECOND * 5, start + SECOND * 6));
    }

    #[tokio::test]
    async fn a_new_leadership_counts_anew() {
        let start = Instant::now();
        let mut deadlines = leading(&[(1, 5)], start);
        deadlines.take_due(start + SECOND * 5, 9);
        exist(&mut deadlines, 2, &[(1, 5)], start + SECOND * 6);
        assert_eq!(deadlines.next(), Some(start + SECOND * 11));
    }
}
