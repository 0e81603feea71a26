//! The only source of chance in a simulation: a small generator that a seed determines.

use std::time::Duration;

/// SplitMix64. Forks are independent of what their parent draws later.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice that fall as the seed says.
    pub(super) fn new(seed: u64) -> Dice {
        let mut dice = Dice(seed);
        dice.next();
        dice
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Dice of their own.
    pub(super) fn fork(&mut self) -> Dice {
        Dice::new(self.next())
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// An index of something with `length` parts.
    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }

    /// True so many times in ten thousand.
    pub(super) fn chance(&mut self, of_10_000: u64) -> bool {
        self.below(10_000) < of_10_000
    }

    /// A time from `least` to `most`.
    pub(super) fn time(&mut self, least: Duration, most: Duration) -> Duration {
        let spread = u64::try_from((most - least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.below(spread.max(1)))
    }

    /// A time in milliseconds.
    pub(super) fn millis(&mut self, least: u64, most: u64) -> Duration {
        self.time(Duration::from_millis(least), Duration::from_millis(most))
    }
}
