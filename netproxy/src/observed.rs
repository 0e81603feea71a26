//! Services, EndpointSlices and Nodes as they are now, indexed for the proxy and for DNS.
//!
//! The informers' handlers put changes in; the proxy takes the set of what is dirty; DNS looks
//! things up while it answers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use kontiki_api::typed::Object;
use kontiki_client::ObjectKey;
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::Notify;

use crate::{plan::cluster_addresses, routes};

/// Says which service an EndpointSlice belongs to.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What is observed, shared by those who watch and those who ask.
#[derive(Debug, Default)]
pub struct Observed {
    state: RwLock<State>,
    changed: Notify,
}

/// What is there now.
#[derive(Debug, Default)]
pub struct State {
    services: HashMap<ObjectKey, Arc<Service>>,
    slices: HashMap<ObjectKey, BTreeMap<ObjectKey, Arc<EndpointSlice>>>,
    nodes: BTreeMap<String, Arc<Node>>,
    by_address: HashMap<IpAddr, BTreeSet<ObjectKey>>,
    namespaces: BTreeMap<String, usize>,
    dirty: Dirty,
}

/// What has changed since it was last taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Services that changed themselves or by their endpoints.
    pub services: BTreeSet<ObjectKey>,
    /// Changes of Service objects.
    pub service_changes: u64,
    /// Changes of EndpointSlice objects.
    pub endpoint_changes: u64,
    /// Some Node changed.
    pub nodes: bool,
}

impl Observed {
    /// What is there now. The guard must not be held across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// Waits until something is dirty.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes what is dirty.
    pub fn take_dirty(&self) -> Dirty {
        std::mem::take(&mut self.state.write().dirty)
    }

    /// Makes everything dirty.
    pub fn touch_all(&self) {
        let mut state = self.state.write();
        state.dirty.services = state.services.keys().cloned().collect();
        state.dirty.nodes = true;
        self.changed.notify_one();
    }

    /// A Service came, changed or went.
    pub fn set_service(&self, key: &ObjectKey, new: Option<&Arc<Service>>) {
        let mut guard = self.state.write();
        let state = &mut *guard;
        let old = match new {
            Some(service) => state.services.insert(key.clone(), service.clone()),
            None => state.services.remove(key),
        };
        let addresses = |service: Option<&Arc<Service>>| -> Vec<IpAddr> {
            let spec = service.and_then(|service| service.spec.as_ref());
            spec.into_iter().flat_map(cluster_addresses).collect()
        };
        for address in addresses(old.as_ref()) {
            remove(&mut state.by_address, address, key);
        }
        for address in addresses(new) {
            state.by_address.entry(address).or_default().insert(key.clone());
        }
        match (old.is_some(), new.is_some()) {
            (false, true) => *state.namespaces.entry(key.namespace.clone()).or_default() += 1,
            (true, false) => {
                if let Some(count) = state.namespaces.get_mut(&key.namespace) {
                    *count -= 1;
                }
                state.namespaces.retain(|_, count| *count > 0);
            }
            _ => {}
        }
        state.dirty.services.insert(key.clone());
        state.dirty.service_changes += 1;
        self.changed.notify_one();
    }

    /// An EndpointSlice came, changed or went.
    pub fn set_slice(
        &self,
        key: &ObjectKey,
        old: Option<&EndpointSlice>,
        new: Option<&Arc<EndpointSlice>>,
    ) {
        let mut guard = self.state.write();
        let state = &mut *guard;
        if let Some((old, service)) = old.and_then(|old| Some((old, service_of(old)?))) {
            if let Some(slices) = state.slices.get_mut(&service) {
                slices.remove(key);
                if slices.is_empty() {
                    state.slices.remove(&service);
                }
            }
            for address in slice_addresses(old) {
                remove(&mut state.by_address, address, &service);
            }
            // Another slice of the service may hold the same address.
            let rest: Vec<_> =
                state.slices.get(&service).into_iter().flat_map(BTreeMap::values).collect();
            for address in rest.into_iter().flat_map(|slice| slice_addresses(slice)) {
                state.by_address.entry(address).or_default().insert(service.clone());
            }
            state.dirty.services.insert(service);
        }
        if let Some((new, service)) = new.and_then(|new| Some((new, service_of(new)?))) {
            for address in slice_addresses(new) {
                state.by_address.entry(address).or_default().insert(service.clone());
            }
            state.slices.entry(service.clone()).or_default().insert(key.clone(), new.clone());
            state.dirty.services.insert(service);
        }
        state.dirty.endpoint_changes += 1;
        self.changed.notify_one();
    }

    /// A Node came, changed or went.
    pub fn set_node(&self, name: &str, new: Option<Arc<Node>>) {
        let place = |node: &Node| (routes::internal_addresses(node), routes::pod_ranges(node));
        let after = new.as_deref().map(place);
        let mut state = self.state.write();
        let before = match new {
            Some(node) => state.nodes.insert(name.to_owned(), node),
            None => state.nodes.remove(name),
        };
        // Nodes report their status all the time, and hardly ever move.
        if before.as_deref().map(place) != after {
            state.dirty.nodes = true;
            self.changed.notify_one();
        }
    }
}

impl State {
    /// A service.
    pub fn service(&self, key: &ObjectKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The EndpointSlices of a service.
    pub fn slices(&self, service: &ObjectKey) -> Vec<Arc<EndpointSlice>> {
        self.slices.get(service).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Every EndpointSlice.
    pub fn all_slices(&self) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices.values().flat_map(BTreeMap::values)
    }

    /// Every Node.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The services that have `address`, as their own or as an endpoint's.
    pub fn services_at(&self, address: IpAddr) -> impl Iterator<Item = &ObjectKey> {
        self.by_address.get(&address).into_iter().flatten()
    }

    /// Whether a namespace has any service.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains_key(name)
    }
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    Some(ObjectKey::new(slice.namespace(), name.clone()))
}

fn slice_addresses(slice: &EndpointSlice) -> impl Iterator<Item = IpAddr> {
    let endpoints = slice.endpoints.iter().flatten();
    endpoints.filter_map(|endpoint| endpoint.addresses.first()?.parse().ok())
}

fn remove(index: &mut HashMap<IpAddr, BTreeSet<ObjectKey>>, address: IpAddr, key: &ObjectKey) {
    if let Some(keys) = index.get_mut(&address) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(address: &str, heartbeat: &str) -> Option<Arc<Node>> {
        let node = Node::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
            "spec": {"podCIDR": "10.42.0.0/24"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": address}],
                "conditions": [
                    {"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat},
                ],
            },
        }));
        Some(Arc::new(node.expect("a Node")))
    }

    #[test]
    fn only_a_node_that_moves_is_a_change() {
        let observed = Observed::default();
        let moves = |node: Option<Arc<Node>>| {
            observed.set_node("n1", node);
            observed.take_dirty().nodes
        };
        assert!(moves(node("10.99.0.11", "2026-11-20T10:00:00Z")));
        assert!(!moves(node("10.99.0.11", "2026-11-20T10:00:10Z")), "a heartbeat");
        assert!(moves(node("10.99.0.12", "2026-11-20T10:00:20Z")), "a new address");
        assert!(moves(None));
        assert!(!moves(None));
    }
}
