//! ConfigMaps and Secrets that pods on this node refer to: read when a pod starts, watched one by
//! one while it lives, so that its volumes follow.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kontiki_api::Object;
use kontiki_base::tasks::Tasks;
use kontiki_client::{Client, Error, Informer, ListOptions, ObjectKey, Store};
use parking_lot::Mutex;

use crate::environment::{Objects, References};

/// Told the uids of pods whose objects changed.
pub type OnChange = Arc<dyn Fn(&BTreeSet<String>) + Send + Sync>;

/// Reads and watches what pods refer to.
pub struct ReferencedObjects {
    client: Client,
    config_maps: Watched<ConfigMap>,
    secrets: Watched<Secret>,
}

impl ReferencedObjects {
    /// Nothing is watched yet.
    pub fn new(client: Client, tasks: Tasks) -> ReferencedObjects {
        ReferencedObjects {
            config_maps: Watched::new(client.clone(), tasks.clone()),
            secrets: Watched::new(client.clone(), tasks),
            client,
        }
    }

    /// Reads objects as they are now. What does not exist is left out.
    pub async fn fetch(&self, pod: &Pod, references: &References) -> Result<Objects, Error> {
        let namespace = pod.namespace();
        let mut objects = Objects::default();
        for name in &references.config_maps {
            if let Some(map) = self.client.find::<ConfigMap>(namespace, name).await? {
                objects.config_maps.insert(name.clone(), Arc::new(map));
            }
        }
        for name in &references.secrets {
            if let Some(secret) = self.client.find::<Secret>(namespace, name).await? {
                objects.secrets.insert(name.clone(), Arc::new(secret));
            }
        }
        Ok(objects)
    }

    /// Watches objects for a pod until [`ReferencedObjects::release`].
    pub fn watch(&self, pod: &Pod, references: &References, on_change: &OnChange) {
        let (namespace, uid) = (pod.namespace(), pod.uid());
        for name in &references.config_maps {
            self.config_maps.add(ObjectKey::new(namespace, name), uid, on_change);
        }
        for name in &references.secrets {
            self.secrets.add(ObjectKey::new(namespace, name), uid, on_change);
        }
    }

    /// Stops watching what only this pod referred to.
    pub fn release(&self, uid: &str) {
        self.config_maps.release(uid);
        self.secrets.release(uid);
    }
}

struct Watched<T> {
    client: Client,
    tasks: Tasks,
    entries: Mutex<BTreeMap<ObjectKey, Entry<T>>>,
}

struct Entry<T> {
    tasks: Tasks,
    users: Arc<Mutex<BTreeSet<String>>>,
    _store: Store<T>,
}

impl<T: Object> Watched<T> {
    fn new(client: Client, tasks: Tasks) -> Watched<T> {
        Watched { client, tasks, entries: Mutex::default() }
    }

    fn add(&self, key: ObjectKey, uid: &str, on_change: &OnChange) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(&key) {
            entry.users.lock().insert(uid.to_owned());
            return;
        }
        let tasks = self.tasks.child();
        let options =
            ListOptions::namespace(&key.namespace).fields(&format!("metadata.name={}", key.name));
        let store = Informer::start::<T>(self.client.clone(), options, &tasks);
        let users = Arc::new(Mutex::new(BTreeSet::from([uid.to_owned()])));
        let (told, on_change) = (users.clone(), on_change.clone());
        store.on_change(move |_| {
            let users = told.lock().clone();
            on_change(&users);
        });
        entries.insert(key, Entry { tasks, users, _store: store });
    }

    fn release(&self, uid: &str) {
        self.entries.lock().retain(|_, entry| {
            let mut users = entry.users.lock();
            users.remove(uid);
            if users.is_empty() {
                entry.tasks.shutdown().cancel();
            }
            !users.is_empty()
        });
    }
}
