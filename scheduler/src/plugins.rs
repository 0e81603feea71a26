//! Plugins: what decides whether a node takes a pod ([`FILTERS`]) and how well it suits
//! ([`SCORES`]).
//!
//! A plugin is a value without state. It looks at a pod once and returns the check that then runs
//! on every candidate, so what it computed for the pod is captured, typed and cannot be missing.
//! One file per plugin, one row per table; names are upstream's, since users' tools know them.

mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod pod_topology_spread;
mod taint_toleration;

use crate::{node::NodeInfo, pod::PodInfo, snapshot::Snapshot, verdict::Verdict};

use image_locality::ImageLocality;
use inter_pod_affinity::InterPodAffinity;
use node_affinity::NodeAffinity;
use node_name::NodeName;
use node_ports::NodePorts;
use node_resources_balanced_allocation::NodeResourcesBalancedAllocation;
use node_resources_fit::NodeResourcesFit;
use node_unschedulable::NodeUnschedulable;
use pod_topology_spread::PodTopologySpread;
use taint_toleration::TaintToleration;

/// The filters, in the order in which a node must pass them.
pub static FILTERS: &[&dyn FilterPlugin] = &[
    &NodeUnschedulable,
    &NodeName,
    &TaintToleration,
    &NodeAffinity,
    &NodePorts,
    &NodeResourcesFit,
    &PodTopologySpread,
    &InterPodAffinity,
];

/// The scores with their weights.
pub static SCORES: &[(i64, &dyn ScorePlugin)] = &[
    (3, &TaintToleration),
    (2, &NodeAffinity),
    (1, &NodeResourcesFit),
    (2, &PodTopologySpread),
    (2, &InterPodAffinity),
    (1, &NodeResourcesBalancedAllocation),
    (1, &ImageLocality),
];

/// The best score of one plugin before its weight; the worst is 0.
pub const SCORE_MAX: i64 = 100;

/// Something with upstream's name.
pub trait Plugin: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
}

/// Says which nodes take a pod.
pub trait FilterPlugin: Plugin {
    /// Does the per-pod work once; the returned check then runs on every candidate node.
    fn filter<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> PreFilter<'a>;

    /// Whether a pod that this filter refused is worth a new attempt after other pods came, went
    /// or changed. Changes of nodes need no word: the filter is asked again for the node itself.
    fn woken_by_pod(&self, pod: &PodInfo, other: &PodInfo, cluster: &Snapshot) -> bool {
        let _ = (pod, other, cluster);
        false
    }

    /// Whether one node's change can alter the verdict on other nodes, so that asking about the
    /// changed node alone is not enough.
    fn looks_beyond_the_node(&self) -> bool {
        false
    }
}

/// The check of one filter for one pod.
pub type NodeCheck<'a> = Box<dyn Fn(&NodeInfo) -> Verdict + Send + Sync + 'a>;

/// What a filter made of a pod.
pub enum PreFilter<'a> {
    /// The pod asks nothing of this filter.
    Skip,
    /// No node can take the pod.
    Reject(Verdict),
    /// Ask this of every node.
    Check(NodeCheck<'a>),
    /// Ask this, but only of these nodes: no other can pass.
    Among(Vec<usize>, NodeCheck<'a>),
}

/// Says how well nodes suit a pod.
pub trait ScorePlugin: Plugin {
    /// Does the per-pod work once for the nodes that passed the filters.
    fn score<'a>(
        &'a self,
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
        feasible: &[usize],
    ) -> PreScore<'a>;
}

/// The score of one plugin for one pod on a node.
pub type NodeScore<'a> = Box<dyn Fn(&NodeInfo) -> i64 + Send + Sync + 'a>;

/// What a score plugin made of a pod.
pub enum PreScore<'a> {
    /// It has no opinion.
    Skip,
    /// Score nodes with this, then bring the scores to 0..=100.
    Each(NodeScore<'a>, Normalize),
}

/// How raw scores become 0..=100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalize {
    /// They are.
    None,
    /// The highest becomes 100.
    Highest,
    /// The highest becomes 0, nothing 100.
    HighestIsWorst,
    /// The lowest becomes 0, the highest 100.
    Range,
    /// The lowest becomes 100, and the others fall short in proportion.
    LowestIsBest,
}

impl Normalize {
    /// Brings scores to 0..=100.
    pub fn apply(self, scores: &mut [i64]) {
        let highest = scores.iter().copied().max().unwrap_or_default();
        let lowest = scores.iter().copied().min().unwrap_or_default();
        for score in scores {
            *score = match self {
                Normalize::None => *score,
                Normalize::Highest if highest == 0 => 0,
                Normalize::Highest => *score * SCORE_MAX / highest,
                Normalize::HighestIsWorst if highest == 0 => SCORE_MAX,
                Normalize::HighestIsWorst => SCORE_MAX - *score * SCORE_MAX / highest,
                Normalize::Range if highest == lowest => 0,
                Normalize::Range => (*score - lowest) * SCORE_MAX / (highest - lowest),
                Normalize::LowestIsBest if highest == 0 => SCORE_MAX,
                Normalize::LowestIsBest => SCORE_MAX * (highest + lowest - *score) / highest,
            };
        }
    }
}

/// The filter of that name.
pub fn filter_named(name: &str) -> Option<&'static dyn FilterPlugin> {
    FILTERS.iter().copied().find(|plugin| plugin.name() == name)
}
