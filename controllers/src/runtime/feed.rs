//! Feeding the world from informers, and waking controllers by what changes.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kontiki_api::{Object, typed::DecodeError};
use kontiki_base::tasks::Tasks;
use kontiki_client::{Client, Informer, ListOptions, Store};
use parking_lot::RwLock;

use super::worker::{Caches, Loop};
use crate::{
    controller::Keys,
    serviceaccount::ROOT_CA,
    world::{Cached, Change, Delta, Kind, World},
};

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
        *self = Secret { metadata: bare(&self.metadata), ..Secret::default() };
    }
}

macro_rules! trim {
    (managed fields: $($kept:ident)*; all but metadata: $($bare:ident)*) => {
        $(impl Trim for $kept {})*
        $(impl Trim for $bare {
            fn trim(&mut self) {
                let metadata = bare(&self.metadata);
                *self = <$bare>::default();
                self.metadata = metadata;
            }
        })*
    };
}

trim! {
    managed fields: Deployment EndpointSlice Lease Namespace Node Pod ReplicaSet Service;
    all but metadata: ClusterRole ClusterRoleBinding Role RoleBinding ServiceAccount
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
    fn read(value: &serde_json::Value) -> Result<Self, DecodeError> {
        T::read(value).map(Trimmed::of)
    }
    fn to_value(&self) -> serde_json::Value {
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
        self.metadata_only::<ClusterRole>(Kind::ClusterRole);
        self.metadata_only::<ClusterRoleBinding>(Kind::ClusterRoleBinding);
        self.metadata_only::<Role>(Kind::Role);
        self.metadata_only::<RoleBinding>(Kind::RoleBinding);
        self.metadata_only::<Secret>(Kind::Secret);
        self.metadata_only::<ServiceAccount>(Kind::ServiceAccount);
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
    fn metadata_only<T: Trim>(&mut self, kind: Kind) {
        let store = self.informer::<T>(kind);
        let (world, loops) = (self.world.clone(), self.loops.clone());
        store.on_change(move |change| {
            let mut world = world.write();
            match &change.new {
                Some(object) => world.graph.upsert(kind, &change.key, object.metadata()),
                None => {
                    world.graph.remove(kind, &change.key);
                }
            }
            let delta = Delta {
                old: change.old.as_ref().map(|object| object.0.metadata()),
                new: change.new.as_ref().map(|object| object.0.metadata()),
            };
            wake(&loops, &world, &Change::Other(kind, delta));
        });
    }

    fn informer<T: Trim>(&mut self, kind: Kind) -> Store<Trimmed<T>> {
        let store: Store<Trimmed<T>> =
            Informer::start(self.client.clone(), ListOptions::default(), &self.tasks);
        let progress = store.clone();
        self.world.write().set_passed(kind, Box::new(move || progress.revision()));
        self.caches.insert(kind, Box::new(store.clone()));
        store
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
