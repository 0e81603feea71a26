//! A fingerprint of the logical content between the floor and a revision: equal on members that
//! hold the same, however far each has got with dropping what is below the floor.

use std::ops::ControlFlow;

use super::{
    merge, range,
    record::{Header, Version},
    view::View,
};
use crate::{
    error::Error,
    types::{KeyRange, Revision, WatchEventKind},
};

/// The hash of everything visible at some revision between the floor and `at`.
///
/// It is a sum of the hashes of versions. Of a key, all after the floor count, and the one that
/// is visible at the floor; a deletion before the floor says the same as nothing at all.
pub(crate) fn hash(view: &impl View, at: Option<Revision>) -> Result<(Revision, u64), Error> {
    let header = Header::load(view)?;
    let at = range::readable(&header, at)?;
    let mut sum = 0u64;
    let mut done: Option<Vec<u8>> = None;
    let everything = KeyRange::prefix("");
    merge::versions(view, &everything, &mut |key, stored| {
        if done.as_deref() == Some(key) {
            return Ok(ControlFlow::Continue(()));
        }
        let version = Version::decode_head(stored)?;
        if version.modified > at {
            return Ok(ControlFlow::Continue(()));
        }
        if version.modified > header.floor || version.kind == WatchEventKind::Put {
            sum = sum.wrapping_add(fingerprint(key, stored));
        }
        if version.modified <= header.floor {
            let done = done.get_or_insert_default();
            done.clear();
            done.extend_from_slice(key);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((at, fingerprint(&at.0.to_be_bytes(), &sum.to_be_bytes())))
}

/// Of a key and a value: eight bytes at a time, each folded in by a multiplication.
fn fingerprint(key: &[u8], value: &[u8]) -> u64 {
    let seed = fold(SEED ^ key.len() as u64, value.len() as u64);
    absorb(absorb(seed, key), value)
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

fn absorb(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(hash, |hash, word| fold(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(hash, u64::from_le_bytes(last))
}

/// Both halves of the product count.
fn fold(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word).wrapping_mul(u128::from(FACTOR));
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high.rotate_left(29) ^ hash.rotate_left(11)
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn every_bit_counts() {
        let (key, value) = (b"registry/pods/a".as_slice(), b"a value of some length".to_vec());
        let whole = fingerprint(key, &value);
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(fingerprint(key, &flipped), whole, "bit {bit}");
        }
        assert_ne!(fingerprint(b"a", b"bc"), fingerprint(b"ab", b"c"));
        assert_ne!(fingerprint(b"a", b""), fingerprint(b"a", b"\0"));
    }
}
