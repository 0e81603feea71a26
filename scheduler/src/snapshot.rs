//! The cluster as one scheduling cycle sees it.
//!
//! A snapshot is kept up to date by small changes and never copied: its one owner applies what
//! happened between cycles, and a cycle only reads it. Whatever a plugin would have to count over
//! all pods is counted as pods come and go ([`counts`]), so that no cycle costs O(pods).
//!
//! ```text
//! nodes, pods, namespaces --> apply --> [slots | order | counts] --> cycle(&Snapshot)
//! ```

pub mod counts;
pub mod topology;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    node::{NodeInfo, NodeOffer, ZONE},
    pod::{PodInfo, PodKey},
    query::NamespaceLabels,
    selector::Labels,
};
use counts::Counts;
use topology::Topologies;

/// The cluster as a cycle sees it.
#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: Vec<NodeInfo>,
    slots: HashMap<Arc<str>, usize>,
    free_slots: Vec<usize>,
    present: usize,
    order: Vec<usize>,
    order_is_stale: bool,
    pods: HashMap<PodKey, usize>,
    namespaces: NamespaceLabels,
    images: HashMap<Arc<str>, usize>,
    counts: Counts,
    topologies: Topologies,
}

impl Snapshot {
    /// Candidates in the order in which they are tried: zones take turns.
    pub fn order(&self) -> &[usize] {
        debug_assert!(!self.order_is_stale, "prepare() comes before a cycle");
        &self.order
    }

    /// Number of nodes that are present.
    pub fn node_count(&self) -> usize {
        self.present
    }

    /// The node in a slot.
    pub fn node(&self, slot: usize) -> &NodeInfo {
        &self.nodes[slot]
    }

    /// A present node by name.
    pub fn node_named(&self, name: &str) -> Option<&NodeInfo> {
        let node = &self.nodes[*self.slots.get(name)?];
        node.offer.is_some().then_some(node)
    }

    /// The node on which a pod is placed.
    pub fn node_of(&self, key: &PodKey) -> Option<&NodeInfo> {
        self.pods.get(key).map(|slot| &self.nodes[*slot])
    }

    /// A placed pod.
    pub fn pod(&self, key: &PodKey) -> Option<&Arc<PodInfo>> {
        self.node_of(key)?.pods.iter().find(|pod| pod.key == *key)
    }

    /// Labels of namespaces.
    pub fn namespaces(&self) -> &NamespaceLabels {
        &self.namespaces
    }

    /// How many nodes hold an image.
    pub fn nodes_with_image(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or_default()
    }

    /// Counts of placed pods.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Domains of nodes by label.
    pub fn topologies(&self) -> &Topologies {
        &self.topologies
    }

    /// Adds a node or changes what it offers; the former offer, if that differs.
    pub fn set_node(&mut self, name: &str, offer: Arc<NodeOffer>) -> NodeChange {
        let slot = self.slot(name);
        if self.nodes[slot].offer.as_ref() == Some(&offer) {
            return NodeChange::None;
        }
        self.count_images(&offer.images, true);
        let former = self.nodes[slot].offer.replace(offer);
        match &former {
            Some(former) => self.count_images(&former.images, false),
            None => self.present += 1,
        }
        let offer = self.nodes[slot].offer();
        let relabelled = former.as_ref().is_none_or(|f| f.labels != offer.labels);
        if relabelled {
            self.order_is_stale = true;
            self.topologies.forget_nodes();
        }
        if former.is_some() { NodeChange::Changed(slot) } else { NodeChange::Added(slot) }
    }

    /// Removes a node. Its pods stay counted until they are deleted.
    pub fn remove_node(&mut self, name: &str) {
        let Some(slot) = self.slots.get(name).copied() else { return };
        let Some(offer) = self.nodes[slot].offer.take() else { return };
        self.present -= 1;
        self.count_images(&offer.images, false);
        self.order_is_stale = true;
        self.topologies.forget_nodes();
        self.free_if_empty(slot);
    }

    /// Places a pod on a node.
    pub fn place(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.displace(&pod.key);
        let slot = self.slot(node);
        self.pods.insert(pod.key.clone(), slot);
        self.counts.add(&pod, slot, &self.namespaces);
        self.nodes[slot].add(pod);
    }

