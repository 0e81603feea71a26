//! A node writes only its own Node, its own Lease and the pods bound to it.

use async_trait::async_trait;
use kontiki_api::{Status, meta};

use super::{Attempt, Operation, Step};
use crate::{core::Core, user::NODE_PREFIX};

const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) struct NodeRestriction;

#[async_trait]
impl Step for NodeRestriction {
    async fn validate(&self, core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        let Some(node) = attempt.writer.user.node_name() else { return Ok(()) };
        match (attempt.resource.row.group.as_ref(), attempt.resource.row.resource.as_ref()) {
            ("", "nodes") => own_node(attempt, node),
            ("", "pods") => own_pod(core, attempt, node).await,
            ("coordination.k8s.io", "leases") if attempt.name != node => Err(attempt
                .forbidden("can only access node lease with the same name as the requesting node")),
            _ => Ok(()),
        }
    }
}

fn own_node(attempt: &Attempt<'_>, node: &str) -> Result<(), Status> {
    if attempt.name == node {
        return Ok(());
    }
    Err(attempt
        .forbidden(&format!("node {node:?} is not allowed to modify node {:?}", attempt.name)))
}

/// Labels decide who selects a pod, which is not the business of whoever runs it.
fn relabels(attempt: &Attempt<'_>) -> bool {
    let labels = |object: &serde_json::Value| {
        let labels = object["metadata"]["labels"].as_object();
        labels.filter(|labels| !labels.is_empty()).cloned()
    };
    attempt.old.is_some_and(|old| labels(old) != labels(attempt.object))
}

async fn own_pod(core: &Core, attempt: &Attempt<'_>, node: &str) -> Result<(), Status> {
    let bound_to = |pod: &serde_json::Value| pod["spec"]["nodeName"] == node;
    match attempt.operation {
        Operation::Create if meta::annotation(attempt.object, MIRROR).is_none() => Err(attempt
            .forbidden(&format!(
                "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
            ))),
        Operation::Create if !bound_to(attempt.object) => Err(attempt.forbidden(&format!(
            "node {node:?} can only create pods with spec.nodeName set to itself"
        ))),
        Operation::Create => Ok(()),
        Operation::Update if attempt.old.is_none_or(|old| !bound_to(old)) => Err(attempt
            .forbidden(&format!(
                "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
            ))),
        Operation::Update if relabels(attempt) => {
            Err(attempt
                .forbidden(&format!("node {node:?} cannot update labels through pod status")))
        }
        Operation::Update => Ok(()),
        Operation::Delete => {
            let found = core.find("", "pods", attempt.namespace, attempt.name).await?;
            if found.is_none_or(|pod| pod.field("spec.nodeName") == Some(node)) {
                return Ok(());
            }
            Err(attempt.forbidden(&format!(
                "node {:?} can only delete pods with spec.nodeName set to itself",
                format!("{NODE_PREFIX}{node}")
            )))
        }
    }
}
