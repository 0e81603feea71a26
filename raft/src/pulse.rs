//! The member's own pulse: whether it runs on time.
//!
//! A member that was held up sees its lease run out while the leader's heartbeats wait in its
//! sockets. So after a hold-up it looks at them first and campaigns only then; but a member that
//! is always late must campaign at last, or a slow cluster would never have a leader.
//!
//! Where hold-ups do not end, election time-outs widen. Openraft's are fixed when it starts, so
//! they are widened from outside: a follower keeps elections off until the leader has been silent
//! for as many leases as the member, or its leader, is late. A connection that breaks is no
//! silence: who lost its leader that way campaigns as early as ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use kontiki_base::CancellationToken;
use tokio::time::{Instant, sleep};

use crate::{metrics, options::Timing, store::Inner};

/// How often it is felt.
const BEAT: Duration = Duration::from_millis(50);
/// Leases that a member which is always late may hold back in a row.
const HELD_BACK_LEASES_MAX: u32 = 6;
/// What Raft's threads get before the API's, if the process may ask for it.
const NICE: i32 = -10;
/// Election time-outs widen to so many times what was asked for.
const STRETCH_MAX: u32 = 4;
/// How often they may widen, and how long it must be calm before they narrow.
const WIDEN_EVERY: Duration = Duration::from_secs(1);
const NARROW_AFTER: Duration = Duration::from_secs(10);

/// What is felt, for others to see.
pub(crate) struct Pulse {
    unsure: AtomicBool,
    stretch: AtomicU32,
    born: Instant,
    /// When a leader was last heard, in milliseconds since then.
    heard: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse {
            unsure: AtomicBool::new(false),
            stretch: AtomicU32::new(1),
            born: Instant::now(),
            heard: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// It was held up just now: its idea of the leader's silence may be wrong.
    pub(crate) fn is_unsure(&self) -> bool {
        self.unsure.load(Ordering::Relaxed)
    }

    /// By how much its own lateness widens election time-outs.
    pub(crate) fn stretch(&self) -> u32 {
        self.stretch.load(Ordering::Relaxed)
    }

    /// A leader has been heard.
    pub(crate) fn heard(&self) {
        let millis = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(millis, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(heard)
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

/// Decides from its lateness by how much election time-outs are widened. Pure.
#[derive(Debug)]
struct Stretch {
    lease: Duration,
    factor: u32,
    /// When it was last late.
    late: Option<Instant>,
    /// When the factor last changed.
    changed: Option<Instant>,
}

impl Stretch {
    fn new(lease: Duration) -> Stretch {
        Stretch { lease, factor: 1, late: None, changed: None }
    }

    /// Takes one beat: how late it was, and whether the log's disk is late again and again.
    fn beat(&mut self, lag: Duration, slow_disk: bool, now: Instant) -> u32 {
        let rested = |span: Duration, since: Option<Instant>| {
            since.is_none_or(|since| now.saturating_duration_since(since) >= span)
        };
        if lag > self.lease / 2 || slow_disk {
            self.late = Some(now);
            if self.factor < STRETCH_MAX && rested(WIDEN_EVERY, self.changed) {
                self.factor *= 2;
                self.changed = Some(now);
            }
        } else if self.factor > 1
            && rested(NARROW_AFTER, self.late)
            && rested(NARROW_AFTER, self.changed)
        {
            self.factor /= 2;
            self.changed = Some(now);
        }
        self.factor
    }
}

/// Feels the pulse until shutdown.
pub(crate) async fn run(inner: Arc<Inner>, timing: Timing, shutdown: CancellationToken) {
    let lease = timing.election_max;
    let (mut patience, mut stretch) = (Patience::new(lease), Stretch::new(lease));
    let mut elects = true;
    let mut told = 1;
    loop {
        let before = Instant::now();
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            () = sleep(BEAT) => {}
        }
        let now = Instant::now();
        let lag = now.duration_since(before).saturating_sub(BEAT);
        metrics::store().tick_lag_seconds.observe(lag.as_secs_f64());
        let own = stretch.beat(lag, inner.health.has_slow_disk(), now);
        inner.pulse.stretch.store(own, Ordering::Relaxed);
        let factor = own.max(inner.health.leaders_stretch());
        tell(&mut told, factor, lag, &timing);
        let leader = inner.leadership.borrow().leader;
        let follows = leader.is_some_and(|leader| leader != inner.identified.member);
        let unsure = patience.beat(lag, now) && follows;
        inner.pulse.unsure.store(unsure, Ordering::Relaxed);
        let waits = factor > 1 && follows && inner.pulse.silence() < lease * factor;
        // A member that does not believe its own state does not want to lead.
        let may_elect = !unsure && !waits && inner.health.corrupt().is_none();
        if may_elect != elects {
            inner.raft.runtime_config().elect(may_elect);
            elects = may_elect;
        }
    }
}

/// Says once what has changed.
fn tell(told: &mut u32, factor: u32, lag: Duration, timing: &Timing) {
    let timeout = timing.election_max * factor + timing.election_min;
    metrics::health().election_timeout_seconds.set(timeout.as_secs_f64());
    if factor > *told {
        tracing::info!(
            ?timeout,
            ?lag,
            "election time-outs widen: this member or its leader is late"
        );
    } else if factor < *told {
        tracing::info!(?timeout, "election time-outs narrow again");
    }
    *told = factor;
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

    const LEASE: Duration = Duration::from_millis(300);
    const LATE: Duration = Duration::from_millis(160);

    #[tokio::test]
    async fn a_late_member_holds_back_but_not_for_ever() {
        let mut patience = Patience::new(LEASE);
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

    #[tokio::test]
    async fn election_timeouts_widen_while_it_is_late_and_narrow_when_it_is_calm() {
        let mut stretch = Stretch::new(LEASE);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let seen = [
            stretch.beat(LEASE / 3, false, at(0)),
            stretch.beat(LATE, false, at(50)),
            stretch.beat(LATE, false, at(100)),
            stretch.beat(LATE, false, at(1_050)),
            stretch.beat(LATE, true, at(9_000)),
            stretch.beat(Duration::ZERO, true, at(10_000)),
            stretch.beat(Duration::ZERO, false, at(19_900)),
            stretch.beat(Duration::ZERO, false, at(20_000)),
            stretch.beat(Duration::ZERO, false, at(25_000)),
            stretch.beat(Duration::ZERO, false, at(30_000)),
            stretch.beat(Duration::ZERO, false, at(99_000)),
        ];
        assert_eq!(seen, [1, 2, 2, 4, 4, 4, 4, 2, 2, 1, 1]);
    }
}
