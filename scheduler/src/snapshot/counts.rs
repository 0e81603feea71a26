//! How many placed pods of which sort are on which node, kept as pods come and go.
//!
//! Three tables: pods by controller (always kept, for spreading by default), pods by query (kept
//! for the queries of recently scheduled pods), and the affinity terms that placed pods hold
//! against or for others.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    node::NodeInfo,
    pod::{AffinityTerm, PodInfo},
    query::{NamespaceLabels, Query},
};

/// Queries kept at once; a workload uses one or a few. The least recently used go first.
const QUERIES_MAX: usize = 2_000;

/// Number of pods by slot; nodes without any are absent.
pub type BySlot = HashMap<usize, u32>;

/// What a placed pod's affinity says about pods to come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// They must not come near.
    Anti(AffinityTerm),
    /// It needs them near: they are drawn near in turn.
    Required(AffinityTerm),
    /// They are wanted, or unwanted, with this weight.
    Preferred(i64, AffinityTerm),
}

impl Held {
    /// The term.
    pub fn term(&self) -> &AffinityTerm {
        match self {
            Held::Anti(term) | Held::Required(term) | Held::Preferred(_, term) => term,
        }
    }
}

#[derive(Debug)]
struct Counted {
    by_slot: BySlot,
    last_used: u64,
}

/// Counts of placed pods.
#[derive(Debug, Default)]
pub struct Counts {
    owners: HashMap<Arc<str>, BySlot>,
    queries: HashMap<Query, Counted>,
    held: HashMap<Held, BySlot>,
    held_keys: HashMap<Arc<str>, usize>,
    clock: u64,
}

impl Counts {
    /// Pods of a controller by node.
    pub fn of_owner(&self, owner: &str) -> Option<&BySlot> {
        self.owners.get(owner)
    }

    /// Pods that match a query by node. [`super::Snapshot::prepare`] made it ready.
    pub fn of_query(&self, query: &Query) -> &BySlot {
        let counted = self.queries.get(query);
        &counted.expect("prepare() made the queries of the pod ready").by_slot
    }

    /// Terms that placed pods hold, with the nodes of their holders.
    pub fn held(&self) -> impl Iterator<Item = (&Held, &BySlot)> {
        self.held.iter()
    }

    pub(super) fn held_topology_keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.held_keys.keys()
    }

    pub(super) fn add(&mut self, pod: &PodInfo, slot: usize, namespaces: &NamespaceLabels) {
        if let Some(owner) = counted_owner(pod) {
            increment(self.owners.entry(owner.clone()).or_default(), slot);
        }
        for (query, counted) in &mut self.queries {
            if query.matches(pod, namespaces) {
                increment(&mut counted.by_slot, slot);
            }
        }
        for held in held_by(pod) {
            let key = held.term().topology_key.clone();
            let by_slot = self.held.entry(held).or_insert_with(|| {
                *self.held_keys.entry(key).or_default() += 1;
                BySlot::new()
            });
            increment(by_slot, slot);
        }
    }

    pub(super) fn remove(&mut self, pod: &PodInfo, slot: usize, namespaces: &NamespaceLabels) {
        if let Some(owner) = counted_owner(pod)
            && let Some(by_slot) = self.owners.get_mut(owner)
        {
            decrement(by_slot, slot);
            if by_slot.is_empty() {
                self.owners.remove(owner);
            }
        }
        for (query, counted) in &mut self.queries {
            if query.matches(pod, namespaces) {
                decrement(&mut counted.by_slot, slot);
            }
        }
        for held in held_by(pod) {
            let Some(by_slot) = self.held.get_mut(&held) else { continue };
            decrement(by_slot, slot);
            if by_slot.is_empty() {
                self.held.remove(&held);
                let key = &held.term().topology_key;
                let users = self.held_keys.get_mut(key).expect("held terms count their keys");
                *users -= 1;
                if *users == 0 {
                    self.held_keys.remove(key);
                }
            }
        }
    }

    /// Starts counting for queries that are not counted yet: the one walk over all pods.
    pub(super) fn ensure<'a>(
        &mut self,
        queries: impl Iterator<Item = &'a Query>,
        nodes: &[NodeInfo],
        namespaces: &NamespaceLabels,
    ) {
        self.clock += 1;
        for query in queries {
            if let Some(counted) = self.queries.get_mut(query) {
                counted.last_used = self.clock;
                continue;
            }
            let mut by_slot = BySlot::new();
            for node in nodes {
                let pods = node.pods.iter().filter(|p| query.matches(p, namespaces));
                let matching = u32::try_from(pods.count()).unwrap_or(u32::MAX);
                if matching > 0 {
                    by_slot.insert(node.slot, matching);
                }
            }
            self.queries.insert(query.clone(), Counted { by_slot, last_used: self.clock });
        }
        if self.queries.len() > QUERIES_MAX {
            self.drop_least_recent();
        }
    }

    /// Namespaces' labels changed: what depended on them is counted again when it is needed.
    pub(super) fn forget_queries_by_namespace_labels(&mut self) {
        self.queries.retain(|query, _| !query.selects_namespaces());
    }

    fn drop_least_recent(&mut self) {
        let mut uses: Vec<u64> = self.queries.values().map(|c| c.last_used).collect();
        uses.sort_unstable();
        let oldest_kept = uses[uses.len() / 2].min(self.clock);
        self.queries.retain(|_, counted| counted.last_used >= oldest_kept);
    }
}

/// Pods that are being deleted are about to make room: spreading looks past them.
fn counted_owner(pod: &PodInfo) -> Option<&Arc<str>> {
    pod.owner.as_ref().filter(|_| !pod.deleting)
}

fn held_by(pod: &PodInfo) -> HashSet<Held> {
    let affinity = &pod.affinity;
    let anti = affinity.required_anti.iter().cloned().map(Held::Anti);
    let required = affinity.required.iter().cloned().map(Held::Required);
    let preferred = affinity.preferred.iter().cloned().map(|(w, t)| Held::Preferred(w, t));
    anti.chain(required).chain(preferred).collect()
}

fn increment(by_slot: &mut BySlot, slot: usize) {
    *by_slot.entry(slot).or_default() += 1;
}

fn decrement(by_slot: &mut BySlot, slot: usize) {
    if let Some(count) = by_slot.get_mut(&slot) {
        *count -= 1;
        if *count == 0 {
            by_slot.remove(&slot);
        }
    }
}
