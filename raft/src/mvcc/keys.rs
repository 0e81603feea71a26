//! How keys, revisions and identities are laid out as bytes, so that their order is the order
//! they are walked in.
//!
//! A history key is the user's key, escaped and terminated so that no key is a prefix of another
//! (`00` becomes `00 ff`, the end is `00 01`), followed by the inverted revision: newest first.

use bytes::Bytes;

use crate::{
    error::Corrupt,
    types::{LeaseId, MemberId, Revision},
};

/// Meta key of the [`super::record::Header`].
pub(crate) const HEADER: &[u8] = b"h";
/// Meta key of the applied log id and membership.
pub(crate) const APPLIED: &[u8] = b"a";
/// Meta key of the ids of removed members.
pub(crate) const REMOVED: &[u8] = b"x";
/// Meta key of how far this member has got with dropping compacted history.
pub(crate) const COMPACTION: &[u8] = b"c";
/// First byte of leases in meta.
pub(crate) const LEASE: u8 = b'l';
/// First byte of lease keys in meta.
pub(crate) const LEASE_KEY: u8 = b'k';
/// First byte of remembered replies in meta.
pub(crate) const REPLY: u8 = b'r';

/// The start of all history of `key`.
pub(crate) fn history_prefix(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 10);
    for byte in key {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend([0, 1]);
    out
}

/// One version of `key` in history.
pub(crate) fn history(key: &[u8], revision: Revision) -> Vec<u8> {
    let mut out = history_prefix(key);
    out.extend((!revision.0).to_be_bytes());
    out
}

/// Where the history of keys at or behind `key` begins.
pub(crate) fn history_bound(key: &[u8]) -> Vec<u8> {
    let mut out = history_prefix(key);
    out.truncate(out.len() - 2);
    out
}

/// Splits a history key into the user's key and the revision.
pub(crate) fn parse_history(bytes: &[u8]) -> Result<(Bytes, Revision), Corrupt> {
    let corrupt = |reason: &str| Corrupt::new("a history key", reason.to_owned());
    let (escaped, revision) =
        bytes.split_last_chunk::<8>().ok_or_else(|| corrupt("it is too short"))?;
    let escaped =
        escaped.strip_suffix(&[0, 1]).ok_or_else(|| corrupt("its terminator is missing"))?;
    let mut key = Vec::with_capacity(escaped.len());
    let mut rest = escaped.iter();
    while let Some(byte) = rest.next() {
        key.push(*byte);
        if *byte == 0 && rest.next() != Some(&0xff) {
            return Err(corrupt("an escape is broken"));
        }
    }
    Ok((key.into(), Revision(!u64::from_be_bytes(*revision))))
}

/// A change: the `position`-th write of a revision.
pub(crate) fn change(revision: Revision, position: u32) -> [u8; 12] {
    let mut out = [0; 12];
    out[..8].copy_from_slice(&revision.0.to_be_bytes());
    out[8..].copy_from_slice(&position.to_be_bytes());
    out
}

/// The revision of a change key.
pub(crate) fn parse_change(bytes: &[u8]) -> Result<Revision, Corrupt> {
    let revision = bytes
        .first_chunk::<8>()
        .ok_or_else(|| Corrupt::new("a change key", "it is too short".to_owned()))?;
    Ok(Revision(u64::from_be_bytes(*revision)))
}

/// Meta key of a lease.
pub(crate) fn lease(lease: LeaseId) -> Vec<u8> {
    [&[LEASE], lease.0.to_be_bytes().as_slice()].concat()
}

/// Meta key that says that `key` hangs on `lease`.
pub(crate) fn lease_key(lease: LeaseId, key: &[u8]) -> Vec<u8> {
    [&[LEASE_KEY], lease.0.to_be_bytes().as_slice(), key].concat()
}

/// Meta key of a record of remembered replies; it begins at a log index.
pub(crate) fn reply(member: MemberId, boot: u64, index: u64) -> Vec<u8> {
    let mut out = vec![REPLY];
    out.extend(member.0.to_be_bytes());
    out.extend(boot.to_be_bytes());
    out.extend(index.to_be_bytes());
    out
}

/// Splits the meta key of a record of remembered replies.
pub(crate) fn parse_reply(bytes: &[u8]) -> Result<(MemberId, u64, u64), Corrupt> {
    let corrupt = || Corrupt::new("the key of a remembered reply", "wrong length".to_owned());
    let numbers: [u8; 24] = bytes.get(1..).and_then(|b| b.try_into().ok()).ok_or_else(corrupt)?;
    let number = |at: usize| {
        let mut chunk = [0; 8];
        chunk.copy_from_slice(&numbers[at..at + 8]);
        u64::from_be_bytes(chunk)
    };
    Ok((MemberId(number(0)), number(8), number(16)))
}

/// The first key behind all that start with `prefix`.
pub(crate) fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_keys_sort_by_key_and_then_newest_first() {
        let keys: [(&[u8], u64); 6] =
            [(b"", 1), (b"a", 9), (b"a", 3), (b"a\0", 5), (b"a\0\0", 5), (b"ab", 7)];
        let laid: Vec<Vec<u8>> = keys.iter().map(|(k, r)| history(k, Revision(*r))).collect();
        assert!(laid.is_sorted(), "{laid:?}");
        for ((key, revision), bytes) in keys.iter().zip(&laid) {
            let (parsed, at) = parse_history(bytes).unwrap();
            assert_eq!((parsed.as_ref(), at.0), (*key, *revision));
        }
    }

    #[test]
    fn a_history_bound_excludes_the_keys_before_it() {
        assert!(history(b"a", Revision(1)) < history_bound(b"a\0"));
        assert!(history(b"a\0", Revision(9)) >= history_bound(b"a\0"));
        assert!(history(b"b", Revision(9)) >= history_bound(b"b"));
        assert!(history(b"a\xff", Revision(9)) < history_bound(b"b"));
    }
}
