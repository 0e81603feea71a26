//! Ways round a link that is down: what cannot reach a member goes over one other member.
//!
//! ```text
//!   m1 ──✗── m2          m1 asks m3 to pass on what is for m2, and m2's answers come back the
//!     ╲      ╱           same way; what was passed on once is not passed on again, so nothing
//!      ── m3 ──          ever goes in a circle.
//! ```
//!
//! Each member decides for itself, by what became of its own calls. The direct way is tried again
//! all the while, and taken as soon as it is open. That what was asked may have been done although
//! no answer came is nothing new: proposals have an identity.

use std::{collections::HashMap, time::Duration};

use kontiki_base::CancellationToken;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::types::MemberId;

/// How long every call fails before another way is tried: longer than a fail-over takes, for a
/// leader that is gone cannot be reached over anybody.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the direct way is tried meanwhile.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The same until another way has led there: most likely the member is down, and will be back.
const PROBE_OFTEN: Duration = Duration::from_millis(100);
/// When nobody else reaches the member either, how long nobody else is asked.
const REST: Duration = Duration::from_secs(3);

/// The way to one member. Decides purely.
#[derive(Debug, Default)]
struct Route {
    /// Since when every call on the present way has failed.
    failing: Option<Instant>,
    over: Option<Detour>,
    /// Whom it was tried over in vain.
    tried: Vec<MemberId>,
    rests_until: Option<Instant>,
}

#[derive(Debug)]
struct Detour {
    by: MemberId,
    /// Cancelled when it is given up: streams that take it end.
    ended: CancellationToken,
    probed: Instant,
    /// The member was reached on it.
    proven: bool,
}

/// What a report changes, for people to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The member is reached over another.
    Over(MemberId),
    /// It is reached directly again.
    Direct,
}

impl Route {
    fn by(&self) -> Option<MemberId> {
        self.over.as_ref().map(|over| over.by)
    }

    fn failed(&mut self, by: Option<MemberId>, others: &[MemberId], now: Instant) {
        // What failed on a way that is not taken any more says nothing about this one.
        if by != self.by() || self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        let since = *self.failing.get_or_insert(now);
        if now < since + PATIENCE {
            return;
        }
        self.leave();
        self.tried.extend(by);
        let Some(next) = others.iter().find(|other| !self.tried.contains(other)) else {
            self.tried.clear();
            self.rests_until = Some(now + REST);
            return;
        };
        let ended = CancellationToken::new();
        self.over = Some(Detour { by: *next, ended, probed: now, proven: false });
    }

    fn succeeded(&mut self, by: Option<MemberId>) -> Option<Turn> {
        if by.is_none() {
            let detour = self.leave();
            *self = Route::default();
            return detour.is_some_and(|detour| detour.proven).then_some(Turn::Direct);
        }
        let over = self.over.as_mut().filter(|over| by == Some(over.by))?;
        let news = !std::mem::replace(&mut over.proven, true);
        let turn = news.then_some(Turn::Over(over.by));
        self.failing = None;
        self.tried.clear();
        turn
    }

    fn leave(&mut self) -> Option<Detour> {
        self.failing = None;
        self.over.take().inspect(|over| over.ended.cancel())
    }

    /// Whether the direct way should be tried now, beside the one that is taken.
    fn probes(&mut self, now: Instant) -> bool {
        let Some(over) = &mut self.over else { return false };
        let every = if over.proven { PROBE_EVERY } else { PROBE_OFTEN };
        let due = now >= over.probed + every;
        if due {
            over.probed = now;
        }
        due
    }
}

/// The ways to all members.
#[derive(Default)]
pub(super) struct Routes {
    routes: Mutex<HashMap<MemberId, Route>>,
    /// Who else there is.
    others: Mutex<Vec<MemberId>>,
}

