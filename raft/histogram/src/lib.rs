//! A histogram for openraft, in the place of the published crate of this name.
//!
//! Openraft counts its batches in histograms that nobody here reads. The published crate keeps
//! tables for every precision it could be asked for, more than 20 MB in every process, where a
//! whole idle member of the store shall have 30. This one has what openraft calls of it, needs no
//! tables, and is exact to an eighth: buckets are powers of two, each in eight parts.

use std::{fmt, marker::PhantomData};

/// Parts of a power of two, as bits.
const PART_BITS: u32 = 3;
/// Small values have a bucket each; every power of two above has eight.
const BUCKETS: usize = ((u64::BITS - PART_BITS + 1) as usize) << PART_BITS;

/// Counts of values by their size.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Box<[u64; BUCKETS]>,
    samples: u64,
    /// What the published crate labels its slots with.
    label: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// Nothing counted yet.
    pub fn new() -> Histogram<T> {
        Histogram { counts: Box::new([0; BUCKETS]), samples: 0, label: PhantomData }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value several times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        self.counts[bucket(value)] += times;
        self.samples += times;
    }

    /// Values counted.
    pub fn total(&self) -> u64 {
        self.samples
    }

    /// The least value of the bucket below which the share `fraction` of all values lies.
    pub fn percentile(&self, fraction: f64) -> u64 {
        let rank = (self.samples as f64 * fraction).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return least(bucket);
            }
        }
        0
    }

    /// What is usually asked for.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.samples,
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Histogram<T> {
        Histogram::new()
    }
}

impl<T> fmt::Debug for Histogram<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.percentile_stats()).finish()
    }
}

fn bucket(value: u64) -> usize {
    if value < 1 << PART_BITS {
        return value as usize;
    }
    let power = value.ilog2() - PART_BITS;
    let part = (value >> power) as usize - (1 << PART_BITS);
    ((power as usize + 1) << PART_BITS) + part
}

fn least(bucket: usize) -> u64 {
    let (power, part) = (bucket >> PART_BITS, bucket as u64 % (1 << PART_BITS));
    if power == 0 { part } else { ((1 << PART_BITS) + part) << (power - 1) }
}

/// Percentiles of a [`Histogram`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} samples, p50 {}, p90 {}, p99 {}, p99.9 {}",
            self.samples, self.p50, self.p90, self.p99, self.p99_9
        )
    }
}

/// Several histograms, one line each.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart(Vec<(String, PercentileStats)>);

impl AsciiChart {
    /// An empty one.
    pub fn new() -> AsciiChart {
        AsciiChart::default()
    }

    /// Adds a line.
    #[expect(clippy::needless_pass_by_value, reason = "the published crate's signature")]
    pub fn add(mut self, name: &str, histogram: Histogram) -> AsciiChart {
        self.0.push((name.to_owned(), histogram.percentile_stats()));
        self
    }

    /// The lines.
    pub fn detailed(&self) -> impl fmt::Display {
        let lines = self.0.iter().map(|(name, stats)| format!("{name}: {stats}\n"));
        lines.collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bucket_that_starts_at_most_an_eighth_below() {
        let values = (0..10_000).chain((14..64).map(|bit| 1 << bit)).chain([u64::MAX]);
        for value in values {
            let start = least(bucket(value));
            assert!(start <= value && value - start <= value / 8, "{value} is in {start}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_where_the_values_are() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p99, 0);
        for value in 1..=1_000 {
            histogram.record(value);
        }
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p50, stats.p99), (1_000, 480, 960));
        let chart = AsciiChart::new().add("one", histogram);
        let lines = format!("{}", chart.detailed());
        assert!(lines.starts_with("one: 1000 samples, p50 480"), "{lines}");
    }
}
