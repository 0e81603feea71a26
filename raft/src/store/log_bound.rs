//! Keeping the log small in bytes, as openraft keeps it small in entries.
//!
//! Half of the bound may be behind the last flush of the state: that is what a restart replays. The
//! other half serves members that were away. A snapshot that is on its way to a member holds both up,
//! as it does when entries are counted.

use std::{sync::Arc, time::Duration};

use kontiki_base::CancellationToken;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::sleep;

use super::Inner;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is due.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Flush the state.
    flush: bool,
    /// Drop the log up to this entry.
    purge: Option<u64>,
}

/// `unflushed` bytes are behind the state's last flush, at entry `flushed`; up to entry `excess`
/// there is more than the log should hold.
fn plan(unflushed: u64, bytes_max: u64, excess: Option<u64>, flushed: Option<u64>) -> Plan {
    Plan {
        flush: unflushed > bytes_max / 2,
        purge: excess.zip(flushed).map(|(excess, flushed)| excess.min(flushed)),
    }
}

/// Looks after the log until told to stop.
pub(super) async fn run(inner: Arc<Inner>, bytes_max: u64, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
        let (flushed, purged) = {
            let metrics = inner.raft.metrics().borrow_watched().clone();
            (metrics.snapshot.map(|id| id.index), metrics.purged.map(|id| id.index))
        };
        let unflushed = inner.log.bytes_behind(flushed.unwrap_or(0));
        let due = plan(unflushed, bytes_max, inner.log.excess(bytes_max / 2), flushed);
        let trigger = inner.raft.trigger();
        if due.flush && trigger.snapshot().await.is_err() {
            return;
        }
        if let Some(index) = due.purge
            && Some(index) > purged
            && trigger.purge_log(index).await.is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_flushed_may_go_and_much_that_is_not_is_flushed() {
        let cases = [
            ("little", plan(10, 100, None, Some(5)), (false, None)),
            ("much unflushed", plan(60, 100, None, Some(5)), (true, None)),
            ("too much, all flushed", plan(10, 100, Some(7), Some(9)), (false, Some(7))),
            ("too much, part flushed", plan(60, 100, Some(7), Some(5)), (true, Some(5))),
            ("never flushed", plan(60, 100, Some(7), None), (true, None)),
        ];
        for (case, plan, (flush, purge)) in cases {
            assert_eq!(plan, Plan { flush, purge }, "{case}");
        }
    }
}
