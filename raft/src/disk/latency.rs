//! How long the log's fsyncs take, over the last seconds.
//!
//! One late fsync is a hiccup. A disk is called slow when several were late in different seconds,
//! and late ones are not rare: then nothing that is acknowledged through it will be quick soon.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The window, and what it is cut into.
const SLOT: Duration = Duration::from_secs(1);
const SLOTS_MAX: usize = 10;
/// Late fsyncs, and the slots they lie in, that make a disk slow.
const LATE_MIN: u32 = 3;
const LATE_SLOTS_MIN: usize = 2;
/// Buckets double from 0.125 ms; the last one is open.
const BUCKETS: usize = 20;
const FIRST_BUCKET_MICROS: u64 = 125;

/// Fsyncs of one log. Shared by who does them and who looks at them.
#[derive(Default)]
pub(crate) struct Latencies(Mutex<Window>);

#[derive(Default)]
struct Window {
    slots: VecDeque<Slot>,
    /// When the fsync that is under way began.
    under_way: Option<Instant>,
}

struct Slot {
    begins: Instant,
    counts: [u32; BUCKETS],
}

/// What the window says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) fsyncs: u32,
    /// The 99th percentile, rounded up; at least the age of the one that is under way.
    pub(crate) p99: Duration,
    /// Late again and again.
    pub(crate) slow: bool,
}

impl Latencies {
    /// An fsync begins.
    pub(crate) fn begin(&self, now: Instant) {
        self.0.lock().under_way = Some(now);
    }

    /// It has ended.
    pub(crate) fn end(&self, now: Instant) {
        let mut window = self.0.lock();
        if let Some(began) = window.under_way.take() {
            window.add(now.saturating_duration_since(began), now);
        }
    }

    /// What the last seconds say, where more than `limit` is late.
    pub(crate) fn look(&self, limit: Duration, now: Instant) -> Look {
        let mut window = self.0.lock();
        window.forget(now);
        window.look(limit, now)
    }
}

impl Window {
    fn add(&mut self, took: Duration, now: Instant) {
        self.forget(now);
        let fresh = self.slots.back().is_none_or(|slot| now >= slot.begins + SLOT);
        if fresh {
            self.slots.push_back(Slot { begins: now, counts: [0; BUCKETS] });
        }
        if let Some(slot) = self.slots.back_mut() {
            slot.counts[bucket(took)] += 1;
        }
    }

    fn forget(&mut self, now: Instant) {
        let window = SLOT * u32::try_from(SLOTS_MAX).unwrap_or(u32::MAX);
        while self.slots.front().is_some_and(|slot| now >= slot.begins + window) {
            self.slots.pop_front();
        }
    }

    fn look(&self, limit: Duration, now: Instant) -> Look {
        let mut counts = [0u32; BUCKETS];
        let (mut late, mut late_slots) = (0, 0);
        // What is in the same bucket as the limit counts as in time.
        let first_late = bucket(limit) + 1;
        for slot in &self.slots {
            for (sum, count) in counts.iter_mut().zip(slot.counts) {
                *sum += count;
            }
            let here: u32 = slot.counts.iter().skip(first_late).sum();
            late += here;
            late_slots += usize::from(here > 0);
        }
        let fsyncs: u32 = counts.iter().sum();
        let mut p99 = percentile(&counts, fsyncs);
        let under_way = self.under_way.map_or(Duration::ZERO, |began| now - began);
        if under_way > limit {
            p99 = p99.max(under_way);
            late += 1;
            // One that takes seconds is late in each of them.
            late_slots += if under_way > SLOT { LATE_SLOTS_MIN } else { 1 };
            late += if under_way > SLOT * 2 { LATE_MIN } else { 0 };
        }
        let rare = u64::from(late) * 100 < u64::from(fsyncs);
        let slow = late >= LATE_MIN && late_slots >= LATE_SLOTS_MIN && !rare;
        Look { fsyncs, p99, slow }
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    (0..BUCKETS - 1).find(|n| micros <= FIRST_BUCKET_MICROS << n).unwrap_or(BUCKETS - 1)
}

fn percentile(counts: &[u32; BUCKETS], all: u32) -> Duration {
    if all == 0 {
        return Duration::ZERO;
    }
    // Of ten, the slowest: there is no finer answer.
    let rank = all - all / 100;
    let mut seen = 0;
    for (n, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= rank {
            return Duration::from_micros(FIRST_BUCKET_MICROS << n);
        }
    }
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(150);

    struct Disk(Latencies, Instant);

    impl Disk {
        fn new() -> Disk {
            Disk(Latencies::default(), Instant::now())
        }

        fn sync(&mut self, millis: u64) {
            self.0.begin(self.1);
            self.1 += Duration::from_millis(millis);
            self.0.end(self.1);
        }

        fn rest(&mut self, millis: u64) {
            self.1 += Duration::from_millis(millis);
        }

        fn look(&self) -> Look {
            self.0.look(LIMIT, self.1)
        }
    }

    #[tokio::test]
    async fn a_hiccup_is_not_a_slow_disk() {
        let mut disk = Disk::new();
        assert_eq!(disk.look(), Look::default());
        for _ in 0..50 {
            disk.sync(2);
        }
        assert_eq!(disk.look(), Look { fsyncs: 50, p99: Duration::from_millis(2), slow: false });
        disk.sync(900);
        disk.sync(900);
        let look = disk.look();
        assert!(look.p99 >= Duration::from_millis(900) && !look.slow, "{look:?}");
    }

    #[tokio::test]
    async fn a_disk_that_is_late_again_and_again_is_slow_until_it_is_not() {
        let mut disk = Disk::new();
        for _ in 0..8 {
            disk.sync(400);
        }
        let look = disk.look();
        assert!(look.slow && look.p99 >= Duration::from_millis(400), "{look:?}");
        disk.rest(10_000);
        assert_eq!(disk.look(), Look::default());
        for _ in 0..5 {
            disk.sync(400);
            for _ in 0..1_000 {
                disk.sync(1);
            }
        }
        assert!(!disk.look().slow, "one in a thousand is rare");
    }

    #[tokio::test]
    async fn an_fsync_that_does_not_return_counts_while_it_lasts() {
        let mut disk = Disk::new();
        disk.sync(1);
        disk.0.begin(disk.1);
        disk.rest(100);
        assert!(!disk.look().slow);
        disk.rest(3_000);
        let look = disk.look();
        assert!(look.slow && look.p99 >= Duration::from_secs(3), "{look:?}");
    }
}
