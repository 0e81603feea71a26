//! What the watches saw: which objects changed since the loop last looked.
//!
//! Handlers only note keys; the loop reads the objects when it has time for them. Many changes of
//! one object are one, so what waits is bounded by the number of objects.

use std::{collections::HashSet, sync::Arc};

use kontiki_api::{
    Object,
    k8s_openapi::api::core::v1::{Namespace, Node, Pod},
};
use kontiki_base::tasks::Tasks;
use kontiki_client::{Client, Informer, ListOptions, ObjectKey, Store};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// One kind: its objects and the keys that changed.
pub(super) struct Watched<T> {
    /// The objects.
    pub(super) store: Store<T>,
    changed: Arc<Mutex<HashSet<ObjectKey>>>,
}

impl<T: Object> Watched<T> {
    fn start(client: &Client, wake: &Arc<Notify>, tasks: &Tasks) -> Watched<T> {
        let store: Store<T> = Informer::start(client.clone(), ListOptions::default(), tasks);
        let changed = Arc::new(Mutex::new(HashSet::new()));
        let (keys, wake) = (changed.clone(), wake.clone());
        store.on_change(move |change| {
            keys.lock().insert(change.key.clone());
            wake.notify_one();
        });
        Watched { store, changed }
    }

    /// Objects that changed since the last call, as they are now.
    pub(super) fn take(&self) -> Vec<(ObjectKey, Option<Arc<T>>)> {
        let keys = std::mem::take(&mut *self.changed.lock());
        keys.into_iter().map(|key| (self.store.get(&key), key)).map(|(o, k)| (k, o)).collect()
    }

    /// Has an object looked at again.
    pub(super) fn look_again(&self, key: ObjectKey) {
        self.changed.lock().insert(key);
    }
}

/// All that the scheduler watches.
pub(super) struct Feed {
    pub(super) nodes: Watched<Node>,
    pub(super) namespaces: Watched<Namespace>,
    pub(super) pods: Watched<Pod>,
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
