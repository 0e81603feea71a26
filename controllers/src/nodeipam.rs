//! Node IPAM: every node gets a range of pod addresses of its own, never one twice.
//!
//! There is one key for all nodes: one plan sees all ranges in use and hands out all new ones, so
//! no two plans can choose at the same time. The next plan waits until this one's writes have
//! been seen; a deposed leader's write is refused by its fence.

use std::collections::BTreeSet;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kontiki_api::Object;

use crate::{
    Options,
    action::{Action, Context, Note, Pace, Plan},
    controller::{Controller, Keys},
    world::{Change, Key, World},
};

/// Nodes served by one plan at most.
const BATCH_MAX: usize = 100;

/// The controller that hands out pod ranges.
pub(crate) struct NodeIpamController {
    options: Options,
}

impl NodeIpamController {
    pub(crate) fn new(options: &Options) -> NodeIpamController {
        NodeIpamController { options: options.clone() }
    }
}

impl Controller for NodeIpamController {
    fn name(&self) -> &'static str {
        "node-ipam-controller"
    }

    fn event_source(&self) -> &'static str {
        "cidrAllocator"
    }

    fn queue_name(&self) -> &'static str {
        "cidrallocator_node"
    }

    fn workers(&self) -> usize {
        1
    }

    fn wake(&self, _world: &World, change: &Change<'_>, keys: &mut Keys) {
        if let Change::Node(delta) = change {
            let waits = delta.new.is_some_and(|node| ranges_of(node).is_empty());
            if waits || delta.new.is_none() {
                keys.insert(all_nodes());
            }
        }
    }

    fn all(&self, _world: &World, keys: &mut Keys) {
        keys.insert(all_nodes());
    }

    fn plan(&self, world: &World, _key: &Key, context: Context<'_>) -> Plan {
        plan(&self.options, world, context)
    }
}

fn all_nodes() -> Key {
    Key::new("", "nodes")
}

/// The ranges a node has.
fn ranges_of(node: &Node) -> Vec<IpNet> {
    let Some(spec) = node.spec.as_ref() else { return Vec::new() };
    let first = spec.pod_cidr.iter();
    let all = spec.pod_cidrs.iter().flatten();
    let ranges: BTreeSet<IpNet> = first.chain(all).filter_map(|text| text.parse().ok()).collect();
    ranges.into_iter().collect()
}

/// Hands a range of each family to every node that has none.
pub(crate) fn plan(options: &Options, world: &World, _context: Context<'_>) -> Plan {
    let mut plan = Plan::default();
    if !options.allocate_node_cidrs {
        plan.because("allocation is switched off");
        return plan;
    }
    let mut used: BTreeSet<IpNet> = world.nodes.iter().flat_map(|node| ranges_of(node)).collect();
    let waiting = world.nodes.iter().filter(|node| ranges_of(node).is_empty());
    let mut actions = Vec::new();
    for node in waiting.filter(|node| !node.is_deleting()).take(BATCH_MAX) {
        let chosen: Option<Vec<IpNet>> =
            options.cluster_cidrs.iter().map(|range| next_free(options, range, &used)).collect();
        let Some(chosen) = chosen else {
            let message = format!("Node {} status is now: CIDRNotAvailable", node.name());
            plan.notes.push(Note::normal(&**node, "CIDRNotAvailable", message));
            plan.because(format!("no range is left for node {}", node.name()));
            continue;
        };
        used.extend(&chosen);
        let mut updated = (**node).clone();
        let spec = updated.spec.get_or_insert_default();
        let texts: Vec<String> = chosen.iter().map(ToString::to_string).collect();
        spec.pod_cidr = texts.first().cloned();
        spec.pod_cidrs = Some(texts);
        actions.extend(Action::update(&**node, &updated));
    }
    plan.step(actions, Pace::Together);
    plan
}

/// The lowest range of a node's size that overlaps nothing.
fn next_free(options: &Options, range: &IpNet, used: &BTreeSet<IpNet>) -> Option<IpNet> {
    let size = match range {
        IpNet::V4(_) => options.node_cidr_mask_size_ipv4,
        IpNet::V6(_) => options.node_cidr_mask_size_ipv6,
    };
    let overlaps = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    range.subnets(size).ok()?.find(|candidate| {
        !used.contains(candidate)
            && !options.service_cluster_ip_ranges.iter().any(|service| overlaps(service, candidate))
            && !used.iter().any(|other| overlaps(other, candidate))
    })
}

#[cfg(test)]
mod tests;
