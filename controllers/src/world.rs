//! What the controllers have observed: one consistent-per-kind picture of the cluster in memory.
//!
//! Informers keep it current, planners read it, nobody else writes it. It holds the kinds whose
//! fields a controller looks at as typed objects ([`Table`]), and of every cached kind the
//! metadata that ownership needs ([`Graph`]). For each kind it knows the store's revision it has
//! passed, so that "it is not there" can be told from "I have not seen it yet".
//!
//! Three things in it are not API objects: when this process last saw a sign of life of each node
//! ([`Health`]), when it first saw a taint ([`Taints`]), and since when the present leadership lasts.

mod change;
mod graph;
mod health;
mod kind;
mod loose;
mod table;
mod taints;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace, Node, Service},
    discovery::v1::EndpointSlice,
};
use kontiki_api::{Object, slim::Pod};

pub use change::{Change, Delta};
pub use graph::{Entry, Graph};
pub use health::Health;
pub use kind::{Kind, Resource};
pub use kontiki_client::ObjectKey as Key;
pub use loose::{
    CertificateSigningRequest, ClusterRole, Endpoints, IPAddress, Job, Loose, LooseKind,
    PersistentVolume, PersistentVolumeClaim, PodDisruptionBudget, ReplicationController, Secret,
    ServiceCIDR, StatefulSet, VolumeAttributesClass,
};
pub use table::Table;
pub use taints::Taints;

/// A kind that is kept as typed objects.
pub trait Cached: Object {
    /// Its row in the table of kinds.
    const CACHED_KIND: Kind;
    /// Where the world keeps it.
    fn table(world: &World) -> &Table<Self>;
    /// Where the world keeps it, to be changed.
    fn table_mut(world: &mut World) -> &mut Table<Self>;
    /// Wraps a change of it.
    fn change<'a>(delta: Delta<'a, Self>) -> Change<'a>;
}

/// Everything observed.
#[derive(Default)]
pub struct World {
    /// Addresses of the Services' range that are taken.
    pub addresses: Table<IPAddress>,
    /// VolumeAttributesClasses.
    pub attribute_classes: Table<VolumeAttributesClass>,
    /// PodDisruptionBudgets.
    pub budgets: Table<PodDisruptionBudget>,
    /// PersistentVolumeClaims.
    pub claims: Table<PersistentVolumeClaim>,
    /// ClusterRoles.
    pub cluster_roles: Table<ClusterRole>,
    /// `kube-root-ca.crt` of each namespace; other ConfigMaps are only in the graph.
    pub config_maps: Table<ConfigMap>,
    /// Deployments.
    pub deployments: Table<Deployment>,
    /// Endpoints.
    pub endpoints: Table<Endpoints>,
    /// EndpointSlices.
    pub endpoint_slices: Table<EndpointSlice>,
    /// Jobs.
    pub jobs: Table<Job>,
    /// Leases of `kube-node-lease`; others are only in the graph.
    pub leases: Table<Lease>,
    /// Namespaces.
    pub namespaces: Table<Namespace>,
    /// Nodes.
    pub nodes: Table<Node>,
    /// Pods.
    pub pods: Table<Pod>,
    /// ReplicaSets.
    pub replica_sets: Table<ReplicaSet>,
    /// ReplicationControllers.
    pub replication_controllers: Table<ReplicationController>,
    /// Bootstrap tokens, and those of service accounts; other Secrets are only in the graph.
    pub secrets: Table<Secret>,
    /// ServiceCIDRs.
    pub service_ranges: Table<ServiceCIDR>,
    /// Services.
    pub services: Table<Service>,
    /// CertificateSigningRequests.
    pub signing_requests: Table<CertificateSigningRequest>,
    /// StatefulSets.
    pub stateful_sets: Table<StatefulSet>,
    /// PersistentVolumes.
    pub volumes: Table<PersistentVolume>,
    /// Ownership between objects of all cached kinds.
    pub graph: Graph,
    /// Signs of life of nodes.
    pub health: Health,
    /// First sights of nodes' taints.
    pub taints: Taints,
    /// Since when this process leads; before that nothing is judged.
    pub leading_since: Timestamp,
    passed: BTreeMap<Kind, PassedRevision>,
}

/// Answers the revision up to which everything of a kind has been seen.
pub type PassedRevision = Box<dyn Fn() -> u64 + Send + Sync>;

impl World {
    /// Puts an object in or replaces it; the former one is returned.
    pub fn upsert<T: Cached>(&mut self, object: Arc<T>, now: Timestamp) -> Option<Arc<T>> {
        let key = Key::of(&*object);
        self.graph.upsert(T::CACHED_KIND, &key, object.metadata());
        let old = T::table_mut(self).insert(key.clone(), object);
        self.observe_life::<T>(&key, old.as_deref(), now);
        old
    }

    /// Takes an object out and returns it.
    pub fn remove<T: Cached>(&mut self, key: &Key, now: Timestamp) -> Option<Arc<T>> {
        self.graph.remove(T::CACHED_KIND, key);
        let old = T::table_mut(self).remove(key);
        if T::CACHED_KIND == Kind::Node {
            self.health.node_removed(&key.name, now);
            self.taints.forget(&key.name);
        }
        old
    }

    fn observe_life<T: Cached>(&mut self, key: &Key, old: Option<&T>, now: Timestamp) {
        match T::CACHED_KIND {
            Kind::Lease => {
                let renewed = self.leases.get(key).and_then(|lease| health::renew_time(lease));
                self.health.renewed(&key.name, renewed, now);
            }
            Kind::Node => {
                let node = self.nodes.get(key);
                let beat = node.and_then(|node| health::last_heartbeat(node));
                self.health.heartbeat(&key.name, beat, now);
                let tainted = node.map(|node| taints::of(node)).unwrap_or_default();
                self.taints.observe(&key.name, tainted, now);
            }
            Kind::Pod if old.is_none() => {
                let node = self.pods.get(key).and_then(|pod| crate::pods::node_name(pod));
                if let Some(node) = node.filter(|node| !self.nodes.contains(&Key::new("", *node))) {
                    let node = node.to_owned();
                    self.health.node_missing(&node, now);
                }
            }
            _ => {}
        }
    }

    /// Says where the progress of a kind can be read.
    pub fn set_passed(&mut self, kind: Kind, passed: PassedRevision) {
        self.passed.insert(kind, passed);
    }

    /// The revision up to which everything of `kind` has been seen.
    pub fn passed(&self, kind: Kind) -> u64 {
        self.passed.get(&kind).map_or(0, |passed| passed())
    }

    /// The typed objects of a kind that `owner` controls or owns, by the graph.
    pub fn owned<'a, T: Cached>(&'a self, owner: &'a str) -> impl Iterator<Item = &'a Arc<T>> {
        self.graph
            .dependents(owner)
            .filter(|entry| entry.kind == T::CACHED_KIND)
            .filter_map(|entry| T::table(self).get(&entry.key))
    }
}
