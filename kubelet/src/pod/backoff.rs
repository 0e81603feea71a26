//! CrashLoopBackOff: how long a container that ended waits before it starts again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The first delay.
pub const FIRST: Duration = Duration::from_secs(10);
/// The longest delay.
pub const LIMIT: Duration = Duration::from_secs(300);
/// A container that ran for so long after its last start begins anew.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_secs(600);

/// The back-off of one container. The first restart is immediate; each further one waits twice as
/// long, counted from the end of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashBackoff {
    /// The delay before the next start.
    pub delay: Duration,
    /// When it was started last.
    pub started_at: Timestamp,
}

impl CrashBackoff {
    /// Until when a container that ended at `finished_at` has to wait.
    pub fn waits_until(&self, finished_at: Timestamp) -> Timestamp {
        if finished_at.duration_since(self.started_at) > FORGOTTEN_AFTER {
            return finished_at;
        }
        finished_at.checked_add(self.delay).unwrap_or(Timestamp::MAX)
    }

    /// The back-off after one more start.
    pub fn after_start(
        before: Option<CrashBackoff>,
        finished_at: Timestamp,
        now: Timestamp,
    ) -> CrashBackoff {
        let delay = match before {
            Some(before) if finished_at.duration_since(before.started_at) <= FORGOTTEN_AFTER => {
                (before.delay * 2).min(LIMIT)
            }
            _ => FIRST,
        };
        CrashBackoff { delay, started_at: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_container_that_ends_at_once_waits_10_20_40_up_to_300_seconds() {
        let (mut now, mut backoff, mut waits) = (1000, None::<CrashBackoff>, Vec::new());
        for _ in 0..8 {
            let finished = at(now);
            let until = backoff.map_or(finished, |b| b.waits_until(finished));
            waits.push(until.as_second() - now);
            now = until.as_second();
            backoff = Some(CrashBackoff::after_start(backoff, finished, at(now)));
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_quiet_minutes_forgive() {
        let backoff = CrashBackoff { delay: LIMIT, started_at: at(1000) };
        assert_eq!(backoff.waits_until(at(1601)), at(1601));
        assert_eq!(CrashBackoff::after_start(Some(backoff), at(1601), at(1601)).delay, FIRST);
        assert_eq!(backoff.waits_until(at(1600)), at(1900));
    }
}
