//! NodeResourcesBalancedAllocation: CPU and memory of a node should fill at the same pace.

use super::{Normalize, Plugin, PreScore, SCORE_MAX, ScorePlugin};
use crate::{node::NodeInfo, pod::PodInfo, snapshot::Snapshot};

/// Fractions of a node are computed in parts of this, in integers.
const WHOLE: i128 = 1_000_000;

/// The plugin.
pub(super) struct NodeResourcesBalancedAllocation;

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }
}

impl ScorePlugin for NodeResourcesBalancedAllocation {
    fn score<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot, _: &[usize]) -> PreScore<'a> {
        let asked = pod.requested();
        if asked.milli_cpu == 0 && asked.memory == 0 {
            return PreScore::Skip;
        }
        PreScore::Each(Box::new(move |node| balance(pod, node)), Normalize::None)
    }
}

/// How balanced the node would be with the pod, against how it is without: 50 means no change.
fn balance(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let asked = pod.requested();
    let with = deviation(node, asked.milli_cpu, asked.memory);
    let without = deviation(node, 0, 0);
    let half = WHOLE / 2;
    let score = half + (without - with);
    i64::try_from(score * i128::from(SCORE_MAX) / WHOLE).unwrap_or_default().clamp(0, SCORE_MAX)
}

/// Standard deviation of the two used fractions: half their distance.
fn deviation(node: &NodeInfo, cpu: i64, memory: i64) -> i128 {
    let offered = &node.offer().allocatable;
    let fraction = |used: i64, offered: i64| {
        (offered > 0).then(|| (i128::from(used) * WHOLE / i128::from(offered)).min(WHOLE))
    };
    let cpu = fraction(node.requested.milli_cpu + cpu, offered.milli_cpu);
    let memory = fraction(node.requested.memory + memory, offered.memory);
    match (cpu, memory) {
        (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2,
        _ => 0,
    }
}
