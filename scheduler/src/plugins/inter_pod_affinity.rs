//! InterPodAffinity: pods that want, or do not want, to be near others; and others that do not
//! want to be near them.

use super::{FilterPlugin, Normalize, Plugin, PreFilter, PreScore, ScorePlugin};
use crate::{
    node::NodeInfo,
    pod::{AffinityTerm, PodInfo},
    snapshot::{
        Snapshot,
        counts::{BySlot, Held},
        topology::Topology,
    },
    verdict::{Reason, Verdict},
};

/// How strongly a placed pod that needs others near draws them, upstream's default.
const HARD_POD_AFFINITY_WEIGHT: i64 = 1;

/// The plugin.
pub(super) struct InterPodAffinity;

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }
}

/// Something counted per domain of one label.
struct Places<'a> {
    topology: &'a Topology,
    by_domain: Vec<i64>,
}

impl<'a> Places<'a> {
    fn new(cluster: &'a Snapshot, key: &str) -> Places<'a> {
        let topology = cluster.topologies().of(key);
        Places { topology, by_domain: vec![0; topology.len()] }
    }

    fn counting(cluster: &'a Snapshot, key: &str, by_slot: &BySlot) -> Places<'a> {
        let mut places = Places::new(cluster, key);
        places.add(by_slot, 1);
        places
    }

    fn add(&mut self, by_slot: &BySlot, weight: i64) {
        for (slot, pods) in by_slot {
            if let Some(domain) = self.topology.domain(*slot) {
                self.by_domain[domain] += weight * i64::from(*pods);
            }
        }
    }

    fn at(&self, node: &NodeInfo) -> Option<i64> {
        self.topology.domain(node.slot).map(|domain| self.by_domain[domain])
    }
}

impl FilterPlugin for InterPodAffinity {
    fn filter<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot) -> PreFilter<'a> {
        let counts = cluster.counts();
        let query = |t: &AffinityTerm| counts.of_query(&t.query);
        let wanted: Vec<Places<'a>> = match &pod.affinity.required_query {
            None => Vec::new(),
            Some(all) => pod
                .affinity
                .required
                .iter()
                .map(|t| Places::counting(cluster, &t.topology_key, counts.of_query(all)))
                .collect(),
        };
        let unwanted: Vec<Places<'a>> = pod
            .affinity
            .required_anti
            .iter()
            .map(|t| Places::counting(cluster, &t.topology_key, query(t)))
            .collect();
        let closed = closed_to(pod, cluster);
        if wanted.is_empty() && unwanted.is_empty() && closed.is_empty() {
            return PreFilter::Skip;
        }
        // The first of a group that wants to be together may go anywhere.
        let alone = wanted.iter().all(|places| places.by_domain.iter().all(|n| *n == 0));
        let own = pod.affinity.required_query.as_ref();
        let starts_group = alone && own.is_some_and(|q| q.matches(pod, cluster.namespaces()));
        PreFilter::Check(Box::new(move |node| {
            let near = |places: &Places<'_>| match places.at(node) {
                None => false,
                Some(pods) => pods > 0 || starts_group,
            };
            if !wanted.iter().all(near) {
                return Verdict::unresolvable(Reason::new(
                    "node(s) didn't match pod affinity rules",
                ));
            }
            let taken = |places: &Places<'_>| places.at(node).is_some_and(|pods| pods > 0);
            if unwanted.iter().any(taken) {
                return Verdict::unschedulable(Reason::new(
                    "node(s) didn't match pod anti-affinity rules",
                ));
            }
            if closed.iter().any(taken) {
                return Verdict::unschedulable(Reason::new(
                    "node(s) didn't satisfy existing pods anti-affinity rules",
                ));
            }
            Verdict::Fits
        }))
    }

    fn woken_by_pod(&self, pod: &PodInfo, other: &PodInfo, cluster: &Snapshot) -> bool {
        let namespaces = cluster.namespaces();
        let affinity = &pod.affinity;
        let mut own = affinity.required.iter().chain(&affinity.required_anti);
        own.any(|term| term.query.matches(other, namespaces))
            || other.affinity.required_anti.iter().any(|t| t.query.matches(pod, namespaces))
    }

    fn looks_beyond_the_node(&self) -> bool {
        true
    }
}

/// Places whose pods do not want this one near.
fn closed_to<'a>(pod: &PodInfo, cluster: &'a Snapshot) -> Vec<Places<'a>> {
    let held = cluster.counts().held().filter_map(|(held, by_slot)| match held {
        Held::Anti(term) => Some((term, by_slot)),
        Held::Required(_) | Held::Preferred(..) => None,
    });
    held.filter(|(term, _)| term.query.matches(pod, cluster.namespaces()))
        .map(|(term, by_slot)| Places::counting(cluster, &term.topology_key, by_slot))
        .collect()
}

impl ScorePlugin for InterPodAffinity {
    fn score<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot, _: &[usize]) -> PreScore<'a> {
        let mut all = Vec::new();
        for (weight, term) in &pod.affinity.preferred {
            let mut places = Places::new(cluster, &term.topology_key);
            places.add(cluster.counts().of_query(&term.query), *weight);
            all.push(places);
        }
        for (held, by_slot) in cluster.counts().held() {
            let weight = match held {
                Held::Anti(_) => continue,
                Held::Required(_) => HARD_POD_AFFINITY_WEIGHT,
                Held::Preferred(weight, _) => *weight,
            };
            let term = held.term();
            if term.query.matches(pod, cluster.namespaces()) {
                let mut places = Places::new(cluster, &term.topology_key);
                places.add(by_slot, weight);
                all.push(places);
            }
        }
        if all.is_empty() {
            return PreScore::Skip;
        }
        PreScore::Each(
            Box::new(move |node| all.iter().filter_map(|places| places.at(node)).sum()),
            Normalize::Range,
        )
    }
}
