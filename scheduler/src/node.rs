//! What scheduling needs to know of a node: what it offers, and what is placed on it.

use std::{collections::BTreeMap, sync::Arc};

use kontiki_api::{
    Object,
    k8s_openapi::api::core::v1::{Node, Taint},
};

use crate::{
    pod::{HostPort, PodInfo, PodKey},
    resources::{Load, Resources},
    selector::Labels,
};

/// The label that names a node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// Labels that place a node in a zone, with its region before it.
const ZONE_LABELS: [(&str, &str); 2] = [
    ("topology.kubernetes.io/region", ZONE),
    ("failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone"),
];

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeOffer {
    /// Its labels.
    pub labels: Labels,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// What pods may use.
    pub allocatable: Resources,
    /// Sizes of the images it holds.
    pub images: BTreeMap<Arc<str>, i64>,
}

impl NodeOffer {
    /// Reads a node.
    pub fn new(node: &Node) -> NodeOffer {
        let status = node.status.as_ref();
        let spec = node.spec.as_ref();
        let images = status.and_then(|s| s.images.as_ref());
        NodeOffer {
            labels: node.metadata().labels.clone().unwrap_or_default(),
            taints: spec.and_then(|s| s.taints.clone()).unwrap_or_default(),
            unschedulable: spec.and_then(|s| s.unschedulable).unwrap_or_default(),
            allocatable: status
                .and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()))
                .map(Resources::from_list)
                .unwrap_or_default(),
            images: images
                .into_iter()
                .flatten()
                .flat_map(|image| {
                    let size = image.size_bytes.unwrap_or_default();
                    image.names.iter().flatten().map(move |n| (Arc::from(n.as_str()), size))
                })
                .collect(),
        }
    }

    /// Region and zone in one, empty for a node in none.
    pub fn zone(&self) -> String {
        for (region, zone) in ZONE_LABELS {
            let (region, zone) = (self.labels.get(region), self.labels.get(zone));
            if region.is_some() || zone.is_some() {
                let text = |label: Option<&String>| label.cloned().unwrap_or_default();
                return format!("{}:{}", text(region), text(zone));
            }
        }
        String::new()
    }
}

/// A node with what is placed on it.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Its place in the snapshot's tables.
    pub slot: usize,
    /// Its name.
    pub name: Arc<str>,
    /// What it offers; `None` while pods are bound to a node that is not (or no longer) there.
    pub offer: Option<Arc<NodeOffer>>,
    /// Sum of what its pods ask for.
    pub requested: Resources,
    /// The same as scores count it.
    pub scored: Load,
    /// Its pods, bound or assumed.
    pub pods: Vec<Arc<PodInfo>>,
    /// Ports its pods take.
    pub ports: Vec<HostPort>,
}

impl NodeInfo {
    /// A node of which nothing is known yet.
    pub(crate) fn unknown(slot: usize, name: Arc<str>) -> NodeInfo {
        NodeInfo {
            slot,
            name,
            offer: None,
            requested: Resources::default(),
            scored: Load::default(),
            pods: Vec::new(),
            ports: Vec::new(),
        }
    }

    /// What the node offers. Only present nodes are ever candidates.
    pub fn offer(&self) -> &NodeOffer {
        self.offer.as_ref().expect("candidates are nodes that are present")
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(pod.requested());
        self.scored.milli_cpu += pod.requests.scored.milli_cpu;
        self.scored.memory += pod.requests.scored.memory;
        self.ports.extend(pod.host_ports.iter().cloned());
        self.pods.push(pod);
    }

    pub(crate) fn remove(&mut self, key: &PodKey) -> Option<Arc<PodInfo>> {
        let index = self.pods.iter().position(|pod| pod.key == *key)?;
        let pod = self.pods.swap_remove(index);
        self.requested.subtract(pod.requested());
        self.scored.milli_cpu -= pod.requests.scored.milli_cpu;
        self.scored.memory -= pod.requests.scored.memory;
        for port in &pod.host_ports {
            if let Some(index) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(index);
            }
        }
        Some(pod)
    }
}
