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
    config_maps: Watched<ConfigMap>,
    secrets: Watched<Secret>,
}

impl ReferencedObjects {
    /// Nothing is watched yet.
    pub fn new(client: Client, tasks: Tasks) -> ReferencedObjects {
        ReferencedObjects {
            config_maps: Watched::new(client.clone(), tasks.clone()),
            secrets: Watched::new(client, tasks),
        }
    }

    /// Reads objects as they are now; while no API server answers, as they were last seen. What
    /// does not exist is left out.
    pub async fn fetch(&self, pod: &Pod, references: &References) -> Result<Objects, Error> {
        let namespace = pod.namespace();
        let mut objects = Objects::default();
        for name in &references.config_maps {
            if let Some(map) = self.config_maps.read(pod.uid(), namespace, name).await? {
                objects.config_maps.insert(name.clone(), map);
            }
        }
        for name in &references.secrets {
            if let Some(secret) = self.secrets.read(pod.uid(), namespace, name).await? {
                objects.secrets.insert(name.clone(), secret);
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

type Users = Arc<Mutex<BTreeMap<String, u64>>>;

struct Watched<T> {
    client: Client,
    tasks: Tasks,
    entries: Mutex<BTreeMap<ObjectKey, Entry<T>>>,
}

struct Entry<T> {
    tasks: Tasks,
    /// The pods that refer to it, with the revision that each has read.
    users: Users,
    store: Store<T>,
}

impl<T: Object> Watched<T> {
    fn new(client: Client, tasks: Tasks) -> Watched<T> {
        Watched { client, tasks, entries: Mutex::default() }
    }

    fn add(&self, key: ObjectKey, uid: &str, on_change: &OnChange) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(&key) {
            entry.users.lock().entry(uid.to_owned()).or_insert(0);
            return;
        }
        let tasks = self.tasks.child();
        let options =
            ListOptions::namespace(&key.namespace).fields(&format!("metadata.name={}", key.name));
        let store = Informer::start::<T>(self.client.clone(), options, &tasks);
        let users: Users = Arc::new(Mutex::new(BTreeMap::from([(uid.to_owned(), 0)])));
        let (told, on_change) = (users.clone(), on_change.clone());
        store.on_change(move |change| {
            // Who has read this very state needs not hear of it.
            let state = change.new.as_ref().map_or(u64::MAX, |new| revision(&**new));
            let users = told.lock();
            let behind = users.iter().filter(|(_, read)| **read < state);
            let behind: BTreeSet<String> = behind.map(|(uid, _)| uid.clone()).collect();
            drop(users);
            on_change(&behind);
        });
        entries.insert(key, Entry { tasks, users, store });
    }

    async fn read(&self, uid: &str, namespace: &str, name: &str) -> Result<Option<Arc<T>>, Error> {
        match self.client.find::<T>(namespace, name).await {
            Ok(Some(object)) => {
                self.saw(uid, &object);
                Ok(Some(Arc::new(object)))
            }
            Ok(None) => Ok(None),
            Err(error) if error.is_transient() => {
                let key = ObjectKey::new(namespace, name);
                let seen = self.entries.lock().get(&key).and_then(|entry| entry.store.get(&key));
                seen.map(Some).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// A pod has read an object.
    fn saw(&self, uid: &str, object: &T) {
        if let Some(entry) = self.entries.lock().get(&ObjectKey::of(object))
            && let Some(read) = entry.users.lock().get_mut(uid)
        {
            *read = revision(object).max(*read);
        }
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

fn revision<T: Object>(object: &T) -> u64 {
    let version = object.metadata().resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}
