//! The taints that follow from a node's conditions.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    conditions,
    zone::{Brake, Turn, zone_key},
};
use crate::{
    Options,
    action::{Action, Context, Count, Plan},
};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Taints that keep new pods away, with the condition and status that asks for each.
const PRESSURES: &[(&str, &str, &str)] = &[
    ("node.kubernetes.io/disk-pressure", "DiskPressure", "True"),
    ("node.kubernetes.io/memory-pressure", "MemoryPressure", "True"),
    ("node.kubernetes.io/network-unavailable", "NetworkUnavailable", "True"),
    ("node.kubernetes.io/pid-pressure", "PIDPressure", "True"),
];

const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

/// Since when a node's pods are being evicted because it is lost or not ready.
pub(super) fn evicting_since(node: &Node) -> Option<Timestamp> {
    taints_of(node)
        .iter()
        .filter(|taint| taint.effect == NO_EXECUTE)
        .filter(|taint| taint.key == NOT_READY || taint.key == UNREACHABLE)
        .filter_map(|taint| taint.time_added.as_ref())
        .map(|time| time.0)
        .max()
}

fn taints_of(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// Brings a node's taints in line with its conditions.
pub(super) fn plan(
    options: &Options,
    node: &Node,
    brake: impl FnOnce() -> Brake,
    context: Context<'_>,
    plan: &mut Plan,
) -> Option<Action> {
    let mut wanted: Vec<(&str, &str)> = no_schedule(node);
    if let Some(key) = no_execute(node) {
        match brake().turn(options, node, context.now) {
            Turn::Now => wanted.push((key, NO_EXECUTE)),
            Turn::In(rest) => {
                plan.because("other nodes of the zone are being evicted");
                plan.recheck(rest);
            }
            Turn::Never => plan.because("too many nodes are lost at once to evict pods"),
        }
    }
    let taints = merge(taints_of(node), &wanted, context.now)?;
    let mut updated = node.clone();
    updated.spec.get_or_insert_default().taints = Some(taints).filter(|all| !all.is_empty());
    let begins = evicting_since(node).is_none() && evicting_since(&updated).is_some();
    let action = Action::update(node, &updated)?;
    let zone = zone_key(node);
    Some(if begins { action.counted(Count::NodeEviction { zone }) } else { action })
}

fn no_schedule(node: &Node) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    match conditions::readiness(node) {
        Some("True") => {}
        Some("Unknown") => wanted.push((UNREACHABLE, NO_SCHEDULE)),
        _ => wanted.push((NOT_READY, NO_SCHEDULE)),
    }
    for (key, condition, status) in PRESSURES {
        if conditions::status(node, condition) == Some(status) {
            wanted.push((key, NO_SCHEDULE));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    wanted
}

fn no_execute(node: &Node) -> Option<&'static str> {
    match conditions::readiness(node)? {
        "True" => None,
        "Unknown" => Some(UNREACHABLE),
        _ => Some(NOT_READY),
    }
}

/// Whether a taint is ours to set and to take away.
fn is_managed(taint: &Taint) -> bool {
    let health = taint.key == NOT_READY || taint.key == UNREACHABLE;
    match taint.effect.as_str() {
        NO_EXECUTE => health,
        NO_SCHEDULE => {
            health
                || taint.key == UNSCHEDULABLE
                || PRESSURES.iter().any(|(key, _, _)| *key == taint.key)
        }
        _ => false,
    }
}

/// The taints with ours replaced; `None` if nothing changes.
fn merge(present: &[Taint], wanted: &[(&str, &str)], now: Timestamp) -> Option<Vec<Taint>> {
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut merged: Vec<Taint> =
        present.iter().filter(|taint| !is_managed(taint) || is_wanted(taint)).cloned().collect();
    let kept = merged.len();
    for (key, effect) in wanted {
        if !merged[..kept].iter().any(|taint| taint.key == *key && taint.effect == *effect) {
            merged.push(Taint {
                key: (*key).to_owned(),
                effect: (*effect).to_owned(),
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    (merged.as_slice() != present).then_some(merged)
}
