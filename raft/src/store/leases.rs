//! Granting, renewing and ending leases: the leader counts, the log decides.
//!
//! A renewal counts only once its leader has made sure that it still leads, and an end is
//! proposed under the leadership that counted: a successor, which began to count anew, refuses it.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use kontiki_base::{CancellationToken, Fence};
use openraft::ReadPolicy;
use tokio::time::{Instant, sleep_until};

use super::{Attempt, Inner, Store, unexpected};
use crate::{
    command::{Command, Reply},
    environment::blocking,
    error::{Error, Refusal},
    lessor::Told,
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

/// Ends leases while this member leads; fails when it cannot read which there are.
pub(super) async fn run(inner: Arc<Inner>, shutdown: CancellationToken) -> Result<(), Error> {
    let lessor = inner.shared.lessor();
    let mut leadership = inner.leadership.subscribe();
    let mut counting = None;
    loop {
        let fence = leadership.borrow_and_update().fence;
        if counting != fence {
            counting = fence;
            match fence {
                None => lessor.with(crate::lessor::Deadlines::stop),
                Some(fence) => match inner.count(fence).await {
                    Err(_) if shutdown.is_cancelled() => return Ok(()),
                    counting => counting?,
                },
            }
        }
        if let Some(fence) = fence {
            // Without a quorum an end waits for its deadline; a member that stops does not.
            tokio::select! { biased;
                () = shutdown.cancelled() => return Ok(()),
                () = inner.end_due(fence) => {}
            }
        }
        let next = lessor.with(|deadlines| deadlines.next());
        let due = async {
            match next {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { biased;
            () = shutdown.cancelled() => return Ok(()),
            changed = leadership.changed() => if changed.is_err() { return Ok(()) },
            () = lessor.earlier() => {}
            () = due => {}
        }
    }
}

impl Inner {
    /// Begins to count under a new leadership.
    async fn count(&self, fence: Fence) -> Result<(), Error> {
        self.shared.lessor().with(|deadlines| deadlines.begin(fence));
        let leases = self.stored_leases().await?;
        let now = Instant::now();
        self.shared.lessor().with(|deadlines| deadlines.load(fence, &leases, now));
        Ok(())
    }

    async fn stored_leases(&self) -> Result<Vec<(LeaseId, Duration)>, Error> {
        let shared = self.shared.clone();
        let read = move || lease::all(&shared.db().read());
        let all = blocking(read).await.map_err(|_| Error::ShutDown)??;
        Ok(all.into_iter().map(|(lease, record)| (lease, record.ttl)).collect())
    }

    async fn end_due(&self, fence: Fence) {
        let lessor = self.shared.lessor();
        loop {
            let due = lessor.with(|d| d.take_due(Instant::now(), ENDING_AT_ONCE_MAX));
            if due.is_empty() {
                return;
            }
            let ended = join_all(due.iter().map(|lease| self.end_lease(*lease, Some(fence)))).await;
            for (lease, ended) in due.into_iter().zip(ended) {
                if let Err(error) = ended {
                    // Another leader counts by now, or there is no quorum.
                    tracing::info!(?lease, "a lease has not ended yet: {error}");
                    lessor.with(|d| d.put_back(lease, Instant::now() + RETRY_AFTER));
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
        // Whoever leads after this check begins to count after `now`.
        let now = Instant::now();
        if let Err(error) = self.raft.get_read_linearizer(ReadPolicy::LeaseRead).await {
            return Attempt::Again(error.to_string());
        }
        let told = self.shared.lessor().with(|deadlines| match query {
            LeaseQuery::KeepAlive(lease) => deadlines.renew(fence, lease, now),
            LeaseQuery::TimeToLive { lease, .. } => deadlines.tell(fence, lease, now),
        });
        match told {
            Told::NotCounting => {
                Attempt::Again("a new leader has not begun to count yet".to_owned())
            }
            Told::NotFound => Attempt::Done(None),
            Told::Alive { granted, remaining } => match self.attached_keys(query).await {
                Ok(keys) => Attempt::Done(Some(LeaseStatus { granted, remaining, keys })),
                Err(Error::ShutDown) => Attempt::Stopped,
                Err(error) => Attempt::Refused(format!("cannot read a lease's keys: {error}")),
            },
        }
    }

    /// The keys on a lease, if they are asked for.
    async fn attached_keys(&self, query: LeaseQuery) -> Result<Vec<bytes::Bytes>, Error> {
        let LeaseQuery::TimeToLive { lease, keys: true } = query else { return Ok(Vec::new()) };
        let shared = self.shared.clone();
        let read = move || lease::attached(&shared.db().read(), lease, usize::MAX);
        let (keys, _) = blocking(read).await.map_err(|_| Error::ShutDown)??;
        Ok(keys)
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
