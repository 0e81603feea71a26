//! Exponential back-off with a limit, as a value: it computes delays and never waits.

use std::time::Duration;

/// Delays that double from `first` up to `limit`, per sequence of failures.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    failures: u32,
}

impl Backoff {
    /// A back-off whose first delay is `first` and whose longest is `limit`.
    pub const fn new(first: Duration, limit: Duration) -> Backoff {
        Backoff { first, limit, failures: 0 }
    }

    /// The delay after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 2u32.saturating_pow(self.failures.min(30));
        self.failures = self.failures.saturating_add(1);
        self.first.saturating_mul(factor).min(self.limit)
    }

    /// Failures since the last [`Backoff::reset`].
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
        let delays: Vec<u128> = (0..4).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [10, 20, 40, 50]);
        backoff.reset();
        assert_eq!(backoff.next_delay().as_millis(), 10);
    }
}
