//! The roles and bindings that every cluster starts with.
//!
//! They are a table: `role NAME [aggregates LABEL] [aggregate-to LABEL]`, then one line per rule, then who is bound
//! to it. Where upstream has one identity per controller ours have one for all, so that
//! `system:kube-controller-manager` is allowed what upstream's controllers are together.

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

/// `allow VERBS GROUPS RESOURCES [NAMES]` (`core` is the group without name), `url VERBS PATHS`,
/// `to KIND NAME`.
const POLICY: &str = include_str!("policy.txt");

const API_GROUP: &str = "rbac.authorization.k8s.io";

#[derive(Default)]
struct Entry {
    name: &'static str,
    aggregate_to: Option<&'static str>,
    aggregates: Option<&'static str>,
    rules: Vec<Value>,
    subjects: Vec<Value>,
}

fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in POLICY.lines() {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] | ["#", ..] => {}
            ["role", name, rest @ ..] => {
                let mut entry = Entry { name, ..Entry::default() };
                for pair in rest.chunks(2) {
                    match pair {
                        ["aggregate-to", label] => entry.aggregate_to = Some(label),
                        ["aggregates", label] => entry.aggregates = Some(label),
                        _ => unreachable!("an unknown word behind the role {name}"),
                    }
                }
                entries.push(entry);
            }
            _ => {
                let entry = entries.last_mut().expect("the table starts with a role");
                match words.as_slice() {
                    ["to", kind, name] => entry.subjects.push(subject(kind, name)),
                    rule => entry.rules.push(parse_rule(rule)),
                }
            }
        }
    }
    entries
}

fn parse_rule(words: &[&str]) -> Value {
    let list = |text: &str| -> Vec<String> {
        text.split(',').map(|word| if word == "core" { "" } else { word }.to_owned()).collect()
    };
    match words {
        ["allow", verbs, groups, resources] => json!({
            "verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources),
        }),
        ["allow", verbs, groups, resources, names] => json!({
            "verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources),
            "resourceNames": list(names),
        }),
        ["url", verbs, urls] => json!({"verbs": list(verbs), "nonResourceURLs": list(urls)}),
        _ => unreachable!("a line of the built-in policy that is no rule: {words:?}"),
    }
}

fn subject(kind: &str, name: &str) -> Value {
    json!({"apiGroup": API_GROUP, "kind": kind, "name": name})
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    })
}

/// All default ClusterRoles. Aggregated roles carry the rules of what they aggregate.
pub fn cluster_roles() -> Vec<Value> {
    let entries = entries();
    let role = |entry: &Entry| {
        let mut meta = metadata(entry.name);
        if let Some(label) = entry.aggregate_to {
            let key = format!("rbac.authorization.k8s.io/aggregate-to-{label}");
            meta["labels"][key] = "true".into();
        }
        let mut object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta,
        });
        if let Some(label) = entry.aggregates {
            let key = format!("rbac.authorization.k8s.io/aggregate-to-{label}");
            object["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {key: "true"}}]});
        }
        object["rules"] = Value::Array(rules(entry, &entries));
        object
    };
    entries.iter().map(role).collect()
}

/// A role's own rules, or those of its parts, in the order in which the controller that keeps them
/// puts them: by the parts' names, each once.
fn rules(entry: &Entry, entries: &[Entry]) -> Vec<Value> {
    let Some(label) = entry.aggregates else { return entry.rules.clone() };
    let feeds = |other: &&Entry| other.aggregate_to == Some(label) && other.name != entry.name;
    let mut parts: Vec<&Entry> = entries.iter().filter(feeds).collect();
    parts.sort_by_key(|part| part.name);
    let mut all = Vec::new();
    for rule in parts.into_iter().flat_map(|part| rules(part, entries)) {
        if !all.contains(&rule) {
            all.push(rule);
        }
    }
    all
}

/// All default ClusterRoleBindings.
pub fn cluster_role_bindings() -> Vec<Value> {
    let bound = entries().into_iter().filter(|entry| !entry.subjects.is_empty());
    bound
        .map(|entry| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": metadata(entry.name),
                "roleRef": {"apiGroup": API_GROUP, "kind": "ClusterRole", "name": entry.name},
                "subjects": entry.subjects,
            })
        })
        .collect()
}

