//! How many seats a level was asked for over time: the most, the average and how much it varied.

use std::time::Duration;

/// A record of demand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    value: u32,
    high: u32,
    begun: Duration,
    changed: Duration,
    /// Integral of the value over time, and of its square.
    sum: f64,
    squares: f64,
}

impl Demand {
    /// A record that begins now, with nothing asked for.
    pub fn new(now: Duration) -> Demand {
        Demand { value: 0, high: 0, begun: now, changed: now, sum: 0.0, squares: 0.0 }
    }

    /// So many seats are asked for from now on.
    pub fn set(&mut self, value: u32, now: Duration) {
        let lasted = now.saturating_sub(self.changed).as_secs_f64();
        let old = f64::from(self.value);
        self.sum += old * lasted;
        self.squares += old * old * lasted;
        self.changed = now.max(self.changed);
        self.value = value;
        self.high = self.high.max(value);
    }

    /// Ends the record and begins the next.
    pub fn take(&mut self, now: Duration) -> Demand {
        self.set(self.value, now);
        let ended = *self;
        *self = Demand { value: ended.value, high: ended.value, ..Demand::new(now) };
        ended
    }

    /// The most at a time.
    pub fn high(&self) -> f64 {
        f64::from(self.high)
    }

    /// The average over the time of the record.
    pub fn average(&self) -> f64 {
        let lasted = self.changed.saturating_sub(self.begun).as_secs_f64();
        if lasted > 0.0 { self.sum / lasted } else { f64::from(self.value) }
    }

    /// The standard deviation from it.
    pub fn deviation(&self) -> f64 {
        let lasted = self.changed.saturating_sub(self.begun).as_secs_f64();
        if lasted <= 0.0 {
            return 0.0;
        }
        let average = self.average();
        (self.squares / lasted - average * average).max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_is_averaged_over_time() {
        let at = Duration::from_secs;
        let mut demand = Demand::new(at(0));
        demand.set(10, at(5));
        demand.set(2, at(10));
        let first = demand.take(at(10));
        assert_eq!((first.high(), first.average(), first.deviation()), (10.0, 5.0, 5.0));
        let second = demand.take(at(20));
        assert_eq!((second.high(), second.average(), second.deviation()), (2.0, 2.0, 0.0));
    }
}
