//! Feeding the world from informers, and waking controllers by what changes.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace, Node, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kontiki_api::{
    Object,
    slim::{Container, Pod, Volume},
    typed::{self, DecodeError},
};
use kontiki_base::tasks::Tasks;
use kontiki_client::{Client, Informer, ListOptions, Store};
use parking_lot::RwLock;
use serde_json::{Value, json};

use super::worker::{Caches, Loop};
use crate::{
    controller::Keys,
    replicaset::rank::DELETION_COST,
    serviceaccount::{ROOT_CA, is_account_token},
    tokencleaner::is_bootstrap_token,
    world::{
        Cached, CertificateSigningRequest, Change, ClusterRole, Delta, Endpoints, IPAddress, Job,
        Kind, PersistentVolume, PersistentVolumeClaim, PodDisruptionBudget, ReplicationController,
        Secret, ServiceCIDR, StatefulSet, VolumeAttributesClass, World,
    },
};

/// Kinds that only the garbage collector asks for need not follow the store so closely.
const METADATA_BOOKMARKS: Duration = Duration::from_millis(100);

/// An object without the parts that no controller looks at; shared with the world.
#[derive(Clone, Debug)]
pub(crate) struct Trimmed<T>(Arc<T>);

/// What no controller looks at.
pub(crate) trait Trim: Object {
    /// Forgets it.
    fn trim(&mut self) {
        self.metadata_mut().managed_fields = None;
    }
}

impl Trim for ConfigMap {
    fn trim(&mut self) {
        self.metadata.managed_fields = None;
        if self.name() != ROOT_CA {
            *self = ConfigMap { metadata: bare(&self.metadata), ..ConfigMap::default() };
        }
    }
}

impl Trim for Secret {
    fn trim(&mut self) {
        if is_bootstrap_token(self) {
            let end = self.field("data")["expiration"].clone();
            *self.field_mut("data") = json!({ "expiration": end });
        } else if !is_account_token(self) {
            *self = Secret::new(bare(self.metadata()), Value::Null);
        }
    }
}

impl Trim for Pod {
    fn trim(&mut self) {
        if let Some(annotations) = &mut self.metadata.annotations {
            annotations.retain(|name, _| name == DELETION_COST);
            if annotations.is_empty() {
                self.metadata.annotations = None;
            }
        }
        if let Some(conditions) = self.status.as_mut().and_then(|status| status.conditions.as_mut())
        {
            conditions.shrink_to_fit();
        }
        let Some(spec) = &mut self.spec else { return };
        spec.affinity = None;
        spec.node_selector = None;
        spec.topology_spread_constraints = None;
        trim_containers(&mut spec.containers);
        if let Some(containers) = &mut spec.init_containers {
            trim_containers(containers);
        }
        if let Some(tolerations) = &mut spec.tolerations {
            tolerations.shrink_to_fit();
        }
        let is_claim = |volume: &Volume| {
            volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
        };
        if let Some(volumes) = &mut spec.volumes {
            volumes.retain(is_claim);
            volumes.shrink_to_fit();
        }
    }
}

/// Leaves the containers' named ports, which Services may mean.
fn trim_containers(containers: &mut Vec<Container>) {
    for container in &mut *containers {
        container.image = None;
        container.resources = None;
        let ports = container
            .ports
            .take()
            .map(|ports| ports.into_iter().filter(|port| port.name.is_some()).collect::<Vec<_>>());
        container.ports = ports.filter(|ports| !ports.is_empty()).map(|mut ports| {
            ports.shrink_to_fit();
            ports
        });
    }
    containers.retain(|container| container.ports.is_some());
    containers.shrink_to_fit();
}

macro_rules! trim {
    (managed fields: $($kept:ident)*; loose: $($loose:ident)*) => {
        $(impl Trim for $kept {})*
        $(impl Trim for $loose {
            fn trim(&mut self) {}
        })*
    };
}

trim! {
    managed fields: Deployment EndpointSlice Lease Namespace Node ReplicaSet Service;
    loose: CertificateSigningRequest ClusterRole Endpoints IPAddress Job PersistentVolume
        PersistentVolumeClaim PodDisruptionBudget ReplicationController ServiceCIDR StatefulSet
        VolumeAttributesClass
}

/// Metadata as the graph needs it.
fn bare(metadata: &ObjectMeta) -> ObjectMeta {
    ObjectMeta { managed_fields: None, annotations: None, labels: None, ..metadata.clone() }
}

