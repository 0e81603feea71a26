//! The member's own pulse: whether it runs on time.
//!
//! A member that was held up sees its lease run out while the leader's heartbeats wait in its
//! sockets. So after a hold-up it looks at them first and campaigns only then; but a member that
//! is always late must campaign at last, or a slow cluster would never have a leader.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kontiki_base::CancellationToken;
use tokio::time::{Instant, sleep};

use crate::{metrics, store::Inner};

/// How often it is felt.
const BEAT: Duration = Duration::from_millis(50);
/// Leases that a member which is always late may hold back in a row.
const HELD_BACK_LEASES_MAX: u32 = 6;
/// What Raft's threads get before the API's, if the process may ask for it.
const NICE: i32 = -10;

/// Whether this member should hold back.
#[derive(Default)]
pub(crate) struct Pulse(AtomicBool);

impl Pulse {
    /// It was held up just now: its idea of the leader's silence may be wrong.
    pub(crate) fn is_unsure(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Decides from its lateness whether a member holds back. Pure.
#[derive(Debug)]
struct Patience {
    lease: Duration,
    since: Option<Instant>,
    until: Option<Instant>,
}

impl Patience {
    fn new(lease: Duration) -> Patience {
        Patience { lease, since: None, until: None }
    }

    /// Takes one beat that came `lag` too late; `true` holds back.
    fn beat(&mut self, lag: Duration, now: Instant) -> bool {
        if lag > self.lease / 3 {
            self.since.get_or_insert(now);
            self.until = Some(now + self.lease / 2);
        }
        let holds = self.until.is_some_and(|until| now < until);
        if !holds {
            self.since = None;
            return false;
        }
        self.since.is_some_and(|since| now < since + self.lease * HELD_BACK_LEASES_MAX)
    }
}

/// Feels the pulse until shutdown.
pub(crate) async fn run(inner: Arc<Inner>, lease: Duration, shutdown: CancellationToken) {
    let mut patience = Patience::new(lease);
    loop {
        let before = Instant::now();
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            () = sleep(BEAT) => {}
        }
        let now = Instant::now();
        let lag = now.duration_since(before).saturating_sub(BEAT);
        metrics::store().tick_lag_seconds.observe(lag.as_secs_f64());
        let leader = inner.leadership.borrow().leader;
        let follows = leader.is_some_and(|leader| leader != inner.identified.member);
        let unsure = patience.beat(lag, now) && follows;
        if inner.pulse.0.swap(unsure, Ordering::Relaxed) != unsure {
            inner.raft.runtime_config().elect(!unsure);
        }
    }
}

/// Lets the kernel run this thread before the process's others. Harmless where it may not.
pub(crate) fn prefer_this_thread() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICE) {
        tracing::debug!("raft's threads have no priority: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_member_holds_back_but_not_for_ever() {
        let lease = Duration::from_millis(300);
        let mut patience = Patience::new(lease);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let late = Duration::from_millis(120);
        assert!(!patience.beat(Duration::from_millis(20), at(0)), "a little late is fine");
        assert!(patience.beat(late, at(150)));
        assert!(patience.beat(Duration::ZERO, at(175)), "the heartbeats come first");
        assert!(!patience.beat(Duration::ZERO, at(301)), "then it is sure again");
        let mut held = 0;
        for beat in 0..100 {
            held += u32::from(patience.beat(late, at(1_000 + beat * 145)));
        }
        assert_eq!(held, 13, "six leases of 300 ms in beats of 145 ms");
    }
}
