//! Who owns whom, over all cached kinds.
//!
//! Entries hold what garbage collection and look-ups by owner need of an object's metadata, so
//! that kinds of which nothing else matters (Secrets above all) are not kept at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{Key, Kind};

/// The metadata of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Its owners.
    pub owners: Vec<OwnerReference>,
    /// Its finalizers.
    pub finalizers: Vec<String>,
    /// Whether its deletion was requested.
    pub deleting: bool,
}

impl Entry {
    /// Whether a finalizer is set.
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|present| present == finalizer)
    }
}

/// All entries, with the edges from owners to dependents.
#[derive(Default)]
pub struct Graph {
    entries: BTreeMap<(Kind, Key), Entry>,
    by_uid: HashMap<String, (Kind, Key)>,
    dependents: HashMap<String, BTreeSet<(Kind, Key)>>,
    uncontrolled: BTreeSet<(Kind, Key)>,
}

impl Graph {
    /// The entry of an object.
    pub fn get(&self, kind: Kind, key: &Key) -> Option<&Entry> {
        self.entries.get(&(kind, key.clone()))
    }

    /// The entry with a uid.
    pub fn by_uid(&self, uid: &str) -> Option<&Entry> {
        self.by_uid.get(uid).and_then(|place| self.entries.get(place))
    }

    /// The objects that name `uid` as an owner.
    pub fn dependents<'a>(&'a self, uid: &str) -> impl Iterator<Item = &'a Entry> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|place| self.entries.get(place))
    }

    /// The keys of one kind in one namespace that no owner controls.
    pub fn uncontrolled<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Key> {
        self.uncontrolled
            .range((kind, Key::new(namespace, ""))..)
            .take_while(move |(other, key)| *other == kind && key.namespace == namespace)
            .map(|(_, key)| key)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Puts an entry in or replaces it.
    pub fn upsert(&mut self, kind: Kind, key: &Key, metadata: &ObjectMeta) {
        self.remove(kind, key);
        let entry = Entry {
            kind,
            key: key.clone(),
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            owners: metadata.owner_references.clone().unwrap_or_default(),
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
        };
        let place = (kind, key.clone());
        for owner in &entry.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(place.clone());
        }
        if !entry.owners.iter().any(|owner| owner.controller == Some(true)) {
            self.uncontrolled.insert(place.clone());
        }
        self.by_uid.insert(entry.uid.clone(), place.clone());
        self.entries.insert(place, entry);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, kind: Kind, key: &Key) -> Option<Entry> {
        let place = (kind, key.clone());
        let entry = self.entries.remove(&place)?;
        self.by_uid.remove(&entry.uid);
        self.uncontrolled.remove(&place);
        for owner in &entry.owners {
            if let Some(places) = self.dependents.get_mut(&owner.uid) {
                places.remove(&place);
                if places.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        Some(entry)
    }
}