/// The way that a call takes now: the direct one, unless there is something to say.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) by: Option<MemberId>,
    /// Cancelled when another way is taken.
    pub(super) ended: Option<CancellationToken>,
    /// The direct way should be tried, too.
    pub(super) probe: bool,
}

impl Routes {
    /// Learns who could pass something on.
    pub(super) fn know(&self, others: Vec<MemberId>) {
        *self.others.lock() = others;
    }

    pub(super) fn take(&self, to: MemberId) -> Taken {
        let mut routes = self.routes.lock();
        let Some(route) = routes.get_mut(&to) else { return Taken::default() };
        let probe = route.probes(Instant::now());
        let Some(over) = &route.over else { return Taken::default() };
        Taken { by: Some(over.by), ended: Some(over.ended.clone()), probe }
    }

    /// Takes note of what became of a call.
    pub(super) fn report(&self, to: MemberId, by: Option<MemberId>, reached: bool) {
        let turn = {
            let mut routes = self.routes.lock();
            if reached {
                routes.get_mut(&to).and_then(|route| route.succeeded(by))
            } else {
                let others = self.others.lock();
                let others: Vec<MemberId> = others.iter().copied().filter(|m| *m != to).collect();
                routes.entry(to).or_default().failed(by, &others, Instant::now());
                None
            }
        };
        match turn {
            Some(Turn::Over(by)) => {
                tracing::info!(member = %to, %by, "the member is asked by way of another");
            }
            Some(Turn::Direct) => tracing::info!(member = %to, "the member is reached directly"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MemberId = MemberId(1);
    const B: MemberId = MemberId(2);

    fn after(millis: u64, start: Instant) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[tokio::test]
    async fn a_link_that_stays_down_is_walked_round_until_it_is_up() {
        let start = Instant::now();
        let mut route = Route::default();
        route.failed(None, &[A, B], start);
        route.failed(None, &[A, B], after(499, start));
        assert_eq!(route.by(), None, "a fail-over");
        route.failed(None, &[A, B], after(500, start));
        assert_eq!(route.by(), Some(A));
        let ended = route.over.as_ref().unwrap().ended.clone();
        assert!(!route.probes(after(599, start)));
        assert!(route.probes(after(600, start)), "it may be back at any time");
        assert_eq!(route.succeeded(Some(A)), Some(Turn::Over(A)));
        assert_eq!(route.succeeded(Some(A)), None, "that is known");
        assert!(!route.probes(after(1_599, start)));
        assert!(route.probes(after(1_600, start)));
        // Late word of the direct way changes nothing.
        route.failed(None, &[A, B], after(2_000, start));
        assert!(!ended.is_cancelled());
        assert_eq!(route.succeeded(None), Some(Turn::Direct));
        assert!(ended.is_cancelled());
        assert_eq!(route.by(), None);
    }

    #[tokio::test]
    async fn who_reaches_the_member_no_better_is_not_asked_for_a_while() {
        let start = Instant::now();
        let mut route = Route::default();
        let mut ways = vec![(0, None)];
        for millis in (0..6_000).step_by(100) {
            let by = route.by();
            route.failed(by, &[A, B], after(millis, start));
            if route.by() != by {
                ways.push((millis, route.by()));
            }
        }
        let expected = [
            (0, None),
            (500, Some(A)),
            (1_100, Some(B)),
            (1_700, None),
            (5_200, Some(A)),
            (5_800, Some(B)),
        ];
        assert_eq!(ways, expected);
        assert_eq!(route.succeeded(None), None, "nobody was told that it was away");
        let mut alone = Route::default();
        alone.failed(None, &[], start);
        alone.failed(None, &[], after(900, start));
        assert_eq!(alone.by(), None);
    }

    #[tokio::test]
    async fn one_good_answer_starts_the_patience_anew() {
        let start = Instant::now();
        let mut route = Route::default();
        route.failed(None, &[A], start);
        route.succeeded(None);
        route.failed(None, &[A], after(700, start));
        assert_eq!(route.by(), None);
    }
}
