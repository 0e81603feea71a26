//! Which pods go first when there are too many.

use std::{cmp::Ordering, collections::HashMap};

use jiff::Timestamp;
use kontiki_api::{Object, slim::Pod};

use crate::pods;

/// By which a pod says what its loss costs.
pub(crate) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods to delete: those whose loss costs least.
pub(super) fn victims<'a>(
    active: &[&'a Pod],
    related_per_node: &HashMap<&str, usize>,
    count: usize,
    now: Timestamp,
) -> Vec<&'a Pod> {
    let mut ranked: Vec<&Pod> = active.to_vec();
    let neighbours = |pod: &Pod| {
        pods::node_name(pod).and_then(|node| related_per_node.get(node)).copied().unwrap_or(0)
    };
    ranked.sort_by(|a, b| order(a, b, neighbours(a), neighbours(b), now));
    ranked.truncate(count);
    ranked
}

/// Less means: goes first. In upstream's order of criteria.
fn order(a: &Pod, b: &Pod, near_a: usize, near_b: usize, now: Timestamp) -> Ordering {
    let assigned = |pod: &Pod| pods::node_name(pod).is_some();
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| near_b.cmp(&near_a))
        .then_with(|| youth(pods::ready_since(a), pods::ready_since(b), now))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| youth(created(a), created(b), now))
        .then_with(|| a.uid().cmp(b.uid()))
}

fn phase_rank(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Pending" | "" => 0,
        "Running" => 2,
        _ => 1,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(DELETION_COST)?.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().map(|container| container.restart_count).max().unwrap_or(0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The younger goes first, but ages of the same order of magnitude are equal, so that the choice
/// between pods of one batch falls by chance (their uids), not always on the same node.
fn youth(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => magnitude(a, now).cmp(&magnitude(b, now)),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

fn magnitude(since: Timestamp, now: Timestamp) -> u32 {
    let nanoseconds = pods::elapsed(since, now).as_nanos();
    128 - nanoseconds.leading_zeros()
}
