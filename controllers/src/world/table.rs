//! Typed objects of one kind, in the order of their keys.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use super::Key;

/// Objects of one kind by key.
pub struct Table<T> {
    objects: BTreeMap<Key, Arc<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { objects: BTreeMap::new() }
    }
}

impl<T> Table<T> {
    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<T>> {
        self.objects.get(key)
    }

    /// Whether it is there.
    pub fn contains(&self, key: &Key) -> bool {
        self.objects.contains_key(key)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.values()
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.keys()
    }

    /// The objects of one namespace.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<T>> {
        let from = Key::new(namespace, "");
        self.objects
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, object)| object)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub(super) fn insert(&mut self, key: Key, object: Arc<T>) -> Option<Arc<T>> {
        self.objects.insert(key, object)
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<T>> {
        self.objects.remove(key)
    }
}
