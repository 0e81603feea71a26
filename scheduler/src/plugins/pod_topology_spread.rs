//! PodTopologySpread: pods that belong together are spread over domains, as a condition or as a
//! wish. Pods of one controller that say nothing are spread over hosts and zones all the same.

use super::{
    FilterPlugin, Normalize, Plugin, PreFilter, PreScore, ScorePlugin, node_affinity::selects,
    taint_toleration::untolerated,
};
use crate::{
    node::{NodeInfo, ZONE},
    pod::{PodInfo, SpreadConstraint},
    snapshot::{Snapshot, counts::BySlot, topology::Topology},
    verdict::{Reason, Verdict},
};

/// What a pod that says nothing gets, as upstream's system defaults.
const DEFAULT_ZONE_SKEW: i64 = 5;
const DEFAULT_HOST_SKEW: i64 = 3;

/// The plugin.
pub(super) struct PodTopologySpread;

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }
}

/// One condition with what was counted for it.
struct Counted<'a> {
    constraint: &'a SpreadConstraint,
    topology: &'a Topology,
    by_domain: Vec<i64>,
    lowest: i64,
    own: i64,
}

impl FilterPlugin for PodTopologySpread {
    fn filter<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> PreFilter<'a> {
        let required: Vec<&SpreadConstraint> = pod.spread.iter().filter(|c| c.required).collect();
        if required.is_empty() {
            return PreFilter::Skip;
        }
        let counted: Vec<Counted<'a>> =
            required.iter().map(|c| count(pod, cluster, c, &required)).collect();
        PreFilter::Check(Box::new(move |node| {
            for counted in &counted {
                let Some(domain) = counted.topology.domain(node.slot) else {
                    return Verdict::unresolvable(Reason::new(
                        "node(s) didn't match pod topology spread constraints (missing required label)",
                    ));
                };
                let skew = counted.by_domain[domain] + counted.own - counted.lowest;
                if skew > counted.constraint.max_skew {
                    return Verdict::unschedulable(Reason::new(
                        "node(s) didn't match pod topology spread constraints",
                    ));
                }
            }
            Verdict::Fits
        }))
    }

    fn woken_by_pod(&self, pod: &PodInfo, other: &PodInfo, cluster: &Snapshot) -> bool {
        pod.spread.iter().any(|c| c.query.clauses_match(other, cluster.namespaces()))
    }

    fn looks_beyond_the_node(&self) -> bool {
        true
    }
}

fn count<'a>(
    pod: &PodInfo,
    cluster: &'a Snapshot,
    constraint: &'a SpreadConstraint,
    all: &[&SpreadConstraint],
) -> Counted<'a> {
    let topologies: Vec<&Topology> =
        all.iter().map(|c| cluster.topologies().of(&c.topology_key)).collect();
    let topology = cluster.topologies().of(&constraint.topology_key);
    let by_slot = cluster.counts().of_query(&constraint.query);
    let is_eligible_slot = |slot: usize| {
        topologies.iter().all(|t| t.domain(slot).is_some())
            && is_counted(pod, constraint, cluster.node(slot))
    };
    let mut by_domain = vec![0; topology.len()];
    for (slot, pods) in by_slot {
        if let Some(domain) = topology.domain(*slot).filter(|_| is_eligible_slot(*slot)) {
            by_domain[domain] += i64::from(*pods);
        }
    }
    let mut is_eligible = vec![false; topology.len()];
    for slot in cluster.order() {
        // Most nodes lie in a domain that is known to count: no need to look at them.
        if let Some(domain) = topology.domain(*slot).filter(|domain| !is_eligible[*domain]) {
            is_eligible[domain] = is_eligible_slot(*slot);
        }
    }
    let eligible = || by_domain.iter().zip(&is_eligible).filter(|(_, is)| **is).map(|(n, _)| *n);
    let domains = i64::try_from(eligible().count()).unwrap_or(i64::MAX);
    let lowest = if domains < constraint.min_domains { 0 } else { eligible().min().unwrap_or(0) };
    let own = i64::from(constraint.query.matches(pod, cluster.namespaces()));
    Counted { constraint, topology, by_domain, lowest, own }
}

