//! The local copy of a kind: objects by key, and the revision the copy stands at.

use std::{collections::BTreeMap, fmt, sync::Arc};

use kontiki_api::Object;
use parking_lot::RwLock;
use tokio::sync::watch;

/// Namespace and name of an object; the namespace of cluster-scoped objects is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> ObjectKey {
        ObjectKey { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<T: Object>(object: &T) -> ObjectKey {
        ObjectKey::new(object.namespace(), object.name())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// A change of one object in a [`Store`].
#[derive(Clone, Debug)]
pub struct Change<T> {
    /// Which object.
    pub key: ObjectKey,
    /// Before; `None` if it is new.
    pub old: Option<Arc<T>>,
    /// After; `None` if it is gone.
    pub new: Option<Arc<T>>,
}

/// Called in order with every change, on the informer's task: it must be quick and must not
/// block. Typically it puts a key into a queue.
pub type Handler<T> = Box<dyn Fn(&Change<T>) + Send + Sync>;

struct Inner<T> {
    objects: RwLock<BTreeMap<ObjectKey, Arc<T>>>,
    handlers: RwLock<Vec<Handler<T>>>,
    /// 0 until the first list has arrived.
    revision: watch::Sender<u64>,
}

/// A shared, read-only view of an informer's objects. Cheap to clone.
pub struct Store<T>(Arc<Inner<T>>);

impl<T> Clone for Store<T> {
    fn clone(&self) -> Store<T> {
        Store(self.0.clone())
    }
}

impl<T: Object> Default for Store<T> {
    fn default() -> Store<T> {
        Store::new()
    }
}

impl<T: Object> Store<T> {
    /// An empty store that has seen nothing yet.
    pub fn new() -> Store<T> {
        Store(Arc::new(Inner {
            objects: RwLock::default(),
            handlers: RwLock::default(),
            revision: watch::Sender::new(0),
        }))
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.0.objects.read().get(key).cloned()
    }

    /// All objects, in order of their keys.
    pub fn list(&self) -> Vec<Arc<T>> {
        self.0.objects.read().values().cloned().collect()
    }

    /// All objects of one namespace.
    pub fn namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        let first = ObjectKey::new(namespace, "");
        let objects = self.0.objects.read();
        let range = objects.range(first..);
        range.take_while(|(key, _)| key.namespace == namespace).map(|(_, o)| o.clone()).collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.objects.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a handler. It is called at once with every object already known.
    pub fn on_change(&self, handler: impl Fn(&Change<T>) + Send + Sync + 'static) {
        // The lock on the handlers is taken first, as when a change is told: no change is lost
        // or told twice in between.
        let mut handlers = self.0.handlers.write();
        for (key, object) in self.0.objects.read().iter() {
            handler(&Change { key: key.clone(), old: None, new: Some(object.clone()) });
        }
        handlers.push(Box::new(handler));
    }

    /// The revision up to which everything was seen; 0 before the first list.
    pub fn revision(&self) -> u64 {
        *self.0.revision.borrow()
    }

    /// Waits until the first list has arrived.
    pub async fn synced(&self) {
        self.passed(1).await;
    }

    /// Waits until everything up to `revision` was seen.
    pub async fn passed(&self, revision: u64) {
        let mut receiver = self.0.revision.subscribe();
        let reached = receiver.wait_for(|current| *current >= revision).await;
        reached.expect("the store itself keeps the sender");
    }

    /// Puts in or replaces one object, seen at `revision`.
    pub fn apply(&self, object: T, revision: u64) {
        let key = ObjectKey::of(&object);
        self.change(key, Some(Arc::new(object)), revision);
    }

    /// Takes out one object, gone at `revision`.
    pub fn remove(&self, key: &ObjectKey, revision: u64) {
        self.change(key.clone(), None, revision);
    }

    /// Replaces everything by a complete list at `revision`.
    pub fn replace(&self, objects: Vec<T>, revision: u64) {
        let mut fresh: BTreeMap<ObjectKey, Arc<T>> =
            objects.into_iter().map(|o| (ObjectKey::of(&o), Arc::new(o))).collect();
        let known: Vec<ObjectKey> = self.0.objects.read().keys().cloned().collect();
        for key in known {
            let new = fresh.remove(&key);
            self.change(key, new, 0);
        }
        for (key, object) in fresh {
            self.change(key, Some(object), 0);
        }
        self.advance(revision);
    }

    /// Notes that everything up to `revision` was seen.
    pub fn advance(&self, revision: u64) {
        self.0.revision.send_if_modified(|current| {
            let moved = revision > *current;
            *current = revision.max(*current);
            moved
        });
    }

    fn change(&self, key: ObjectKey, new: Option<Arc<T>>, revision: u64) {
        let handlers = self.0.handlers.read();
        let old = match &new {
            Some(object) => self.0.objects.write().insert(key.clone(), object.clone()),
            None => self.0.objects.write().remove(&key),
        };
        let same = match (&old, &new) {
            (Some(old), Some(new)) => {
                old.metadata().resource_version == new.metadata().resource_version
                    && new.metadata().resource_version.is_some()
            }
            (None, None) => true,
            _ => false,
        };
        if !same {
            let change = Change { key, old, new };
            handlers.iter().for_each(|handler| handler(&change));
        }
        self.advance(revision);
    }
}

/// A cache of whatever kind whose progress can be awaited.
pub trait Progress: Send + Sync {
    /// Completes once the cache has seen everything up to `revision`.
    fn passed(&self, revision: u64) -> futures::future::BoxFuture<'_, ()>;
}

impl<T: Object> Progress for Store<T> {
    fn passed(&self, revision: u64) -> futures::future::BoxFuture<'_, ()> {
        Box::pin(Store::passed(self, revision))
    }
}

#[cfg(test)]
mod tests {
    use kontiki_api::k8s_openapi::api::core::v1::ConfigMap;
    use parking_lot::Mutex;

    use super::*;

    fn config_map(name: &str, version: u64) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("a".to_owned());
        object.metadata.name = Some(name.to_owned());
        object.metadata.resource_version = Some(version.to_string());
        object
    }

    fn recorded(store: &Store<ConfigMap>) -> Arc<Mutex<Vec<String>>> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = log.clone();
        store.on_change(move |change| {
            let kind = match (&change.old, &change.new) {
                (None, _) => "added",
                (_, None) => "removed",
                _ => "changed",
            };
            sink.lock().push(format!("{kind} {}", change.key));
        });
        log
    }

    #[test]
    fn a_relist_tells_only_what_differs() {
        let store = Store::new();
        let log = recorded(&store);
        store.replace(vec![config_map("x", 1), config_map("y", 2)], 2);
        store.replace(vec![config_map("y", 2), config_map("z", 4)], 4);
        assert_eq!(*log.lock(), ["added a/x", "added a/y", "removed a/x", "added a/z"]);
        assert_eq!(store.revision(), 4);
    }

    #[test]
    fn a_late_handler_hears_of_what_is_there() {
        let store = Store::new();
        store.apply(config_map("x", 1), 1);
        let log = recorded(&store);
        store.remove(&ObjectKey::new("a", "x"), 2);
        assert_eq!(*log.lock(), ["added a/x", "removed a/x"]);
    }

    #[tokio::test]
    async fn passed_returns_when_the_revision_is_reached() {
        let store: Store<ConfigMap> = Store::new();
        let waiter = store.clone();
        let (_, ()) = tokio::join!(waiter.passed(7), async { store.advance(9) });
        assert_eq!(store.revision(), 9);
    }
}
