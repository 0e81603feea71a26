//! Distributing endpoints over slices with few writes.
//!
//! An endpoint stays in the slice where its pod already is. New ones fill the fullest slice that
//! is being written anyway, then any other with room, then new slices. Slices left empty are
//! deleted, but for one.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{ENDPOINTS_MAX, Group};
use crate::action::{Action, Target};

/// The writes that turn `existing` into slices of this metadata with exactly the wanted endpoints.
pub(crate) fn plan(
    metadata: &ObjectMeta,
    existing: &[&EndpointSlice],
    groups: Vec<(Group, Vec<Endpoint>)>,
) -> Vec<Action> {
    let mut used = vec![false; existing.len()];
    let mut actions = Vec::new();
    let mut surplus = Vec::new();
    for (group, endpoints) in groups {
        let mut own: Vec<&EndpointSlice> = Vec::new();
        for (index, slice) in existing.iter().enumerate() {
            if !used[index] && belongs(slice, &group, endpoints.is_empty()) {
                used[index] = true;
                own.push(slice);
            }
        }
        fill(metadata, &group, endpoints, &own, &mut actions, &mut surplus);
    }
    let strangers = existing.iter().zip(used).filter(|(_, used)| !used).map(|(slice, _)| *slice);
    surplus.extend(strangers);
    // Deletions come last: an endpoint that moved is in its new slice before it leaves the old.
    actions.extend(surplus.into_iter().map(|slice| Action::delete(Target::of(slice))));
    actions
}

/// Whether a slice holds endpoints of a group. Where either has no endpoints the ports do not
/// matter, so that the first endpoint's coming and the last one's leaving change one slice.
fn belongs(slice: &EndpointSlice, group: &Group, empty: bool) -> bool {
    let unused = empty || slice.endpoints.as_ref().is_none_or(Vec::is_empty);
    slice.address_type == group.address_type
        && (unused || same_ports(slice.ports.as_deref().unwrap_or_default(), &group.ports))
}

fn same_ports(a: &[EndpointPort], b: &[EndpointPort]) -> bool {
    a.len() == b.len() && a.iter().all(|port| b.contains(port))
}

/// A slice as observed, its endpoints to be, and whether those differ already.
type Filled<'a> = (&'a EndpointSlice, Vec<Endpoint>, bool);

fn fill<'a>(
    metadata: &ObjectMeta,
    group: &Group,
    endpoints: Vec<Endpoint>,
    own: &[&'a EndpointSlice],
    actions: &mut Vec<Action>,
    surplus: &mut Vec<&'a EndpointSlice>,
) {
    let mut left: BTreeMap<String, Endpoint> =
        endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let mut filled: Vec<Filled<'a>> = Vec::new();
    for slice in own {
        let mut kept = Vec::new();
        for known in slice.endpoints.iter().flatten() {
            kept.extend(left.remove(&identity(known)));
        }
        let changed = slice.endpoints.as_deref().unwrap_or_default() != kept.as_slice();
        filled.push((slice, kept, changed));
    }
    // The fullest slice that is written anyway comes first.
    let mut order: Vec<usize> = (0..filled.len()).collect();
    order.sort_by_key(|index| {
        let (_, kept, changed) = &filled[*index];
        (!changed, std::cmp::Reverse(kept.len()))
    });
    for index in order {
        let kept = &mut filled[index].1;
        while kept.len() < ENDPOINTS_MAX {
            let Some((_, endpoint)) = left.pop_first() else { break };
            kept.push(endpoint);
        }
    }
    let mut rest: Vec<Endpoint> = left.into_values().collect();
    let created = !rest.is_empty();
    while !rest.is_empty() {
        let batch = rest.split_off(rest.len().saturating_sub(ENDPOINTS_MAX));
        actions.push(Action::create(&slice(metadata, group, batch)));
    }
    write(metadata, group, (filled, created), actions, surplus);
}

fn write<'a>(
    metadata: &ObjectMeta,
    group: &Group,
    (filled, created): (Vec<Filled<'a>>, bool),
    actions: &mut Vec<Action>,
    surplus: &mut Vec<&'a EndpointSlice>,
) {
    let all_empty = filled.iter().all(|(_, endpoints, _)| endpoints.is_empty());
    if filled.is_empty() && !created {
        actions.push(Action::create(&slice(metadata, group, Vec::new())));
        return;
    }
    let mut placeholder = all_empty && !created;
    for (observed, endpoints, _) in filled {
        if endpoints.is_empty() && !std::mem::take(&mut placeholder) {
            surplus.push(observed);
            continue;
        }
        let wanted = slice(metadata, group, endpoints);
        let mut updated = observed.clone();
        updated.metadata.labels = wanted.metadata.labels;
        updated.metadata.owner_references = wanted.metadata.owner_references;
        if wanted.metadata.annotations.is_some() {
            updated.metadata.annotations = wanted.metadata.annotations;
        }
        let empty = wanted.endpoints.as_ref().is_none_or(Vec::is_empty);
        let emptied = empty && observed.endpoints.as_ref().is_none_or(Vec::is_empty);
        if !emptied {
            updated.endpoints = wanted.endpoints;
        }
        if !empty && !same_ports(observed.ports.as_deref().unwrap_or_default(), &group.ports) {
            updated.ports = wanted.ports;
        }
        actions.extend(Action::update(observed, &updated));
    }
}

/// What an endpoint is the endpoint of.
fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    uid.unwrap_or_else(|| endpoint.addresses.join(","))
}

fn slice(metadata: &ObjectMeta, group: &Group, endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        metadata: metadata.clone(),
        address_type: group.address_type.to_owned(),
        endpoints: Some(endpoints),
        ports: Some(group.ports.clone()),
    }
}
