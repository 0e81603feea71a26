//! Making room: deleting the victims of a preemption, gracefully and once.

use std::sync::Arc;

use futures::StreamExt;
use kontiki_api::slim::Pod;
use kontiki_base::tasks::{TaskKind, Tasks, render};
use kontiki_client::{Client, DeleteOptions, EventType, Patch};
use serde_json::json;

use super::{Acting, binder::object_key, reporter};
use crate::pod::PodInfo;

/// Victims deleted at the same time.
const DELETIONS_MAX: usize = 16;

/// Starts deleting victims. The pod is woken by their end, not by this task's.
pub(super) fn start(
    acting: &Acting,
    tasks: &Tasks,
    pod: &Arc<PodInfo>,
    node: &str,
    victims: Vec<Arc<PodInfo>>,
) {
    let victims: Vec<Arc<PodInfo>> = victims.into_iter().filter(|v| !v.deleting).collect();
    for victim in &victims {
        let message = format!("Preempted by pod {} on node {node}", pod.uid);
        let regarding = reporter::regarding(victim);
        acting.events.record(regarding, EventType::Normal, "Preempted", &message);
    }
    let pod = pod.clone();
    let (client, over) = (acting.turn.client.clone(), acting.turn.over.clone());
    tasks.spawn_infallible(TaskKind::logged("preemption"), async move {
        let evictions = futures::stream::iter(victims)
            .for_each_concurrent(DELETIONS_MAX, |victim| evict(&client, &pod, victim));
        tokio::select! { biased;
            () = over.cancelled() => {}
            () = evictions => {}
        }
    });
}

async fn evict(client: &Client, pod: &PodInfo, victim: Arc<PodInfo>) {
    let key = object_key(&victim.key);
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "default-scheduler: preempting to accommodate a higher priority pod",
        "lastTransitionTime": reporter::now(),
    });
    let body = json!({
        "metadata": { "uid": &*victim.uid },
        "status": { "conditions": [condition] },
    });
    if let Err(error) = client.patch_status::<Pod>(&key, Patch::Strategic(body)).await {
        tracing::debug!(pod = %victim.key, "victim not marked: {}", render(&error));
    }
    let options = DeleteOptions { uid: Some(victim.uid.to_string()), ..DeleteOptions::default() };
    match client.delete::<Pod>(&key, &options).await {
        Ok(_) => {}
        // Gone already, or another of its name.
        Err(error) if error.is_not_found() || error.is_conflict() => {}
        Err(error) => {
            // The pod's next attempt plans anew.
            tracing::debug!(pod = %victim.key, for_pod = %pod.key, "not preempted: {}", render(&error));
        }
    }
}
