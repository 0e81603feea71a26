//! What the cluster says about itself, kept up by watches, and waiting for it to say something.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use kontiki_api::{
    k8s_openapi::api::{
        apps::v1::Deployment,
        core::v1::{Node, Pod},
        discovery::v1::EndpointSlice,
    },
    typed::Object,
};
use kontiki_base::tasks::Tasks;
use kontiki_client::{Client, Informer, ListOptions, ObjectKey, Store};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// The objects that scenarios look at.
#[derive(Clone)]
pub struct View {
    /// Nodes.
    pub nodes: Store<Node>,
    /// Pods of all namespaces.
    pub pods: Store<Pod>,
    /// Deployments of all namespaces.
    pub deployments: Store<Deployment>,
    /// EndpointSlices of all namespaces.
    pub slices: Store<EndpointSlice>,
    changed: Arc<Notify>,
}

impl View {
    /// Watches through `client` until the tasks are stopped.
    pub fn start(client: &Client, tasks: &Tasks) -> View {
        fn watched<T: Object>(client: &Client, tasks: &Tasks, changed: &Arc<Notify>) -> Store<T> {
            let store = Informer::start::<T>(client.clone(), ListOptions::default(), tasks);
            let changed = changed.clone();
            store.on_change(move |_| changed.notify_waiters());
            store
        }
        let changed = Arc::new(Notify::new());
        View {
            nodes: watched(client, tasks, &changed),
            pods: watched(client, tasks, &changed),
            deployments: watched(client, tasks, &changed),
            slices: watched(client, tasks, &changed),
            changed,
        }
    }

    /// Waits until `look` sees something; gives it and the time since `start`.
    pub async fn until<T>(
        &self,
        what: &str,
        start: Instant,
        limit: Duration,
        mut look: impl FnMut(&View) -> Option<T>,
    ) -> anyhow::Result<(T, Duration)> {
        let deadline = Instant::now() + limit;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(found) = look(self) {
                return Ok((found, start.elapsed()));
            }
            if timeout_at(deadline, changed).await.is_err() {
                bail!("{what} did not happen in {limit:?}");
            }
        }
    }

    /// The pods of an app in a namespace that nobody has deleted.
    pub fn app_pods(&self, namespace: &str, app: &str) -> Vec<Arc<Pod>> {
        let pods = self.pods.namespace(namespace).into_iter();
        let of_app = pods.filter(|pod| {
            let labels = pod.metadata.labels.as_ref();
            !pod.is_deleting() && labels.is_some_and(|l| l.get("app").is_some_and(|a| a == app))
        });
        of_app.collect()
    }

    /// A Deployment.
    pub fn deployment(&self, namespace: &str, name: &str) -> anyhow::Result<Arc<Deployment>> {
        let found = self.deployments.get(&ObjectKey::new(namespace, name));
        found.with_context(|| format!("there is no deployment {namespace}/{name}"))
    }

    /// The addresses of a service's ready endpoints, with their nodes.
    pub fn endpoints(&self, namespace: &str, service: &str) -> Vec<(String, String)> {
        let slices = self.slices.namespace(namespace).into_iter();
        let of_service = slices.filter(|slice| {
            let labels = slice.metadata.labels.as_ref();
            labels.and_then(|l| l.get("kubernetes.io/service-name")).is_some_and(|s| s == service)
        });
        let mut found = Vec::new();
        for slice in of_service {
            for endpoint in slice.endpoints.iter().flatten() {
                let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
                let node = endpoint.node_name.clone().unwrap_or_default();
                let address = endpoint.addresses.first().cloned().unwrap_or_default();
                if ready {
                    found.push((address, node));
                }
            }
        }
        found
    }
}

/// Whether a pod runs and is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether a node is ready.
pub fn is_node_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// The node a pod is bound to; empty while it is to none.
pub fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// Whether a Deployment's last template is everywhere, and only it.
pub fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return false };
    status.observed_generation >= deployment.metadata.generation
        && status.updated_replicas == Some(wanted)
        && status.available_replicas == Some(wanted)
        && status.replicas == Some(wanted)
}
