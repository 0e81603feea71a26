//! Domains: nodes with the same value of a label are one place.

use std::{collections::HashMap, sync::Arc};

use crate::node::NodeInfo;

/// Index of a domain within its topology.
pub type Domain = u32;

const NONE: Domain = Domain::MAX;

/// Domains of every label that some pod asked about.
#[derive(Debug, Default)]
pub struct Topologies {
    by_key: HashMap<Arc<str>, Topology>,
}

/// The domains of one label.
#[derive(Debug, Default)]
pub struct Topology {
    of_slot: Vec<Domain>,
    domains: usize,
}

impl Topology {
    fn new(key: &str, nodes: &[NodeInfo]) -> Topology {
        let mut names: HashMap<&str, Domain> = HashMap::new();
        let mut of_slot = vec![NONE; nodes.len()];
        for node in nodes {
            let Some(value) = node.offer.as_ref().and_then(|o| o.labels.get(key)) else { continue };
            let next = Domain::try_from(names.len()).expect("fewer domains than slots");
            of_slot[node.slot] = *names.entry(value).or_insert(next);
        }
        Topology { of_slot, domains: names.len() }
    }

    /// The domain of a node, if it carries the label.
    pub fn domain(&self, slot: usize) -> Option<usize> {
        self.of_slot.get(slot).filter(|d| **d != NONE).map(|d| *d as usize)
    }

    /// Number of domains.
    pub fn len(&self) -> usize {
        self.domains
    }

    /// Whether no node carries the label.
    pub fn is_empty(&self) -> bool {
        self.domains == 0
    }
}

impl Topologies {
    /// The domains of a label. [`super::Snapshot::prepare`] made it ready.
    pub fn of(&self, key: &str) -> &Topology {
        self.by_key.get(key).expect("prepare() made the topologies of the pod ready")
    }

    pub(super) fn ensure(&mut self, keys: &[Arc<str>], nodes: &[NodeInfo]) {
        for key in keys {
            if !self.by_key.contains_key(key) {
                self.by_key.insert(key.clone(), Topology::new(key, nodes));
            }
        }
    }

    /// Nodes came, went or were labelled: everything is computed again when it is needed.
    pub(super) fn forget_nodes(&mut self) {
        self.by_key.clear();
    }
}
