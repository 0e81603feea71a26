//! One scheduling cycle: which node takes this pod? Pure: equal inputs give an equal answer.
//!
//! ```text
//! candidates --filters, in order, until enough nodes fit--> feasible --scores--> the best
//! ```
//!
//! On large clusters not every node is looked at: as upstream, a share of the nodes that shrinks
//! with their number is enough, and the next cycle goes on where this one stopped.

use crate::{
    plugins::{FILTERS, NodeCheck, PreFilter, PreScore, SCORES},
    pod::PodInfo,
    snapshot::Snapshot,
    verdict::{FitError, Reason, Verdict},
};

/// Clusters up to this size are looked at as a whole.
const FEASIBLE_NODES_MIN: usize = 100;
/// The share never falls below this.
const PERCENTAGE_MIN: usize = 5;

/// What a cycle needs besides the pod and the snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub struct CycleInput {
    /// `percentageOfNodesToScore`; `None` chooses by the size of the cluster.
    pub percentage_of_nodes_to_score: Option<usize>,
    /// Where in the order of nodes to begin.
    pub start: usize,
    /// A random number that decides between equally good nodes.
    pub tie_break: u64,
}

/// What a cycle found.
#[derive(Clone, Debug)]
pub struct CycleOutput {
    /// The slot of the best node, or why there is none.
    pub decision: Result<usize, FitError>,
    /// How many nodes were looked at: the next cycle begins that much further on.
    pub evaluated: usize,
    /// How many of them fit.
    pub feasible: usize,
}

/// The filters that have something to say about a pod.
pub(crate) struct Filters<'a> {
    checks: Vec<(&'static str, NodeCheck<'a>)>,
    among: Option<Vec<usize>>,
    narrowed_by: Option<&'static str>,
}

impl<'a> Filters<'a> {
    /// Lets every filter look at the pod.
    pub(crate) fn new(
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
    ) -> Result<Filters<'a>, Box<FitError>> {
        let mut filters = Filters { checks: Vec::new(), among: None, narrowed_by: None };
        for plugin in FILTERS {
            match plugin.filter(pod, cluster) {
                PreFilter::Skip => {}
                PreFilter::Reject(verdict) => {
                    let mut error = FitError { nodes: cluster.node_count(), ..FitError::default() };
                    error.refuse(plugin.name(), None, verdict);
                    return Err(Box::new(error));
                }
                PreFilter::Check(check) => filters.checks.push((plugin.name(), check)),
                PreFilter::Among(slots, check) => {
                    filters.checks.push((plugin.name(), check));
                    filters.among = Some(slots);
                    filters.narrowed_by = Some(plugin.name());
                }
            }
        }
        Ok(filters)
    }

    /// The first refusal of a node, with the filter that spoke it.
    pub(crate) fn refusal(
        &self,
        cluster: &Snapshot,
        slot: usize,
    ) -> Option<(&'static str, Verdict)> {
        let node = cluster.node(slot);
        self.checks.iter().find_map(|(name, check)| match check(node) {
            Verdict::Fits => None,
            refusal => Some((*name, refusal)),
        })
    }
}

/// Finds the best node for a pod.
pub fn schedule(pod: &PodInfo, cluster: &Snapshot, input: CycleInput) -> CycleOutput {
    let nodes = cluster.node_count();
    let filters = match Filters::new(pod, cluster) {
        Ok(filters) => filters,
        Err(error) => return CycleOutput { decision: Err(*error), evaluated: 0, feasible: 0 },
    };
    let candidates = filters.among.as_deref().unwrap_or(cluster.order());
    let wanted = feasible_wanted(candidates.len(), input.percentage_of_nodes_to_score);
    let mut error = FitError { nodes, ..FitError::default() };
    let mut feasible = Vec::with_capacity(wanted);
    let mut evaluated = 0;
    let start = if candidates.is_empty() { 0 } else { input.start % candidates.len() };
    for slot in candidates[start..].iter().chain(&candidates[..start]) {
        evaluated += 1;
        match filters.refusal(cluster, *slot) {
            Some((plugin, refusal)) => error.refuse(plugin, Some(*slot), refusal),
            None => feasible.push(*slot),
        }
        if feasible.len() == wanted {
            break;
        }
    }
    if feasible.is_empty() {
        if let Some(plugin) = filters.narrowed_by {
            let text = format!("node(s) didn't satisfy plugin(s) [{plugin}]");
            error.rejected_by.insert(plugin);
            let others = nodes - candidates.len();
            if others > 0 {
                error.reasons.insert(Reason::from(text), others);
            }
        }
        return CycleOutput { decision: Err(error), evaluated, feasible: 0 };
    }
    let best = best(pod, cluster, &feasible, input.tie_break);
    CycleOutput { decision: Ok(best), evaluated, feasible: feasible.len() }
}

/// How many feasible nodes are enough.
fn feasible_wanted(nodes: usize, percentage: Option<usize>) -> usize {
    if nodes < FEASIBLE_NODES_MIN {
        return nodes;
    }
    let percentage =
        percentage.unwrap_or_else(|| 50usize.saturating_sub(nodes / 125).max(PERCENTAGE_MIN));
    (nodes * percentage.min(100) / 100).max(FEASIBLE_NODES_MIN)
}

/// The node with the highest total; one of them if several have it.
fn best(pod: &PodInfo, cluster: &Snapshot, feasible: &[usize], tie_break: u64) -> usize {
    if let [only] = feasible {
        return *only;
    }
    let totals = totals(pod, cluster, feasible);
    let highest = totals.iter().copied().max().unwrap_or_default();
    let winners: Vec<usize> = feasible
        .iter()
        .zip(&totals)
        .filter(|(_, total)| **total == highest)
        .map(|(slot, _)| *slot)
        .collect();
    let winner = tie_break % u64::try_from(winners.len()).expect("a count fits");
    winners[usize::try_from(winner).expect("an index fits")]
}

fn totals(pod: &PodInfo, cluster: &Snapshot, feasible: &[usize]) -> Vec<i64> {
    let mut totals = vec![0; feasible.len()];
    let mut scores = Vec::with_capacity(feasible.len());
    for (weight, plugin) in SCORES {
        let PreScore::Each(score, normalize) = plugin.score(pod, cluster, feasible) else {
            continue;
        };
        scores.clear();
        scores.extend(feasible.iter().map(|slot| score(cluster.node(*slot))));
        normalize.apply(&mut scores);
        for (total, score) in totals.iter_mut().zip(&scores) {
            *total += weight * score;
        }
    }
    totals
}

#[cfg(test)]
mod tests;
