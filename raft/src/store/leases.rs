//! Ending leases: the leader counts, the log decides.
//!
//! A new leader gives every lease its full time again, as etcd does without checkpoints: a lease
//! may live longer than asked, never shorter.

use std::{collections::BTreeMap, sync::Arc};

use kontiki_base::CancellationToken;
use tokio::time::{Instant, sleep_until};

use super::Inner;
use crate::{
    command::{Command, Reply},
    environment::blocking,
    error::{Error, Refusal},
    mvcc::lease,
    types::LeaseId,
};

/// Keys that one command deletes: a few milliseconds of applying.
const KEYS_PER_COMMAND_MAX: u32 = 500;

/// When each lease ends, by this leader's clock.
#[derive(Default)]
struct Deadlines(BTreeMap<LeaseId, Instant>);

impl Deadlines {
    /// Takes over which leases exist: known ones keep their deadline.
    fn update(&mut self, leases: &[(LeaseId, std::time::Duration)], now: Instant) {
        let known = std::mem::take(&mut self.0);
        for (lease, ttl) in leases {
            let deadline = known.get(lease).copied().unwrap_or(now + *ttl);
            self.0.insert(*lease, deadline);
        }
    }

    fn due(&self, now: Instant) -> Vec<LeaseId> {
        self.0.iter().filter(|(_, deadline)| **deadline <= now).map(|(lease, _)| *lease).collect()
    }

    fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }
}

/// Ends leases while this member leads.
pub(super) async fn run(inner: Arc<Inner>, shutdown: CancellationToken) {
    let mut leadership = inner.leadership.subscribe();
    let mut applied = inner.shared.watch_applied();
    let mut deadlines = Deadlines::default();
    let mut seen_generation = None;
    loop {
        let leads = leadership.borrow_and_update().fence.is_some();
        let generation = applied.borrow_and_update().lease_generation;
        if !leads {
            (deadlines, seen_generation) = (Deadlines::default(), None);
        } else if seen_generation != Some(generation) {
            match inner.leases().await {
                Ok(leases) => {
                    deadlines.update(&leases, Instant::now());
                    seen_generation = Some(generation);
                }
                Err(error) => tracing::error!("cannot read the leases: {error}"),
            }
        }
        for lease in deadlines.due(Instant::now()) {
            // Without a quorum an end waits for its deadline; a member that stops does not.
            let ended = tokio::select! { biased;
                () = shutdown.cancelled() => return,
                ended = inner.end_lease(lease) => ended,
            };
            if ended {
                deadlines.0.remove(&lease);
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
        let due = async {
            match deadlines.next() {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            _ = leadership.changed() => {}
            () = lease_changed, if leads => {}
            () = due => {}
        }
    }
}

impl Inner {
    async fn leases(&self) -> Result<Vec<(LeaseId, std::time::Duration)>, Error> {
        let shared = self.shared.clone();
        let read = move || lease::all(&shared.db().read());
        Ok(blocking(read).await.map_err(|_| Error::ShutDown)??)
    }

    /// `true` when the lease is gone.
    async fn end_lease(&self, lease: LeaseId) -> bool {
        loop {
            let command = Command::LeaseEnd { lease, keys_max: KEYS_PER_COMMAND_MAX };
            match self.propose(command).await {
                Ok(Reply::LeaseEnded { complete: true })
                | Err(Error::Refused(Refusal::LeaseNotFound { .. })) => return true,
                Ok(_) => {}
                // Tried again when leadership or the leases change, or at the next deadline.
                Err(error) => {
                    tracing::info!(?lease, "a lease has not ended yet: {error}");
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_known_lease_keeps_its_deadline() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut deadlines = Deadlines::default();
        deadlines.update(&[(LeaseId(1), second * 5)], start);
        deadlines.update(&[(LeaseId(1), second * 5), (LeaseId(2), second)], start + second);
        assert_eq!(deadlines.next(), Some(start + second * 2));
        assert_eq!(deadlines.due(start + second * 5), [LeaseId(1), LeaseId(2)]);
        deadlines.update(&[], start);
        assert_eq!(deadlines.next(), None);
    }
}
