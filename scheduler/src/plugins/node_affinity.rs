//! NodeAffinity: `nodeSelector`, required and preferred node affinity.

use super::{FilterPlugin, Normalize, Plugin, PreFilter, PreScore, ScorePlugin};
use crate::{
    node::NodeInfo,
    pod::PodInfo,
    selector::NodeTerm,
    snapshot::Snapshot,
    verdict::{Reason, Verdict},
};

/// The plugin.
pub(super) struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }
}

impl FilterPlugin for NodeAffinity {
    fn filter<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> PreFilter<'a> {
        if pod.node_selector.is_empty() && pod.required_node_terms.is_none() {
            return PreFilter::Skip;
        }
        let check = Box::new(move |node: &NodeInfo| {
            if selects(pod, node) {
                Verdict::Fits
            } else {
                Verdict::unresolvable(Reason::new(
                    "node(s) didn't match Pod's node affinity/selector",
                ))
            }
        });
        match named(pod.required_node_terms.as_deref()) {
            None => PreFilter::Check(check),
            Some(names) => {
                let mut slots: Vec<usize> =
                    names.filter_map(|n| cluster.node_named(n)).map(|n| n.slot).collect();
                slots.sort_unstable();
                slots.dedup();
                PreFilter::Among(slots, check)
            }
        }
    }
}

impl ScorePlugin for NodeAffinity {
    fn score<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot, _: &[usize]) -> PreScore<'a> {
        if pod.preferred_node_terms.is_empty() {
            return PreScore::Skip;
        }
        let sum = move |node: &NodeInfo| {
            let terms = pod.preferred_node_terms.iter();
            let matching = terms.filter(|(_, t)| t.matches(&node.name, &node.offer().labels));
            matching.map(|(weight, _)| weight).sum()
        };
        PreScore::Each(Box::new(sum), Normalize::Highest)
    }
}

/// Whether a pod's node selector and required node affinity allow a node.
pub(super) fn selects(pod: &PodInfo, node: &NodeInfo) -> bool {
    let labels = &node.offer().labels;
    pod.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        && pod
            .required_node_terms
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|term| term.matches(&node.name, labels)))
}

/// The only nodes that can match, if every term names its own: how DaemonSets place their pods.
fn named(terms: Option<&[NodeTerm]>) -> Option<impl Iterator<Item = &str>> {
    let terms = terms?;
    let all: Option<Vec<Vec<&str>>> = terms.iter().map(NodeTerm::node_names).collect();
    all.map(|lists| lists.into_iter().flatten())
}
