//! Leases as replicated state: which exist, and which keys hang on them. When they end is the
//! leader's business, which proposes it.

use std::{io, ops::ControlFlow, time::Duration};

use super::{
    keys,
    view::{Overlay, Space, View},
};
use crate::{codec, error::Corrupt, types::LeaseId};

/// Whether the lease exists.
pub(crate) fn exists(view: &impl View, lease: LeaseId) -> io::Result<bool> {
    Ok(view.get(Space::Meta, &keys::lease(lease))?.is_some())
}

/// Creates a lease.
pub(crate) fn grant<V: View>(overlay: &mut Overlay<'_, V>, lease: LeaseId, ttl: Duration) {
    overlay.put(Space::Meta, keys::lease(lease), codec::seal(&ttl));
}

/// All leases with their time to live.
pub(crate) fn all(view: &impl View) -> io::Result<Vec<(LeaseId, Duration)>> {
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

fn parse(key: &[u8], value: &[u8]) -> Result<(LeaseId, Duration), Corrupt> {
    let id = key.get(1..).and_then(|id| id.try_into().ok()).map(i64::from_be_bytes);
    let id = id.ok_or_else(|| Corrupt::new("a lease's key", "wrong length".to_owned()))?;
    Ok((LeaseId(id), codec::unseal("a lease", value)?))
}

/// The first keys that hang on a lease, and whether these are all.
pub(crate) fn attached(
    view: &impl View,
    lease: LeaseId,
    keys_max: usize,
) -> io::Result<(Vec<Vec<u8>>, bool)> {
    let prefix = keys::lease_key(lease, b"");
    let end = keys::behind(&prefix);
    let mut found = Vec::new();
    let mut all = true;
    view.walk(Space::Meta, &prefix, end.as_deref(), &mut |key, _| {
        if found.len() == keys_max {
            all = false;
            return ControlFlow::Break(());
        }
        found.push(key[prefix.len()..].to_vec());
        ControlFlow::Continue(())
    })?;
    Ok((found, all))
}
