//! Leases as replicated state: which exist, and which keys hang on them. When they end is the
//! leader's business, which proposes it.

use std::{io, ops::ControlFlow, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    apply::Position,
    keys,
    record::Header,
    view::{Overlay, Space, View},
};
use crate::{
    codec,
    error::{Corrupt, Refusal},
    mvcc::txn::Stop,
    types::{Lease, LeaseGrant, LeaseId},
};

/// A lease whose keys end together lives this long at least. etcd raises it to one and a half
/// election time-outs, 2 s by default; elections are short here.
const TTL_MIN: Duration = Duration::from_secs(1);
/// etcd's bound: 285 years.
const TTL_MAX: Duration = Duration::from_secs(9_000_000_000);

/// What is stored of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// How long it lives without renewal.
    pub(crate) ttl: Duration,
    /// Whether its keys end at one revision.
    pub(crate) together: bool,
}

/// A lease, if it exists.
pub(crate) fn find(view: &impl View, lease: LeaseId) -> io::Result<Option<Record>> {
    match view.get(Space::Meta, &keys::lease(lease))? {
        Some(bytes) => Ok(Some(codec::unseal("a lease", &bytes)?)),
        None => Ok(None),
    }
}

/// Whether the lease exists.
pub(crate) fn exists(view: &impl View, lease: LeaseId) -> io::Result<bool> {
    Ok(view.get(Space::Meta, &keys::lease(lease))?.is_some())
}

/// Creates a lease.
pub(super) fn grant<V: View>(
    overlay: &mut Overlay<'_, V>,
    header: &Header,
    position: Position,
    grant: &LeaseGrant,
) -> Result<Lease, Stop> {
    let LeaseGrant { id, ttl, together } = *grant;
    if ttl > TTL_MAX {
        return Err(Refusal::LeaseTtlTooLarge { ttl, most: TTL_MAX }.into());
    }
    let id = match id.filter(|id| id.0 != 0) {
        Some(lease) if exists(overlay, lease)? => {
            return Err(Refusal::LeaseExists { lease }.into());
        }
        Some(id) => id,
        None => choose_id(overlay, header, position)?,
    };
    let ttl = if together { ttl.max(TTL_MIN) } else { ttl };
    overlay.put(Space::Meta, keys::lease(id), codec::seal(&Record { ttl, together }));
    Ok(Lease { id, ttl })
}

/// An id that is not in use. It comes from the entry and the revision, so that every member
/// chooses the same, and no two entries do: also not after a restore, which begins a new log and
/// raises the revision.
fn choose_id(view: &impl View, header: &Header, position: Position) -> io::Result<LeaseId> {
    let mut seed = mix(position.index ^ mix(header.revision.0 ^ mix(position.fence.term)));
    loop {
        let id = LeaseId(i64::try_from(seed >> 1).expect("one bit was shifted out"));
        if id.0 != 0 && !exists(view, id)? {
            return Ok(id);
        }
        seed = mix(seed);
    }
}

/// SplitMix64: spreads a number over all numbers, one to one.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// All leases, by id.
pub(crate) fn all(view: &impl View) -> io::Result<Vec<(LeaseId, Record)>> {
    let mut leases = Vec::new();
    let mut problem = None;
    let end = keys::behind(&[keys::LEASE]);
    view.walk(
        Space::Meta,
        &[keys::LEASE],
        end.as_deref(),
        &mut |key, value| match parse(key, value) {
            Ok(lease) => {
                leases.push(lease);
                ControlFlow::Continue(())
            }
            Err(error) => {
                problem = Some(error);
                ControlFlow::Break(())
            }
        },
    )?;
    problem.map_or(Ok(leases), |error| Err(error.into()))
}

fn parse(key: &[u8], value: &[u8]) -> Result<(LeaseId, Record), Corrupt> {
    let id = key.get(1..).and_then(|id| id.try_into().ok()).map(i64::from_be_bytes);
    let id = id.ok_or_else(|| Corrupt::new("a lease's key", "wrong length".to_owned()))?;
    Ok((LeaseId(id), codec::unseal("a lease", value)?))
}

/// The first keys that hang on a lease, and whether these are all.
pub(crate) fn attached(
    view: &impl View,
    lease: LeaseId,
    keys_max: usize,
) -> io::Result<(Vec<Bytes>, bool)> {
    let prefix = keys::lease_key(lease, b"");
    let end = keys::behind(&prefix);
    let mut found = Vec::new();
    let mut all = true;
    view.walk(Space::Meta, &prefix, end.as_deref(), &mut |key, _| {
        if found.len() == keys_max {
            all = false;
            return ControlFlow::Break(());
        }
        found.push(Bytes::copy_from_slice(&key[prefix.len()..]));
        ControlFlow::Continue(())
    })?;
    Ok((found, all))
}
