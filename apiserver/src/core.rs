//! What every request can reach: the store, the caches, who may do what.

use std::sync::Arc;

use arc_swap::ArcSwap;
use kontiki_api::{Catalogue, Status};
use kontiki_base::CancellationToken;
use kontiki_raft::types::Revision;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use crate::{
    admission, audit,
    authn::Authenticator,
    authz::{Attributes, Authorizer, follow::Compiler},
    cache::{Caches, Resource, object::Object},
    dial::Dialer,
    extension::Extension,
    flowcontrol::FlowControl,
    options::Options,
    quota::Turns,
    storage::{Storage, backend::BackendError, relative},
    streams::Streams,
};

/// The shared parts of one API server.
pub struct Core {
    /// Settings.
    pub options: Options,
    /// Which resources there are.
    pub catalogue: Arc<Catalogue>,
    /// Connections to kubelets, pods and services.
    pub dialer: Dialer,
    /// Conversations that left HTTP behind.
    pub streams: Streams,
    /// Cancelled when the server is to stop.
    pub shutdown: CancellationToken,
    /// The store.
    pub storage: Arc<Storage>,
    /// The watch caches.
    pub caches: Arc<Caches>,
    /// Who is who.
    pub authenticator: Authenticator,
    /// Who may do what.
    pub authorizer: ArcSwap<Authorizer>,
    /// The audit log, if there is one.
    pub audit: Option<Arc<audit::Log>>,
    /// What is let in.
    pub admission: admission::Chain,
    /// Turns of writes that quotas count.
    pub(crate) quota_turns: Turns,
    /// What compiles the access policy.
    pub(crate) policy_compiler: Mutex<Compiler>,
    /// Moves when the access policy has been compiled anew.
    pub policy_compiled: watch::Sender<u64>,
    /// Endpoints of others, by path prefix.
    pub extensions: RwLock<Vec<(String, Arc<dyn Extension>)>>,
    /// Whether this server answers more than `/livez`.
    pub ready: watch::Sender<bool>,
    /// Priority and fairness; without, only the numbers of requests are limited.
    pub flow_control: Option<FlowControl>,
    /// Room for requests that change something; `None` is any number.
    pub mutating: Option<Arc<Semaphore>>,
    /// Room for requests that only read.
    pub reading: Option<Arc<Semaphore>>,
}

impl Core {
    /// A resource that is built in.
    pub fn builtin(&self, group: &str, resource: &str) -> &Arc<Resource> {
        self.caches.builtin(group, resource)
    }

    /// Waits until the caches show everything that was acknowledged before now.
    pub async fn catch_up(&self) -> Result<Revision, Status> {
        let index = self.storage.backend().read_index().await.map_err(|e| unavailable(&e))?;
        self.caches.wait_for(index).await.map_err(|e| unavailable(&e))?;
        Ok(index)
    }

    /// An object as the cache has it: perhaps a moment old.
    pub fn cached(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Object>> {
        self.builtin(group, resource).cache.get(&relative(namespace, name))
    }

    /// An object as of now. What the cache has is new enough; what it has not may only be young.
    pub async fn find(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Object>>, Status> {
        if let Some(object) = self.cached(group, resource, namespace, name) {
            return Ok(Some(object));
        }
        self.catch_up().await?;
        Ok(self.cached(group, resource, namespace, name))
    }

    /// An object of a resource that may not be served, as the cache has it.
    pub fn look_up(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Object>> {
        self.caches.served(group, resource)?.cache.get(&relative(namespace, name))
    }

    /// All objects of a namespaced resource in a namespace, or of another at all, as the cache has
    /// them. None if the resource is not served.
    pub fn in_namespace(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Object>> {
        let Some(resource) = self.caches.served(group, resource) else { return Vec::new() };
        if resource.cache.is_empty() {
            return Vec::new();
        }
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        resource.cache.snapshot(self.caches.revision()).index.walk(&prefix, "").collect()
    }

    /// The extension that answers a path.
    pub fn extension_for(&self, path: &str) -> Option<Arc<dyn Extension>> {
        let extensions = self.extensions.read();
        let found = extensions.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()));
        found.map(|(_, extension)| extension.clone())
    }

    /// Whether a user may do something.
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        self.authorizer.load().allows(attributes, &self.caches)
    }
}

/// What a caller is told when the store did not do it.
pub fn unavailable(error: &BackendError) -> Status {
    match error {
        BackendError::Compacted { requested, oldest } => {
            Status::expired(format!("too old resource version: {requested} ({oldest})"))
        }
        BackendError::Future { requested, current } => Status::timeout(
            &format!("Too large resource version: {requested}, current: {current}"),
            1,
        ),
        BackendError::Fenced(reason) => Status::conflict("", "leases", "leadership", reason),
        BackendError::LeaseNotFound => {
            Status::internal_error("etcdserver: requested lease not found")
        }
        BackendError::Timeout(_) => {
            tracing::debug!("a request timed out at the store: {error}");
            Status::timeout("etcdserver: request timed out", 1)
        }
        BackendError::Unavailable(reason) => Status::service_unavailable(reason.clone()),
    }
}