impl<T: Trim> Object for Trimmed<T> {
    const GROUP: &'static str = T::GROUP;
    const VERSION: &'static str = T::VERSION;
    const KIND: &'static str = T::KIND;
    const RESOURCE: &'static str = T::RESOURCE;
    const NAMESPACED: bool = T::NAMESPACED;

    fn decode(json: &[u8]) -> Result<Self, DecodeError> {
        T::decode(json).map(Trimmed::of)
    }
    fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }
    fn read(value: &Value) -> Result<Self, DecodeError> {
        T::read(value).map(Trimmed::of)
    }
    fn to_value(&self) -> Value {
        self.0.to_value()
    }
    fn metadata(&self) -> &ObjectMeta {
        self.0.metadata()
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        Arc::make_mut(&mut self.0).metadata_mut()
    }
}

impl<T: Trim> Trimmed<T> {
    fn of(mut object: T) -> Trimmed<T> {
        object.trim();
        Trimmed(Arc::new(object))
    }
}

/// The metadata of an object of whatever kind: what the graph needs of those that no controller
/// looks at.
#[derive(Clone, Debug)]
struct Shell(ObjectMeta);

impl Object for Shell {
    const GROUP: &'static str = "meta.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "PartialObjectMetadata";
    const RESOURCE: &'static str = "";
    const NAMESPACED: bool = true;

    fn decode(json: &[u8]) -> Result<Self, DecodeError> {
        typed::decode_metadata(json).map(|metadata| Shell(bare(&metadata)))
    }
    fn encode(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }
    fn read(value: &Value) -> Result<Self, DecodeError> {
        typed::metadata(value).map(|metadata| Shell(bare(&metadata)))
    }
    fn to_value(&self) -> Value {
        json!({ "metadata": typed::metadata_value(&self.0) })
    }
    fn metadata(&self) -> &ObjectMeta {
        &self.0
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0
    }
}

/// The world, and whom to wake.
pub(crate) struct Feed {
    pub(crate) world: Arc<RwLock<World>>,
    pub(crate) loops: Arc<Vec<Arc<Loop>>>,
    pub(crate) client: Client,
    pub(crate) tasks: Tasks,
    pub(crate) caches: Caches,
}

impl Feed {
    /// Starts informers of all kinds.
    pub(crate) fn start(&mut self) {
        self.typed::<ConfigMap>(|config_map| config_map.name() == ROOT_CA);
        self.typed::<Deployment>(|_| true);
        self.typed::<EndpointSlice>(|_| true);
        self.typed::<Lease>(|lease| lease.namespace() == "kube-node-lease");
        self.typed::<Namespace>(|_| true);
        self.typed::<Node>(|_| true);
        self.typed::<Pod>(|_| true);
        self.typed::<ReplicaSet>(|_| true);
        self.typed::<Service>(|_| true);
        self.typed::<CertificateSigningRequest>(|_| true);
        self.typed::<ClusterRole>(|_| true);
        self.typed::<Endpoints>(|_| true);
        self.typed::<IPAddress>(|_| true);
        self.typed::<Job>(|_| true);
        self.typed::<PersistentVolume>(|_| true);
        self.typed::<PersistentVolumeClaim>(|_| true);
        self.typed::<PodDisruptionBudget>(|_| true);
        self.typed::<ReplicationController>(|_| true);
        self.typed::<Secret>(|secret| is_bootstrap_token(secret) || is_account_token(secret));
        self.typed::<ServiceCIDR>(|_| true);
        self.typed::<StatefulSet>(|_| true);
        self.typed::<VolumeAttributesClass>(|_| true);
        let rest: Vec<Kind> =
            Kind::ALL.iter().copied().filter(|kind| !self.caches.contains_key(kind)).collect();
        for kind in rest {
            self.metadata_only(kind);
        }
    }

