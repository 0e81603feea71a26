//! NodeResourcesFit: what pods ask for must be there; among nodes that have it, the emptier the
//! better (LeastAllocated).

use super::{FilterPlugin, Normalize, Plugin, PreFilter, PreScore, SCORE_MAX, ScorePlugin};
use crate::{
    node::NodeInfo,
    pod::PodInfo,
    resources::Resources,
    snapshot::Snapshot,
    verdict::{Reason, Verdict},
};

/// The plugin.
pub(super) struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }
}

impl FilterPlugin for NodeResourcesFit {
    fn filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        PreFilter::Check(Box::new(move |node| {
            fits(pod.requested(), &node.offer().allocatable, &node.requested)
        }))
    }
}

/// Names everything a node lacks. Asking for more than the node has at all is beyond repair.
fn fits(asked: &Resources, offered: &Resources, taken: &Resources) -> Verdict {
    let mut reasons = Vec::new();
    let mut beyond_repair = false;
    if taken.pods + asked.pods > offered.pods {
        reasons.push(Reason::new("Too many pods"));
    }
    let mut require = |asked: i64, offered: i64, taken: i64, reason: &dyn Fn() -> Reason| {
        if asked > 0 && asked > offered - taken {
            beyond_repair |= asked > offered;
            reasons.push(reason());
        }
    };
    require(asked.milli_cpu, offered.milli_cpu, taken.milli_cpu, &|| {
        Reason::new("Insufficient cpu")
    });
    require(asked.memory, offered.memory, taken.memory, &|| Reason::new("Insufficient memory"));
    require(asked.ephemeral_storage, offered.ephemeral_storage, taken.ephemeral_storage, &|| {
        Reason::new("Insufficient ephemeral-storage")
    });
    for (name, amount) in &asked.scalars {
        require(*amount, offered.scalar(name), taken.scalar(name), &|| {
            format!("Insufficient {name}").into()
        });
    }
    match (reasons.is_empty(), beyond_repair) {
        (true, _) => Verdict::Fits,
        (false, false) => Verdict::Unschedulable(reasons),
        (false, true) => Verdict::UnschedulableAndUnresolvable(reasons),
    }
}

impl ScorePlugin for NodeResourcesFit {
    fn score<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot, _: &[usize]) -> PreScore<'a> {
        PreScore::Each(Box::new(move |node| least_allocated(pod, node)), Normalize::None)
    }
}

/// The mean of what would be left of CPU and of memory, in hundredths.
fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let offered = &node.offer().allocatable;
    let asked = pod.requests.scored;
    let pairs = [
        (offered.milli_cpu, node.scored.milli_cpu + asked.milli_cpu),
        (offered.memory, node.scored.memory + asked.memory),
    ];
    let known = pairs.iter().filter(|(offered, _)| *offered > 0);
    let (sum, kinds) = known.fold((0, 0), |(sum, kinds), (offered, wanted)| {
        let left = if wanted > offered { 0 } else { (offered - wanted) * SCORE_MAX / offered };
        (sum + left, kinds + 1)
    });
    if kinds == 0 { 0 } else { sum / kinds }
}
