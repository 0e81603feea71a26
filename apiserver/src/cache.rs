//! The watch cache: every object of every resource, as bytes, fed by one watch on the store.
//!
//! ```text
//!   store watch ──> feed ──> ResourceCache (index + window of changes) ──> lists, gets, watches
//!                    └─────> revision: every cache has passed it
//! ```
//!
//! Because one feed serves all caches in the store's order, one number says how far they are: a
//! read that needs everything up to a revision waits for [`Caches::passed`].

pub mod event;
pub mod feed;
pub mod index;
pub mod interest;
pub mod object;
pub mod resource;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use kontiki_api::{Catalogue, catalogue};
use kontiki_base::CancellationToken;
use kontiki_raft::types::Revision;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::{
    registry::Strategy,
    storage::{Keys, backend::BackendError, relative},
    strategy,
};
use resource::ResourceCache;

/// A resource as it is served: its rows, its place in the store and its cache.
pub struct Resource {
    /// How it is named and scoped.
    pub row: Arc<catalogue::Row>,
    /// What is special about it.
    pub strategy: &'static dyn Strategy,
    /// What its keys start with.
    pub prefix: String,
    /// Its objects.
    pub cache: ResourceCache,
}

impl Resource {
    /// The store's key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> bytes::Bytes {
        format!("{}{}", self.prefix, relative(namespace, name)).into()
    }

    /// The namespace under which its objects are kept, given the one asked for.
    pub fn scope<'a>(&self, namespace: &'a str) -> &'a str {
        if self.row.namespaced() { namespace } else { "" }
    }
}

/// All caches.
pub struct Caches {
    resources: Vec<Arc<Resource>>,
    /// The same by the resource's name, which few share.
    by_name: HashMap<catalogue::Name, Vec<Arc<Resource>>>,
    /// The same, by prefix.
    by_prefix: Vec<Arc<Resource>>,
    claims_prefix: String,
    claims: RwLock<BTreeSet<String>>,
    servers_prefix: String,
    /// Moves when an API server comes or goes.
    servers: watch::Sender<u64>,
    passed: watch::Sender<Revision>,
    /// Nobody feeds the caches any more.
    ended: CancellationToken,
}

impl Caches {
    /// Empty caches for all rows of a catalogue.
    pub fn new(catalogue: &Catalogue, keys: &Keys) -> Caches {
        let resource = |row: &Arc<catalogue::Row>| {
            Arc::new(Resource {
                row: row.clone(),
                strategy: strategy::of(&row.group, &row.resource),
                prefix: keys.resource(row),
                cache: ResourceCache::default(),
            })
        };
        let resources: Vec<Arc<Resource>> = catalogue.rows().iter().map(resource).collect();
        let mut by_name: HashMap<catalogue::Name, Vec<Arc<Resource>>> = HashMap::new();
        for resource in &resources {
            by_name.entry(resource.row.resource.clone()).or_default().push(resource.clone());
        }
        let mut by_prefix = resources.clone();
        by_prefix.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        Caches {
            resources,
            by_name,
            by_prefix,
            claims_prefix: keys.claims(),
            claims: RwLock::default(),
            servers_prefix: keys.servers(),
            servers: watch::Sender::new(0),
            passed: watch::Sender::new(Revision(0)),
            ended: CancellationToken::new(),
        }
    }

    /// All resources.
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    fn named(&self, resource: &str) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_name.get(resource).into_iter().flatten()
    }

    /// The resource behind `/apis/GROUP/VERSION/RESOURCE`.
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Resource>> {
        self.named(resource)
            .find(|served| served.row.group == group && served.row.version == version)
    }

    /// A built-in resource.
    pub fn builtin(&self, group: &str, resource: &str) -> &Arc<Resource> {
        let found = self
            .named(resource)
            .find(|served| served.row.group == group && served.row.stored_as.is_none());
        found.expect("the resource is built in")
    }

    /// A resource if it is served, in whatever version.
    pub fn served(&self, group: &str, resource: &str) -> Option<&Arc<Resource>> {
        self.named(resource).find(|served| served.row.group == group)
    }

    /// The revision that every cache has passed.
    pub fn revision(&self) -> Revision {
        *self.passed.borrow()
    }

    /// Wakes whenever the caches move on.
    pub fn subscribe(&self) -> watch::Receiver<Revision> {
        self.passed.subscribe()
    }

    /// Waits until every cache has passed `revision`. An error if that will not be, because nobody
    /// feeds the caches any more: the server stops, or its store's member has been dismissed.
    pub async fn wait_for(&self, revision: Revision) -> Result<(), BackendError> {
        let mut passed = self.passed.subscribe();
        tokio::select! { biased;
            // The sender lives as long as `self`, so the wait cannot fail.
            _ = passed.wait_for(|now| *now >= revision) => Ok(()),
            () = self.ended.cancelled() => {
                Err(BackendError::Unavailable("the server is stopping, or its store serves no more".to_owned()))
            }
        }
    }

    /// Cancelled when nobody feeds the caches any more: they are as new as they will ever be.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Wakes when an API server comes or goes.
    pub fn subscribe_servers(&self) -> watch::Receiver<u64> {
        self.servers.subscribe()
    }

    /// Whether a claim is taken, as far as this server has seen.
    pub fn is_claimed(&self, claim: &str) -> bool {
        self.claims.read().contains(claim)
    }

    /// The resources that serve an object: one for each version it is served in.
    fn by_key<'a>(&'a self, key: &'a str) -> impl Iterator<Item = (&'a Arc<Resource>, usize)> {
        // No prefix begins with another, so those of a key stand right before it.
        let behind = self.by_prefix.partition_point(|served| served.prefix.as_str() <= key);
        let found = self.by_prefix[..behind].iter().rev();
        let found = found.take_while(move |served| key.starts_with(&served.prefix));
        found.map(|served| (served, served.prefix.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caches() -> Caches {
        Caches::new(&Catalogue::builtin(), &Keys::new("/registry"))
    }

    #[test]
    fn every_key_finds_the_resources_that_serve_it() {
        let caches = caches();
        for served in caches.resources() {
            let key = served.key("default", "x");
            let key = std::str::from_utf8(&key).unwrap();
            let mut found: Vec<&str> =
                caches.by_key(key).map(|(found, _)| found.row.version.as_ref()).collect();
            let sharing = |other: &&Arc<Resource>| key.starts_with(&other.prefix);
            let mut expected: Vec<&str> = caches
                .resources()
                .iter()
                .filter(sharing)
                .map(|other| other.row.version.as_ref())
                .collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{key}");
            assert!(found.contains(&served.row.version.as_ref()), "{key}");
        }
        assert_eq!(caches.by_key("/registry/nothing/default/x").count(), 0);
        assert_eq!(caches.by_key("").count(), 0);
    }

    #[tokio::test]
    async fn nobody_waits_for_caches_that_are_fed_no_more() {
        let caches = caches();
        caches.passed.send_replace(Revision(5));
        caches.ended.cancel();
        assert!(caches.wait_for(Revision(5)).await.is_ok());
        assert!(caches.wait_for(Revision(6)).await.is_err());
    }
}
