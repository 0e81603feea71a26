//! A fingerprint of the logical content between the floor and a revision: equal on members that
//! hold the same, however far each has got with dropping what is below the floor.

use std::{collections::BTreeMap, ops::ControlFlow};

use bytes::Bytes;

use super::{
    keys,
    record::{Header, Version},
    view::{Space, View},
};
use crate::{
    error::{Corrupt, Error},
    types::{Revision, WatchEventKind},
};

/// The hash of everything visible at some revision between the floor and `at`.
pub(crate) fn hash(view: &impl View, at: Option<Revision>) -> Result<(Revision, u64), Error> {
    let header = Header::load(view)?;
    let at = at.unwrap_or(header.revision);
    if at < header.floor {
        return Err(Error::Compacted { requested: at, oldest: header.floor });
    }
    if at > header.revision {
        return Err(Error::FutureRevision { requested: at, current: header.revision });
    }
    let mut digest = Digest { floor: header.floor, at, sum: 0, oldest: BTreeMap::new() };
    let mut problem: Option<Corrupt> = None;
    view.walk(Space::Current, &[], None, &mut |key, value| {
        digest.add(key, value).map_or_else(
            |error| {
                problem = Some(error);
                ControlFlow::Break(())
            },
            ControlFlow::Continue,
        )
    })?;
    view.walk(Space::History, &[], None, &mut |key, value| {
        let added = keys::parse_history(key).and_then(|(key, _)| digest.add(&key, value));
        added.map_or_else(
            |error| {
                problem = Some(error);
                ControlFlow::Break(())
            },
            ControlFlow::Continue,
        )
    })?;
    match problem {
        Some(error) => Err(std::io::Error::from(error).into()),
        None => Ok((at, digest.finish())),
    }
}

/// A sum of the hashes of versions: the order in which they are met does not matter.
struct Digest {
    floor: Revision,
    at: Revision,
    sum: u64,
    /// Per key, the newest version at or below the floor, and its hash.
    oldest: BTreeMap<Bytes, (Revision, u64)>,
}

impl Digest {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Corrupt> {
        let version = Version::decode_head(value)?;
        if version.modified > self.at {
            return Ok(());
        }
        let hash = fnv(key, value);
        if version.modified > self.floor {
            self.sum = self.sum.wrapping_add(hash);
            return Ok(());
        }
        // A deletion below the floor says the same as nothing at all.
        let hash = if version.kind == WatchEventKind::Delete { 0 } else { hash };
        let entry = self.oldest.entry(Bytes::copy_from_slice(key)).or_insert((Revision(0), 0));
        if version.modified >= entry.0 {
            *entry = (version.modified, hash);
        }
        Ok(())
    }

    fn finish(self) -> u64 {
        let below = self.oldest.values().fold(0u64, |sum, (_, hash)| sum.wrapping_add(*hash));
        fnv(&self.at.0.to_be_bytes(), &self.sum.wrapping_add(below).to_be_bytes())
    }
}

/// FNV-1a over a length-prefixed key and a value.
fn fnv(key: &[u8], value: &[u8]) -> u64 {
    let length = (key.len() as u64).to_be_bytes();
    length.iter().chain(key).chain(value).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
