//! A node writes only its own Node, its own Lease and the pods bound to it; and of its Node nothing
//! that would bring other pods to it: neither its taints nor labels that others set.

use async_trait::async_trait;
use kontiki_api::{Status, meta};
use serde_json::Value;

use super::{Attempt, Operation, Step};
use crate::{core::Core, user::NODE_PREFIX};

const MIRROR: &str = "kubernetes.io/config.mirror";
/// Kubernetes' labels that kubelets know better than anybody else.
const KUBELET_LABELS: [&str; 12] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

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
    if attempt.name != node {
        let why = format!("node {node:?} is not allowed to modify node {:?}", attempt.name);
        return Err(attempt.forbidden(&why));
    }
    if attempt.operation == Operation::Delete {
        return Ok(());
    }
    let labels = forbidden_labels(attempt.object, attempt.old).join(", ");
    let Some(old) = attempt.old else {
        if labels.is_empty() {
            return Ok(());
        }
        let why = format!("node {node:?} is not allowed to set the following labels: {labels}");
        return Err(attempt.forbidden(&why));
    };
    let parts = [
        ("taints", &attempt.object["spec"]["taints"], &old["spec"]["taints"]),
        (
            "ownerReferences",
            &attempt.object["metadata"]["ownerReferences"],
            &old["metadata"]["ownerReferences"],
        ),
    ];
    if let Some((part, ..)) = parts.iter().find(|(_, new, old)| new != old) {
        return Err(attempt.forbidden(&format!("node {node:?} is not allowed to modify {part}")));
    }
    if labels.is_empty() {
        return Ok(());
    }
    Err(attempt.forbidden(&format!("is not allowed to modify labels: {labels}")))
}

/// Labels that changed and are none of a kubelet's, in order.
fn forbidden_labels(new: &Value, old: Option<&Value>) -> Vec<String> {
    let labels = |object: &Value| {
        let labels = object["metadata"]["labels"].as_object();
        labels.cloned().unwrap_or_default()
    };
    let (new, old) = (labels(new), old.map(labels).unwrap_or_default());
    let mut changed: Vec<String> = new
        .keys()
        .chain(old.keys())
        .filter(|label| new.get(*label) != old.get(*label) && !may_label(label))
        .cloned()
        .collect();
    changed.sort();
    changed.dedup();
    changed
}

/// Whether a label is one that a kubelet may give to its node: one of its own, or nobody's.
fn may_label(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |outer: &str| {
        domain.strip_suffix(outer).is_some_and(|left| left.is_empty() || left.ends_with('.'))
    };
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    !(within("kubernetes.io") || within("k8s.io"))
        || within("kubelet.kubernetes.io")
        || within("node.kubernetes.io")
        || KUBELET_LABELS.contains(&label)
}

/// Labels decide who selects a pod, which is not the business of whoever runs it.
fn relabels(attempt: &Attempt<'_>) -> bool {
    let labels = |object: &Value| {
        let labels = object["metadata"]["labels"].as_object();
        labels.filter(|labels| !labels.is_empty()).cloned()
    };
    attempt.old.is_some_and(|old| labels(old) != labels(attempt.object))
}

async fn own_pod(core: &Core, attempt: &Attempt<'_>, node: &str) -> Result<(), Status> {
    let bound_to = |pod: &Value| pod["spec"]["nodeName"] == node;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kubelet_sets_its_own_labels_and_nobodys() {
        let labels = |labels: Value| json!({"metadata": {"labels": labels}});
        let old = labels(json!({"a": "1", "node-role.kubernetes.io/x": "", "k8s.io/kept": "1"}));
        let new = labels(json!({
            "a": "2",
            "example.com/b": "1",
            "fake-node.kubernetes.io/c": "1",
            "k8s.io/kept": "1",
            "kubernetes.io/hostname": "n1",
            "node.kubernetes.io/d": "1",
            "sub.node.kubernetes.io/e": "1",
            "x.node-restriction.kubernetes.io/f": "1",
        }));
        assert_eq!(
            forbidden_labels(&new, Some(&old)),
            [
                "fake-node.kubernetes.io/c",
                "node-role.kubernetes.io/x",
                "x.node-restriction.kubernetes.io/f",
            ]
        );
        assert!(
            forbidden_labels(&labels(json!({"topology.kubernetes.io/zone": "z"})), None).is_empty()
        );
    }
}
