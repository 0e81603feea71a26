//! A bound on bytes per second, for threads that may wait.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Everything that is sent at once shares it.
#[derive(Clone)]
pub(in crate::peer) struct Pace {
    rate: u64,
    free_at: Arc<Mutex<Instant>>,
}

impl Pace {
    pub(in crate::peer) fn new(rate: u64) -> Pace {
        Pace { rate: rate.max(1), free_at: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Waits until so many bytes may be spent.
    pub(super) fn spend(&self, bytes: usize) {
        let wait = self.reserve(bytes as u64, Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }

    /// How long to wait for the bytes before these. What was not used is not saved up.
    fn reserve(&self, bytes: u64, now: Instant) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock();
        let start = (*free_at).max(now);
        *free_at = start + takes;
        start - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spread_over_time() {
        let (pace, now) = (Pace::new(1_000), Instant::now() + Duration::from_secs(1));
        assert_eq!(pace.reserve(500, now), Duration::ZERO);
        assert_eq!(pace.reserve(500, now), Duration::from_millis(500));
        assert_eq!(pace.reserve(1, now), Duration::from_secs(1));
        assert_eq!(pace.reserve(1, now + Duration::from_secs(9)), Duration::ZERO);
    }
}