/// Whether a node's pods and domain count for a constraint.
fn is_counted(pod: &PodInfo, constraint: &SpreadConstraint, node: &NodeInfo) -> bool {
    (!constraint.honor_affinity || selects(pod, node))
        && (!constraint.honor_taints || untolerated(&pod.tolerations, node).is_none())
}

/// A wish with what was counted for it; without a topology, every node is a domain.
struct Wish<'a> {
    topology: Option<&'a Topology>,
    by_domain: Vec<i64>,
    by_slot: Option<&'a BySlot>,
    weight: f64,
    max_skew: i64,
}

impl ScorePlugin for PodTopologySpread {
    fn score<'a>(
        &'a self,
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
        feasible: &[usize],
    ) -> PreScore<'a> {
        let wishes: Vec<Wish<'a>> =
            if let Some(owner) = pod.owner.as_ref().filter(|_| pod.spreads_by_default()) {
                let Some(by_slot) = cluster.counts().of_owner(owner) else { return PreScore::Skip };
                let zones = cluster.topologies().of(ZONE);
                let hosts = Wish {
                    topology: None,
                    by_domain: Vec::new(),
                    by_slot: Some(by_slot),
                    weight: weight(feasible.len()),
                    max_skew: DEFAULT_HOST_SKEW,
                };
                vec![hosts, by_topology(zones, by_slot, feasible, DEFAULT_ZONE_SKEW, &|_| true)]
            } else {
                let wished = pod.spread.iter().filter(|c| !c.required);
                wished
                    .map(|c| {
                        let topology = cluster.topologies().of(&c.topology_key);
                        let by_slot = cluster.counts().of_query(&c.query);
                        let counted = |slot| {
                            let node = cluster.node(slot);
                            node.offer.is_some() && is_counted(pod, c, node)
                        };
                        by_topology(topology, by_slot, feasible, c.max_skew, &counted)
                    })
                    .collect()
            };
        if wishes.is_empty() {
            return PreScore::Skip;
        }
        PreScore::Each(
            Box::new(move |node| wishes.iter().map(|wish| wish.cost(node.slot)).sum()),
            Normalize::LowestIsBest,
        )
    }
}

fn by_topology<'a>(
    topology: &'a Topology,
    by_slot: &BySlot,
    feasible: &[usize],
    max_skew: i64,
    counted: &dyn Fn(usize) -> bool,
) -> Wish<'a> {
    let mut by_domain = vec![0; topology.len()];
    for (slot, pods) in by_slot {
        if let Some(domain) = topology.domain(*slot).filter(|_| counted(*slot)) {
            by_domain[domain] += i64::from(*pods);
        }
    }
    let mut seen = vec![false; topology.len()];
    feasible.iter().filter_map(|slot| topology.domain(*slot)).for_each(|d| seen[d] = true);
    let domains = seen.iter().filter(|seen| **seen).count();
    Wish { topology: Some(topology), by_domain, by_slot: None, weight: weight(domains), max_skew }
}

/// Few domains hold many pods each: their counts weigh less.
#[expect(clippy::cast_precision_loss, reason = "node counts are far below 2^52")]
fn weight(domains: usize) -> f64 {
    (domains as f64 + 2.0).ln()
}

impl Wish<'_> {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "pod counts are far below 2^52"
    )]
    fn cost(&self, slot: usize) -> i64 {
        let pods = match self.topology {
            None => {
                let pods = self.by_slot.and_then(|by_slot| by_slot.get(&slot));
                i64::from(pods.copied().unwrap_or_default())
            }
            Some(topology) => match topology.domain(slot) {
                Some(domain) => self.by_domain[domain],
                None => return 0,
            },
        };
        (pods as f64 * self.weight).round() as i64 + (self.max_skew - 1)
    }
}