    /// A kind of which objects are kept, at least those that `keep` tells.
    fn typed<T: Cached + Trim>(&mut self, keep: fn(&T) -> bool) {
        let store = self.informer::<T>(T::CACHED_KIND);
        let (world, loops) = (self.world.clone(), self.loops.clone());
        store.on_change(move |change| {
            let now = Timestamp::now();
            let mut world = world.write();
            let new = change.new.as_ref().map(|object| object.0.clone());
            let old = change.old.as_ref().map(|object| object.0.clone());
            let kept = new.as_ref().or(old.as_ref()).is_some_and(|object| keep(object));
            match (&new, kept) {
                (Some(object), true) => {
                    world.upsert(object.clone(), now);
                }
                (Some(object), false) => {
                    world.graph.upsert(T::CACHED_KIND, &change.key, object.metadata());
                }
                (None, true) => {
                    world.remove::<T>(&change.key, now);
                }
                (None, false) => {
                    world.graph.remove(T::CACHED_KIND, &change.key);
                }
            }
            let change = if kept {
                T::change(Delta { old: old.as_deref(), new: new.as_deref() })
            } else {
                let metadata = |object: &Arc<T>| object.metadata().clone();
                let (old, new) = (old.as_ref().map(metadata), new.as_ref().map(metadata));
                let delta = Delta { old: old.as_ref(), new: new.as_ref() };
                wake(&loops, &world, &Change::Other(T::CACHED_KIND, delta));
                return;
            };
            wake(&loops, &world, &change);
        });
    }

    /// A kind of which only the graph knows.
    fn metadata_only(&mut self, kind: Kind) {
        let client = self.client.with_bookmarks_every(METADATA_BOOKMARKS);
        let path = kind.resource().path("", "", None);
        let store: Store<Shell> =
            Informer::follow(client, path, ListOptions::default(), &self.tasks);
        self.register(kind, &store);
        let (world, loops) = (self.world.clone(), self.loops.clone());
        store.on_change(move |change| {
            let mut world = world.write();
            match &change.new {
                Some(shell) => world.graph.upsert(kind, &change.key, &shell.0),
                None => {
                    world.graph.remove(kind, &change.key);
                }
            }
            let metadata = |shell: &Option<Arc<Shell>>| shell.as_ref().map(|shell| shell.0.clone());
            let (old, new) = (metadata(&change.old), metadata(&change.new));
            let delta = Delta { old: old.as_ref(), new: new.as_ref() };
            wake(&loops, &world, &Change::Other(kind, delta));
        });
    }

    fn informer<T: Trim>(&mut self, kind: Kind) -> Store<Trimmed<T>> {
        let store: Store<Trimmed<T>> =
            Informer::start(self.client.clone(), ListOptions::default(), &self.tasks);
        self.register(kind, &store);
        store
    }

    fn register<T: Object>(&mut self, kind: Kind, store: &Store<T>) {
        let progress = store.clone();
        self.world.write().set_passed(kind, Box::new(move || progress.revision()));
        self.caches.insert(kind, Box::new(store.clone()));
    }
}

fn wake(loops: &[Arc<Loop>], world: &World, change: &Change<'_>) {
    for one in loops {
        let mut keys = Keys::new();
        one.controller.wake(world, change, &mut keys);
        if !keys.is_empty() {
            one.queue.add(keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_keep_what_controllers_look_at() {
        let pod = json!({
            "metadata": {
                "name": "a", "namespace": "b", "labels": {"x": "y"},
                "annotations": {DELETION_COST: "7", "note": "long"},
            },
            "spec": {
                "nodeName": "w", "hostname": "h", "subdomain": "s",
                "nodeSelector": {"a": "b"}, "affinity": {"podAffinity": {}},
                "initContainers": [{"name": "i", "restartPolicy": "Always",
                    "ports": [{"name": "p", "containerPort": 1}]}],
                "containers": [
                    {"name": "c", "image": "x", "ports": [{"containerPort": 2}]},
                    {"name": "d", "image": "x", "ports": [
                        {"containerPort": 3}, {"name": "q", "containerPort": 4},
                    ]},
                ],
                "tolerations": [{"operator": "Exists"}],
                "volumes": [
                    {"name": "t", "projected": {}},
                    {"name": "e", "persistentVolumeClaim": {"claimName": "e"}},
                ],
            },
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let kept = Trimmed::<Pod>::read(&pod).unwrap().to_value();
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "a", "namespace": "b", "labels": {"x": "y"},
                "annotations": {DELETION_COST: "7"},
            },
            "spec": {
                "nodeName": "w", "hostname": "h", "subdomain": "s",
                "initContainers": [{"name": "i", "restartPolicy": "Always",
                    "ports": [{"name": "p", "containerPort": 1}]}],
                "containers": [{"name": "d", "ports": [{"name": "q", "containerPort": 4}]}],
                "tolerations": [{"operator": "Exists"}],
                "volumes": [{"name": "e", "persistentVolumeClaim": {"claimName": "e"}}],
            },
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        assert_eq!(kept, expected);
    }
}
