//! Random numbers that are the same in every run: both sides get the same requests.

use bytes::Bytes;

/// Bytes that compress no better than real values, of which every value is a part.
const POOL_BYTES: usize = 1 << 20;

/// A sequence given by its seed (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The sequence of one operation of one client.
    pub(super) fn of(client: usize, operation: u64) -> Random {
        let client = u64::try_from(client).unwrap_or(u64::MAX);
        let mut random = Random(client.wrapping_mul(0xA076_1D64_78BD_642F) ^ operation);
        random.next();
        random
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// Values to write, cut from one pool.
#[derive(Clone, Debug)]
pub(super) struct Values(Bytes);

impl Default for Values {
    fn default() -> Values {
        let mut random = Random(1);
        let pool: Vec<u8> = (0..POOL_BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        Values(Bytes::from(pool))
    }
}

impl Values {
    /// A value of the given size; `random` decides which.
    pub(super) fn cut(&self, bytes: usize, random: &mut Random) -> Bytes {
        let room = u64::try_from(self.0.len() - bytes).unwrap_or_default();
        let from = usize::try_from(random.below(room)).unwrap_or_default();
        self.0.slice(from..from + bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_operation_writes_the_same() {
        let values = Values::default();
        let value = |client, operation| values.cut(256, &mut Random::of(client, operation));
        assert_eq!(value(3, 7), value(3, 7));
        assert_ne!(value(3, 7), value(7, 3));
        assert_eq!(value(0, 0).len(), 256);
    }
}
