//! Compaction by retention: history goes when it is old enough.
//!
//! Every member notes which revision it was at when, so that a new leader knows what its
//! predecessor knew; only the leader proposes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use kontiki_base::CancellationToken;
use tokio::time::{Instant, sleep};

use super::Inner;
use crate::{command::Command, error::Error, options::Retention, types::Revision};

/// How often it is looked at where only revisions count.
const REVISIONS_EVERY: Duration = Duration::from_secs(10);
/// Bounds of how often it is looked at where a period counts.
const EVERY_MIN: Duration = Duration::from_secs(1);
const EVERY_MAX: Duration = Duration::from_secs(300);

impl Retention {
    /// How often it is looked at; `None` if nothing is ever to go.
    fn every(&self) -> Option<Duration> {
        let by_period = self.period.map(|period| (period / 10).clamp(EVERY_MIN, EVERY_MAX));
        let by_revisions = self.revisions.map(|_| REVISIONS_EVERY);
        by_period.into_iter().chain(by_revisions).min()
    }
}

/// Which revision was the latest when.
#[derive(Default)]
struct Past(VecDeque<(Instant, Revision)>);

impl Past {
    /// Notes the present, and says which floor the retention allows by now.
    fn note(&mut self, retention: &Retention, now: Instant, current: Revision) -> Option<Revision> {
        self.0.push_back((now, current));
        let by_period = retention.period.map(|period| {
            let old = |(at, _): &(Instant, Revision)| now.duration_since(*at) >= period;
            // The last one that is old enough stays, for the next time.
            while self.0.get(1).is_some_and(old) {
                self.0.pop_front();
            }
            self.0.front().copied().filter(old).map_or(Revision(0), |(_, revision)| revision)
        });
        if retention.period.is_none() {
            self.0.clear();
        }
        let kept = |most: u64| Revision(current.0.saturating_sub(most));
        by_period.into_iter().chain(retention.revisions.map(kept)).min()
    }
}

/// Proposes floors while this member leads.
pub(super) async fn run(inner: Arc<Inner>, retention: Retention, shutdown: CancellationToken) {
    let Some(every) = retention.every() else { return };
    let mut past = Past::default();
    loop {
        let applied = inner.shared.applied();
        let allowed = past.note(&retention, Instant::now(), applied.revision);
        let leads = inner.leadership.borrow().fence.is_some();
        if let Some(revision) = allowed.filter(|allowed| leads && *allowed > applied.floor) {
            match inner.propose(Command::Compact { revision }).await {
                Ok(_) => tracing::debug!(%revision, "compacted"),
                Err(Error::ShutDown) => return,
                // The next turn tries again.
                Err(error) => tracing::debug!(%revision, "not compacted: {error}"),
            }
        }
        if shutdown.run_until_cancelled(sleep(every)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn check(revisions: Option<u64>, period: Option<u32>, seen: &[(u32, u64)], allowed: &[u64]) {
        let retention = Retention { revisions, period: period.map(|period| SECOND * period) };
        let start = Instant::now();
        let mut past = Past::default();
        let got: Vec<u64> = seen
            .iter()
            .map(|(at, current)| {
                past.note(&retention, start + SECOND * *at, Revision(*current)).unwrap().0
            })
            .collect();
        assert_eq!(got, allowed, "revisions {revisions:?} period {period:?}");
        assert!(past.0.len() <= seen.len());
    }

    #[tokio::test]
    async fn what_is_kept_is_what_both_bounds_keep() {
        let seen = [(0, 10), (10, 200), (20, 300), (30, 301), (31, 900)];
        check(Some(100), None, &seen, &[0, 100, 200, 201, 800]);
        check(None, Some(20), &seen, &[0, 0, 10, 200, 200]);
        check(Some(100), Some(20), &seen, &[0, 0, 10, 200, 200]);
        check(Some(250), Some(10), &seen, &[0, 0, 50, 51, 300]);
        check(None, Some(1), &seen, &[0, 10, 200, 300, 301]);
    }

    #[test]
    fn nothing_configured_is_never_looked_at() {
        assert_eq!(Retention::default().every(), None);
        let hourly = Retention { period: Some(SECOND * 3_600), revisions: None };
        assert_eq!(hourly.every(), Some(SECOND * 300));
        let both = Retention { period: Some(SECOND * 3_600), revisions: Some(9) };
        assert_eq!(both.every(), Some(SECOND * 10));
    }
}
