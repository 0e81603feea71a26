//! Telling the API server which node a pod goes to.

use std::sync::Arc;

use kontiki_api::slim::Pod;
use kontiki_base::tasks::render;
use kontiki_client::{Client, Error, ObjectKey, Store};
use serde_json::json;

use super::feed::Seen;
use crate::pod::{PodInfo, PodKey};

/// How a binding ended.
#[derive(Debug)]
pub(super) enum Bound {
    /// The pod is bound.
    Yes,
    /// The pod is gone, or another than we decided about.
    Moot,
    /// It was not bound, and may be tried again.
    No(String),
}

/// The client's key for a pod.
pub(super) fn object_key(key: &PodKey) -> ObjectKey {
    ObjectKey::new(&*key.namespace, &*key.name)
}

/// Binds a pod to a node. After an outcome that is not known it answers only once the cache has
/// seen whatever became of the request.
pub(super) async fn bind(
    client: &Client,
    pods: &Store<Seen<PodInfo>>,
    pod: &PodInfo,
    node: &Arc<str>,
) -> Bound {
    let body = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "name": &*pod.key.name, "namespace": &*pod.key.namespace, "uid": &*pod.uid },
        "target": { "apiVersion": "v1", "kind": "Node", "name": &**node },
    });
    let key = object_key(&pod.key);
    match client.create_subresource::<Pod>(&key, "binding", &body).await {
        Ok(_) => Bound::Yes,
        Err(error) if error.is_not_found() => Bound::Moot,
        Err(error) if error.outcome_unknown() => learn(client, pods, pod, &error).await,
        Err(error) if error.is_conflict() => learn(client, pods, pod, &error).await,
        Err(error) => Bound::No(render(&error)),
    }
}

/// Waits until the cache is as new as now and reads from it what became of the pod.
async fn learn(
    client: &Client,
    pods: &Store<Seen<PodInfo>>,
    pod: &PodInfo,
    cause: &Error,
) -> Bound {
    match client.read_index().await {
        Ok(revision) => pods.passed(revision).await,
        Err(error) => return Bound::No(render(&error)),
    }
    let current = pods.get(&object_key(&pod.key)).map(|seen| seen.what.clone());
    match current {
        Some(current) if current.uid == pod.uid && current.node_name.is_some() => Bound::Yes,
        Some(current) if current.uid == pod.uid => Bound::No(render(cause)),
        Some(_) | None => Bound::Moot,
    }
}