    /// Replaces a placed pod by a later state of it that counts the same.
    pub fn refresh(&mut self, pod: Arc<PodInfo>) {
        let Some(slot) = self.pods.get(&pod.key) else { return };
        if let Some(placed) = self.nodes[*slot].pods.iter_mut().find(|p| p.key == pod.key) {
            *placed = pod;
        }
    }

    /// Takes a pod off its node, which is returned with it.
    pub fn displace(&mut self, key: &PodKey) -> Option<(Arc<PodInfo>, usize)> {
        let slot = self.pods.remove(key)?;
        let pod = self.nodes[slot].remove(key).expect("a placed pod is on its node");
        self.counts.remove(&pod, slot, &self.namespaces);
        self.free_if_empty(slot);
        Some((pod, slot))
    }

    /// Sets a namespace's labels, or forgets it.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        if self.namespaces.get(name) == labels.as_ref() {
            return;
        }
        self.counts.forget_queries_by_namespace_labels();
        match labels {
            Some(labels) => self.namespaces.insert(name.into(), labels),
            None => self.namespaces.remove(name),
        };
    }

    /// Makes ready what a cycle for this pod reads: once per pod, outside the cycle.
    pub fn prepare(&mut self, pod: &PodInfo) {
        if self.order_is_stale {
            self.order = zone_by_turn(&self.nodes);
            self.order_is_stale = false;
        }
        let queries = pod
            .spread
            .iter()
            .map(|c| &c.query)
            .chain(&pod.affinity.required_query)
            .chain(pod.affinity.required_anti.iter().map(|t| &t.query))
            .chain(pod.affinity.preferred.iter().map(|(_, t)| &t.query));
        self.counts.ensure(queries, &self.nodes, &self.namespaces);
        let own = pod.spread.iter().map(|c| &c.topology_key);
        let own = own.chain(pod.affinity.required.iter().map(|t| &t.topology_key));
        let own = own.chain(pod.affinity.required_anti.iter().map(|t| &t.topology_key));
        let own = own.chain(pod.affinity.preferred.iter().map(|(_, t)| &t.topology_key));
        let zone = pod.spreads_by_default().then(|| Arc::from(ZONE));
        let all = own.chain(self.counts.held_topology_keys()).cloned().chain(zone);
        let keys: Vec<Arc<str>> = all.collect();
        self.topologies.ensure(&keys, &self.nodes);
    }

    fn slot(&mut self, name: &str) -> usize {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let name: Arc<str> = name.into();
        let slot = self.free_slots.pop().unwrap_or(self.nodes.len());
        let node = NodeInfo::unknown(slot, name.clone());
        match self.nodes.get_mut(slot) {
            Some(free) => *free = node,
            None => self.nodes.push(node),
        }
        self.slots.insert(name, slot);
        slot
    }

    fn free_if_empty(&mut self, slot: usize) {
        let node = &self.nodes[slot];
        if node.offer.is_none() && node.pods.is_empty() {
            self.slots.remove(&node.name);
            self.free_slots.push(slot);
        }
    }

    fn count_images(&mut self, images: &BTreeMap<Arc<str>, i64>, more: bool) {
        for image in images.keys() {
            let nodes = self.images.entry(image.clone()).or_default();
            if more {
                *nodes += 1;
            } else {
                *nodes -= 1;
                if *nodes == 0 {
                    self.images.remove(image);
                }
            }
        }
    }
}

/// What became of a node that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// It offers what it offered.
    None,
    /// It is new.
    Added(usize),
    /// It offers something else.
    Changed(usize),
}

/// Slots of present nodes, one zone after the other in turn, so that the first nodes tried are
/// spread over zones.
fn zone_by_turn(nodes: &[NodeInfo]) -> Vec<usize> {
    let mut zones: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for node in nodes {
        if let Some(offer) = &node.offer {
            zones.entry(offer.zone()).or_default().push(node.slot);
        }
    }
    let longest = zones.values().map(Vec::len).max().unwrap_or_default();
    (0..longest).flat_map(|turn| zones.values().filter_map(move |z| z.get(turn).copied())).collect()
}
