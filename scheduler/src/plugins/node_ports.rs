//! NodePorts: a port of a node's own address belongs to one pod.

use super::{FilterPlugin, Plugin, PreFilter};
use crate::{
    node::NodeInfo,
    pod::PodInfo,
    snapshot::Snapshot,
    verdict::{Reason, Verdict},
};

/// The plugin.
pub(super) struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }
}

impl FilterPlugin for NodePorts {
    fn filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        if pod.host_ports.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(move |node: &NodeInfo| {
            let taken = |port| node.ports.iter().any(|used| used.conflicts_with(port));
            if pod.host_ports.iter().any(taken) {
                Verdict::unschedulable(Reason::new(
                    "node(s) didn't have free ports for the requested pod ports",
                ))
            } else {
                Verdict::Fits
            }
        }))
    }
}
