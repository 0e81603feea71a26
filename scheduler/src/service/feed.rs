//! What the watches saw: which objects changed since the loop last looked.
//!
//! Of an object only what scheduling looks at is kept ([`Seen`]), read where the watch is decoded
//! and shared with the snapshot. Handlers only note keys; the loop reads the objects when it has
//! time for them. Many changes of one object are one, so what waits is bounded by the number of
//! objects.

use std::{collections::HashSet, fmt::Debug, sync::Arc};

use kontiki_api::{
    Object,
    k8s_openapi::{
        api::core::v1::{Namespace, Node},
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    },
    slim::Pod,
    typed::DecodeError,
};
use kontiki_base::tasks::Tasks;
use kontiki_client::{Client, Informer, ListOptions, ObjectKey, Store};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{node::NodeOffer, pod::PodInfo, selector::Labels};

/// What scheduling keeps of a kind.
pub(super) trait Projection: Clone + Debug + Send + Sync + 'static {
    /// The kind.
    type Of: Object;
    /// Reads an object.
    fn of(object: &Self::Of) -> Self;
}

impl Projection for PodInfo {
    type Of = Pod;
    fn of(pod: &Pod) -> PodInfo {
        PodInfo::new(pod)
    }
}

impl Projection for NodeOffer {
    type Of = Node;
    fn of(node: &Node) -> NodeOffer {
        NodeOffer::new(node)
    }
}

/// Labels of a namespace.
#[derive(Clone, Debug)]
pub(super) struct NamespaceInfo(pub(super) Labels);

impl Projection for NamespaceInfo {
    type Of = Namespace;
    fn of(namespace: &Namespace) -> NamespaceInfo {
        NamespaceInfo(namespace.metadata.labels.clone().unwrap_or_default())
    }
}

/// An object as scheduling saw it: who it is, and what is kept of it.
#[derive(Clone, Debug)]
pub(super) struct Seen<P> {
    metadata: ObjectMeta,
    pub(super) what: Arc<P>,
}

impl<P: Projection> Seen<P> {
    fn new(object: &P::Of) -> Seen<P> {
        let metadata = object.metadata();
        Seen {
            metadata: ObjectMeta {
                namespace: metadata.namespace.clone(),
                name: metadata.name.clone(),
                uid: metadata.uid.clone(),
                resource_version: metadata.resource_version.clone(),
                ..ObjectMeta::default()
            },
            what: Arc::new(P::of(object)),
        }
    }
}

impl<P: Projection> Object for Seen<P> {
    const GROUP: &'static str = P::Of::GROUP;
    const VERSION: &'static str = P::Of::VERSION;
    const KIND: &'static str = P::Of::KIND;
    const RESOURCE: &'static str = P::Of::RESOURCE;
    const NAMESPACED: bool = P::Of::NAMESPACED;

    fn decode(json: &[u8]) -> Result<Self, DecodeError> {
        P::Of::decode(json).map(|object| Seen::new(&object))
    }
    fn read(value: &Value) -> Result<Self, DecodeError> {
        P::Of::read(value).map(|object| Seen::new(&object))
    }
    fn encode(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }
    /// Who it is; the rest was not kept.
    fn to_value(&self) -> Value {
        let ObjectMeta { namespace, name, uid, resource_version, .. } = &self.metadata;
        json!({
            "apiVersion": Self::api_version(),
            "kind": Self::KIND,
            "metadata": {
                "namespace": namespace, "name": name, "uid": uid,
                "resourceVersion": resource_version,
            },
        })
    }
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// One kind: its objects and the keys that changed.
pub(super) struct Watched<P> {
    /// The objects.
    pub(super) store: Store<Seen<P>>,
    changed: Arc<Mutex<HashSet<ObjectKey>>>,
}

impl<P: Projection> Watched<P> {
    fn start(client: &Client, wake: &Arc<Notify>, tasks: &Tasks) -> Watched<P> {
        let store = Informer::start(client.clone(), ListOptions::default(), tasks);
        let changed = Arc::new(Mutex::new(HashSet::new()));
        let (keys, wake) = (changed.clone(), wake.clone());
        store.on_change(move |change| {
            keys.lock().insert(change.key.clone());
            wake.notify_one();
        });
        Watched { store, changed }
    }

    /// Objects that changed since the last call, as they are now.
    pub(super) fn take(&self) -> Vec<(ObjectKey, Option<Arc<P>>)> {
        let keys = std::mem::take(&mut *self.changed.lock());
        let now = |key: &ObjectKey| self.store.get(key).map(|seen| seen.what.clone());
        keys.into_iter().map(|key| (now(&key), key)).map(|(o, k)| (k, o)).collect()
    }

    /// Has an object looked at again.
    pub(super) fn look_again(&self, key: ObjectKey) {
        self.changed.lock().insert(key);
    }
}

/// All that the scheduler watches.
pub(super) struct Feed {
    pub(super) nodes: Watched<NodeOffer>,
    pub(super) namespaces: Watched<NamespaceInfo>,
    pub(super) pods: Watched<PodInfo>,
    wake: Arc<Notify>,
}

impl Feed {
    /// Starts watching.
    pub(super) fn start(client: &Client, tasks: &Tasks) -> Feed {
        let wake = Arc::new(Notify::new());
        Feed {
            nodes: Watched::start(client, &wake, tasks),
            namespaces: Watched::start(client, &wake, tasks),
            pods: Watched::start(client, &wake, tasks),
            wake,
        }
    }

    /// Waits for a change.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }
}