/// The rules of one default role.
pub fn rules_of(role: &str) -> Vec<PolicyRule> {
    use kontiki_api::Object as _;
    let found = cluster_roles().into_iter().find(|object| object["metadata"]["name"] == role);
    let object = found.expect("the role is built in");
    let role = k8s_openapi::api::rbac::v1::ClusterRole::from_value(object);
    role.expect("built-in roles are valid").rules.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{Attributes, rbac};
    use crate::user::UserInfo;
    use kontiki_api::Object as _;

    fn compiled() -> rbac::Policy {
        use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
        let roles = cluster_roles().into_iter().map(|v| ClusterRole::from_value(v).unwrap());
        let bindings =
            cluster_role_bindings().into_iter().map(|v| ClusterRoleBinding::from_value(v).unwrap());
        let mut policy = rbac::Policy::default();
        policy.set_cluster(&roles.collect::<Vec<_>>(), &bindings.collect::<Vec<_>>());
        policy
    }

    #[test]
    fn components_may_do_their_work_and_not_each_others() {
        let policy = compiled();
        let may = |user: &UserInfo, verb: &str, group: &str, resource: &str, subresource: &str| {
            policy.allows(&Attributes {
                user,
                verb,
                is_resource: true,
                namespace: "a",
                group,
                resource,
                subresource,
                name: "x",
                path: "",
            })
        };
        let scheduler = UserInfo::new("system:kube-scheduler", &[]);
        let controllers = UserInfo::new("system:kube-controller-manager", &[]);
        let anybody = UserInfo::new("eve", &[]);
        assert!(may(&scheduler, "create", "", "pods", "binding"));
        assert!(!may(&scheduler, "get", "", "secrets", ""));
        assert!(!may(&scheduler, "create", "", "pods", ""));
        assert!(may(&controllers, "create", "apps", "replicasets", ""));
        assert!(may(&controllers, "delete", "", "secrets", ""));
        assert!(!may(&controllers, "create", "rbac.authorization.k8s.io", "clusterroles", ""));
        assert!(may(&anybody, "create", "authorization.k8s.io", "selfsubjectaccessreviews", ""));
        assert!(!may(&anybody, "list", "", "pods", ""));
    }

    #[test]
    fn aggregated_roles_carry_the_rules_of_their_parts() {
        let roles = cluster_roles();
        let rules = |name: &str| {
            let role = roles.iter().find(|role| role["metadata"]["name"] == name).unwrap();
            role["rules"].as_array().unwrap().len()
        };
        assert!(
            rules("view") > 0 && rules("edit") > rules("view") && rules("admin") > rules("edit")
        );
    }

    /// Namespaced resources that `view` does not read, with the weakest role that does.
    const NOT_FOR_VIEWERS: [(&str, &str); 8] = [
        ("csistoragecapacities.storage.k8s.io", ""),
        ("events.events.k8s.io", ""),
        ("leases.coordination.k8s.io", "edit"),
        ("podtemplates", ""),
        ("rolebindings.rbac.authorization.k8s.io", "admin"),
        ("roles.rbac.authorization.k8s.io", "admin"),
        ("secrets", "edit"),
        ("bindings", "view"),
    ];

    #[test]
    fn every_resource_is_read_by_whom_it_is_meant_for() {
        let user = UserInfo::new("u", &[]);
        for row in kontiki_api::Catalogue::builtin().rows() {
            let reads = |role: &str| {
                let attributes = Attributes {
                    user: &user,
                    verb: "get",
                    is_resource: true,
                    namespace: "a",
                    group: &row.group,
                    resource: &row.resource,
                    subresource: "",
                    name: "x",
                    path: "",
                };
                rules_of(role).iter().any(|rule| rbac::rule_allows(rule, &attributes))
            };
            let weakest = ["view", "edit", "admin"].into_iter().find(|role| reads(role));
            let name = row.qualified_resource();
            let exception = NOT_FOR_VIEWERS.iter().find(|(resource, _)| *resource == name);
            let expected = match exception {
                Some((_, role)) => *role,
                None if row.namespaced() || name == "namespaces" => "view",
                None => "",
            };
            assert_eq!(weakest.unwrap_or_default(), expected, "{name}");
        }
    }

    fn rules_of(name: &str) -> Vec<PolicyRule> {
        let role = cluster_roles().into_iter().find(|role| role["metadata"]["name"] == name);
        let role = k8s_openapi::api::rbac::v1::ClusterRole::from_value(role.unwrap()).unwrap();
        role.rules.unwrap_or_default()
    }
}
