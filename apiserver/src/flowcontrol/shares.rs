//! How the server's seats are divided among priority levels, and what levels that need little lend
//! to those that need more.
//!
//! As upstream: every level has its nominal part by its shares; it lends at most a percentage of
//! it and never what it has itself been asked for lately; whoever borrows gets its part of what is
//! there in proportion to its demand.

/// What a level's object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its shares.
    pub shares: u32,
    /// How much of its seats others may borrow, in percent.
    pub lendable_percent: u32,
    /// How much more than its own it may borrow, in percent of its own; `None` is all.
    pub borrowing_percent: Option<u32>,
}

/// The seats of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What it has if everybody needs theirs.
    pub nominal: u32,
    /// What it keeps whatever others need.
    pub min: u32,
    /// What it gets at most.
    pub max: u32,
}

/// What a level was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The most seats at a time, lately.
    pub high: f64,
    /// What it needs, smoothed over time.
    pub smoothed: f64,
}

/// How slowly a level's smoothed demand falls, as upstream: half in five minutes, at one step in
/// ten seconds.
const SMOOTHING: f64 = 0.977;

/// The next smoothed demand: it rises at once and falls slowly.
pub fn smooth(before: f64, average: f64, deviation: f64) -> f64 {
    let envelope = average + deviation;
    envelope.max(SMOOTHING * before + (1.0 - SMOOTHING) * envelope)
}

/// Divides `total` seats by shares.
pub fn divide(total: u32, claims: &[Claim]) -> Vec<Limits> {
    let sum: u64 = claims.iter().map(|claim| u64::from(claim.shares)).sum();
    let part = |claim: &Claim| {
        let all = u64::from(total) * u64::from(claim.shares);
        let nominal = if sum == 0 { 0 } else { u32::try_from(all.div_ceil(sum)).unwrap_or(total) };
        let lendable = percent(nominal, claim.lendable_percent).min(nominal);
        let max = match claim.borrowing_percent {
            Some(limit) => nominal.saturating_add(percent(nominal, limit)),
            None => total.max(nominal),
        };
        Limits { nominal, min: nominal - lendable, max }
    };
    claims.iter().map(part).collect()
}

fn percent(of: u32, percent: u32) -> u32 {
    let rounded = (u64::from(of) * u64::from(percent) + 50) / 100;
    u32::try_from(rounded).unwrap_or(u32::MAX)
}

/// What came out of one round of lending.
#[derive(Clone, Debug, PartialEq)]
pub struct Lent {
    /// The seats of every level.
    pub limits: Vec<u32>,
    /// What every level was to get in proportion.
    pub targets: Vec<f64>,
    /// Which fraction of its target every level got that was not at one of its bounds.
    pub fraction: f64,
}

/// Divides all nominal seats anew by what was wanted of each level.
pub fn lend(levels: &[(Limits, Wanted)]) -> Lent {
    let total: f64 = levels.iter().map(|(limits, _)| f64::from(limits.nominal)).sum();
    let bounds: Vec<(f64, f64, f64)> = levels
        .iter()
        .map(|(limits, wanted)| {
            let own = f64::from(limits.nominal);
            // Who has anything at all is never left without a seat: its next request would wait
            // for the next round.
            let low = f64::from(limits.min).max(wanted.high.min(own)).max(own.min(1.0));
            (low, f64::from(limits.max).max(low), wanted.smoothed.max(low))
        })
        .collect();
    let given = |fraction: f64| {
        bounds.iter().map(move |(low, high, target)| (fraction * target).clamp(*low, *high))
    };
    let (mut below, mut above) = (0.0_f64, 1.0_f64);
    while given(above).sum::<f64>() < total && above < 1e9 {
        above *= 2.0;
    }
    // Halved until the parts are exact to far less than a seat.
    for _ in 0..64 {
        let middle = f64::midpoint(below, above);
        if given(middle).sum::<f64>() < total { below = middle } else { above = middle }
    }
    let limits = given(below)
        .map(|seats| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "seats are few and not negative"
            )]
            let seats = seats.round() as u32;
            seats
        })
        .collect();
    Lent { limits, targets: bounds.iter().map(|(_, _, target)| *target).collect(), fraction: below }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(shares: u32, lendable_percent: u32) -> Claim {
        Claim { shares, lendable_percent, borrowing_percent: None }
    }

    #[test]
    fn seats_are_divided_by_shares() {
        // Upstream's levels at its default of 600 seats.
        let claims = [
            claim(5, 0),
            claim(20, 50),
            claim(10, 0),
            claim(40, 25),
            claim(30, 33),
            claim(40, 50),
            claim(100, 90),
        ];
        let limits = divide(600, &claims);
        let nominal: Vec<u32> = limits.iter().map(|one| one.nominal).collect();
        assert_eq!(nominal, [13, 49, 25, 98, 74, 98, 245]);
        let min: Vec<u32> = limits.iter().map(|one| one.min).collect();
        assert_eq!(min, [13, 24, 25, 73, 50, 49, 24]);
        assert_eq!(divide(600, &[claim(0, 0)])[0].nominal, 0);
        let bounded = Claim { borrowing_percent: Some(10), ..claim(1, 0) };
        assert_eq!(divide(100, &[bounded])[0], Limits { nominal: 100, min: 100, max: 110 });
    }

    #[test]
    fn idle_levels_lend_what_they_may_and_nobody_loses_what_it_needs() {
        let limits = divide(100, &[claim(50, 80), claim(30, 50), claim(20, 0)]);
        let with = |wanted: [f64; 3]| {
            let level = |(limits, high): (&Limits, f64)| (*limits, Wanted { high, smoothed: high });
            lend(&limits.iter().zip(wanted).map(level).collect::<Vec<_>>()).limits
        };
        // The second needs far more than its own: it gets what the first may lend.
        assert_eq!(with([0.0, 200.0, 0.0]), [10, 70, 20]);
        // The first needs some of its own back.
        assert_eq!(with([35.0, 200.0, 0.0]), [35, 45, 20]);
        // All need more than theirs: everybody has theirs.
        assert_eq!(with([200.0, 200.0, 200.0]), [50, 30, 20]);
        let idle: u32 = with([0.0, 0.0, 0.0]).iter().sum();
        assert!((99..=101).contains(&idle), "{idle}");
    }

    #[test]
    fn demand_rises_at_once_and_falls_slowly() {
        let high = smooth(0.0, 90.0, 10.0);
        assert_eq!(high, 100.0);
        let after: f64 = (0..30).fold(high, |before, _| smooth(before, 0.0, 0.0));
        assert!((45.0..55.0).contains(&after), "{after}");
    }
}
