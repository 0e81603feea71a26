//! What a node may do: its own Node, Lease and pods, and only what those pods refer to.
//!
//! The rules are those of the ClusterRole `system:node`; here they are narrowed to the asking node,
//! so that a stolen node identity opens no other node's secrets. What depends on a request's body
//! is checked by the NodeRestriction admission step.

use std::sync::LazyLock;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;

use super::{attributes::Attributes, policy, rbac::rule_allows};
use crate::cache::{Caches, object::Object};

static RULES: LazyLock<Vec<PolicyRule>> = LazyLock::new(|| policy::rules_of("system:node"));

/// Whether the user is a node that may do this.
pub fn allows(attributes: &Attributes<'_>, caches: &Caches) -> bool {
    let Some(node) = attributes.user.node_name() else { return false };
    if !RULES.iter().any(|rule| rule_allows(rule, attributes)) {
        return false;
    }
    let reads = matches!(attributes.verb, "get" | "list" | "watch");
    match (attributes.group, attributes.resource, attributes.subresource) {
        ("", "nodes", _) => reads || attributes.verb == "create" || attributes.name == node,
        ("coordination.k8s.io", "leases", _) => {
            attributes.namespace == "kube-node-lease"
                && (attributes.verb == "create" || attributes.name == node)
        }
        ("", "secrets" | "configmaps", _) => {
            !attributes.name.is_empty()
                && pods_of(node, attributes.namespace, caches)
                    .any(|pod| refers_to(&pod, attributes.resource, attributes.name))
        }
        ("", "serviceaccounts", "token") => cached_pods(node, attributes.namespace, caches)
            .any(|pod| pod.field("spec.serviceAccountName") == Some(attributes.name)),
        _ => true,
    }
}

fn cached_pods<'a>(
    node: &'a str,
    namespace: &str,
    caches: &Caches,
) -> impl Iterator<Item = std::sync::Arc<Object>> + use<'a> {
    let pods = caches.builtin("", "pods").cache.snapshot(caches.revision());
    pods.index
        .walk(&format!("{namespace}/"), "")
        .filter(move |pod| pod.field("spec.nodeName") == Some(node))
}

fn pods_of<'a>(
    node: &'a str,
    namespace: &str,
    caches: &Caches,
) -> impl Iterator<Item = Value> + use<'a> {
    cached_pods(node, namespace, caches).map(|pod| pod.value())
}

/// Whether a pod refers to a Secret or ConfigMap by name, anywhere kubelets look.
fn refers_to(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = &pod["spec"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (volume_field, name_field, env_field, ref_field) = match resource {
        "secrets" => ("secret", "secretName", "secretKeyRef", "secretRef"),
        _ => ("configMap", "name", "configMapKeyRef", "configMapRef"),
    };
    let in_volumes = list(&spec["volumes"]).iter().any(|volume| {
        volume[volume_field][name_field] == name
            || list(&volume["projected"]["sources"])
                .iter()
                .any(|source| source[volume_field]["name"] == name)
    });
    let in_containers = ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .flat_map(|field| list(&spec[*field]))
        .any(|container| {
            let env = list(&container["env"]);
            let from = list(&container["envFrom"]);
            env.iter().any(|entry| entry["valueFrom"][env_field]["name"] == name)
                || from.iter().any(|entry| entry[ref_field]["name"] == name)
        });
    let pulls = resource == "secrets"
        && list(&spec["imagePullSecrets"]).iter().any(|secret| secret["name"] == name);
    in_volumes || in_containers || pulls
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_found_wherever_kubelets_look() {
        let pod = json!({"spec": {
            "volumes": [
                {"secret": {"secretName": "a"}}, {"configMap": {"name": "b"}},
                {"projected": {"sources": [{"secret": {"name": "c"}}, {"configMap": {"name": "d"}}]}},
            ],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "e"}}}]}],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "f"}}]}],
            "imagePullSecrets": [{"name": "g"}],
        }});
        for (resource, names) in [("secrets", "aceg"), ("configmaps", "bdf")] {
            for name in ["a", "b", "c", "d", "e", "f", "g"] {
                assert_eq!(
                    refers_to(&pod, resource, name),
                    names.contains(name),
                    "{resource} {name}"
                );
            }
        }
    }
}
