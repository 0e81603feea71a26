//! Role-based access control: roles, bindings, and what they let a user do.
//!
//! A [`Policy`] is compiled once from the cached RBAC objects and replaced when they change. It is
//! indexed by subject, so a question costs the bindings of its user and groups, not all bindings.

use std::collections::HashMap;

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::attributes::Attributes;
use crate::user::{SERVICE_ACCOUNT_PREFIX, UserInfo};

/// The RBAC objects that a policy is made of.
#[derive(Default)]
pub struct Objects {
    /// Cluster roles.
    pub cluster_roles: Vec<ClusterRole>,
    /// Cluster role bindings.
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    /// Roles.
    pub roles: Vec<Role>,
    /// Role bindings.
    pub role_bindings: Vec<RoleBinding>,
}

/// Who may do what.
#[derive(Default)]
pub struct Policy {
    rules: Vec<Vec<PolicyRule>>,
    /// Subject -> grants.
    grants: HashMap<SubjectKey, Vec<Grant>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum SubjectKey {
    User(String),
    Group(String),
}

struct Grant {
    /// `None` is everywhere.
    namespace: Option<String>,
    /// Index into the policy's rules.
    role: usize,
    /// Which binding it is, in upstream's words.
    origin: String,
}

impl Policy {
    /// Compiles a policy. Bindings whose role does not exist grant nothing.
    pub fn compile(objects: &Objects) -> Policy {
        let mut policy = Policy::default();
        let mut cluster_roles = HashMap::new();
        for role in &objects.cluster_roles {
            let name = role.metadata.name.clone().unwrap_or_default();
            cluster_roles.insert(name, policy.add_rules(cluster_role_rules(role, objects)));
        }
        let mut roles = HashMap::new();
        for role in &objects.roles {
            let meta = &role.metadata;
            let key =
                (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
            roles.insert(key, policy.add_rules(role.rules.clone().unwrap_or_default()));
        }
        for binding in &objects.cluster_role_bindings {
            if let Some(role) = cluster_roles.get(&binding.role_ref.name) {
                let subjects = binding.subjects.as_deref().unwrap_or_default();
                let name = binding.metadata.name.as_deref().unwrap_or_default();
                let origin = format!("ClusterRoleBinding {name:?} of {}", of(&binding.role_ref));
                policy.grant(None, *role, subjects, &origin);
            }
        }
        for binding in &objects.role_bindings {
            let namespace = binding.metadata.namespace.clone().unwrap_or_default();
            let RoleRef { kind, name, .. } = &binding.role_ref;
            let role = if kind == "ClusterRole" {
                cluster_roles.get(name)
            } else {
                roles.get(&(namespace.clone(), name.clone()))
            };
            if let Some(role) = role {
                let subjects = binding.subjects.as_deref().unwrap_or_default();
                let name = binding.metadata.name.as_deref().unwrap_or_default();
                let name = format!("{name}/{namespace}");
                let origin = format!("RoleBinding {name:?} of {}", of(&binding.role_ref));
                policy.grant(Some(&namespace), *role, subjects, &origin);
            }
        }
        policy
    }

    fn add_rules(&mut self, rules: Vec<PolicyRule>) -> usize {
        self.rules.push(rules);
        self.rules.len() - 1
    }

    fn grant(&mut self, namespace: Option<&str>, role: usize, subjects: &[Subject], origin: &str) {
        for subject in subjects {
            let key = match subject.kind.as_str() {
                "User" => SubjectKey::User(subject.name.clone()),
                "Group" => SubjectKey::Group(subject.name.clone()),
                "ServiceAccount" => {
                    let home = subject.namespace.as_deref().or(namespace).unwrap_or_default();
                    SubjectKey::User(format!("{SERVICE_ACCOUNT_PREFIX}{home}:{}", subject.name))
                }
                _ => continue,
            };
            let origin = format!("{origin} to {} {}", subject.kind, shown(subject));
            let grant = Grant { namespace: namespace.map(str::to_owned), role, origin };
            self.grants.entry(key).or_default().push(grant);
        }
    }

    /// Whether some rule allows it.
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        self.rules_for(attributes.user, attributes.namespace)
            .any(|rule| rule_allows(rule, attributes))
    }

    /// Which binding allows it, for the audit log.
    pub fn allowed_by(&self, attributes: &Attributes<'_>) -> Option<String> {
        let mut grants = self.grants_for(attributes.user, attributes.namespace);
        let found = grants.find(|grant| {
            self.rules[grant.role].iter().any(|rule| rule_allows(rule, attributes))
        })?;
        Some(format!("RBAC: allowed by {}", found.origin))
    }

    /// The rules that hold for a user: everywhere, and in `namespace` unless it is empty.
    pub fn rules_for<'a>(
        &'a self,
        user: &'a UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a PolicyRule> {
        self.grants_for(user, namespace).flat_map(|grant| &self.rules[grant.role])
    }

    fn grants_for<'a>(
        &'a self,
        user: &'a UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Grant> {
        let subjects = std::iter::once(SubjectKey::User(user.name.clone()))
            .chain(user.groups.iter().map(|group| SubjectKey::Group(group.clone())));
        subjects.filter_map(|subject| self.grants.get(&subject)).flatten().filter(move |grant| {
            match &grant.namespace {
                None => true,
                Some(own) => !namespace.is_empty() && own == namespace,
            }
        })
    }
}

/// A role as upstream names it.
fn of(role: &RoleRef) -> String {
    format!("{} {:?}", role.kind, role.name)
}

/// A subject as upstream names it.
fn shown(subject: &Subject) -> String {
    match (subject.kind.as_str(), subject.namespace.as_deref()) {
        ("ServiceAccount", Some(namespace)) => {
            format!("{:?}", format!("{}/{namespace}", subject.name))
        }
        _ => format!("{:?}", subject.name),
    }
}

fn cluster_role_rules(role: &ClusterRole, objects: &Objects) -> Vec<PolicyRule> {
    let mut rules = role.rules.clone().unwrap_or_default();
    let selectors = role
        .aggregation_rule
        .as_ref()
        .and_then(|rule| rule.cluster_role_selectors.as_deref())
        .unwrap_or_default();
    for other in &objects.cluster_roles {
        if selectors.iter().any(|selector| selects(selector, other)) {
            rules.extend(other.rules.iter().flatten().cloned());
        }
    }
    rules
}

fn selects(selector: &LabelSelector, role: &ClusterRole) -> bool {
    let empty = std::collections::BTreeMap::new();
    let labels = role.metadata.labels.as_ref().unwrap_or(&empty);
    let exact = selector.match_labels.iter().flatten().all(|(k, v)| labels.get(k) == Some(v));
    let expressions = selector.match_expressions.iter().flatten().all(|expression| {
        let value = labels.get(&expression.key);
        let listed = |v: &String| expression.values.iter().flatten().any(|w| w == v);
        match expression.operator.as_str() {
            "In" => value.is_some_and(listed),
            "NotIn" => !value.is_some_and(listed),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    exact && expressions
}

/// Whether one rule allows it.
pub fn rule_allows(rule: &PolicyRule, attributes: &Attributes<'_>) -> bool {
    let has = |list: Option<&Vec<String>>, wanted: &str| {
        list.into_iter().flatten().any(|item| item == "*" || item == wanted)
    };
    if !has(Some(&rule.verbs), attributes.verb) {
        return false;
    }
    if !attributes.is_resource {
        return rule.non_resource_urls.iter().flatten().any(|url| {
            url == attributes.path
                || url.strip_suffix('*').is_some_and(|head| attributes.path.starts_with(head))
        });
    }
    let names = rule.resource_names.as_deref().unwrap_or_default();
    has(rule.api_groups.as_ref(), attributes.group)
        && resource_matches(rule, attributes)
        && (names.is_empty() || names.iter().any(|name| name == attributes.name))
}

fn resource_matches(rule: &PolicyRule, attributes: &Attributes<'_>) -> bool {
    rule.resources.iter().flatten().any(|resource| {
        if resource == "*" {
            return true;
        }
        match resource.split_once('/') {
            None => attributes.subresource.is_empty() && resource == attributes.resource,
            Some((main, sub)) => {
                sub == attributes.subresource && (main == "*" || main == attributes.resource)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_api::Object as _;
    use serde_json::{Value, json};

    fn policy() -> Policy {
        let role = |value: Value| ClusterRole::from_value(value).unwrap();
        Policy::compile(&Objects {
            cluster_roles: vec![
                role(json!({"metadata": {"name": "view", "labels": {"agg": "yes"}}, "rules": [
                    {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
                    {"nonResourceURLs": ["/metrics", "/logs/*"], "verbs": ["get"]},
                ]})),
                role(json!({"metadata": {"name": "all"}, "rules": [],
                    "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"agg": "yes"}}]}})),
            ],
            cluster_role_bindings: vec![ClusterRoleBinding::from_value(json!({
                "metadata": {"name": "b"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "all"},
                "subjects": [{"kind": "Group", "name": "viewers"}],
            }))
            .unwrap()],
            roles: vec![Role::from_value(json!({
                "metadata": {"namespace": "a", "name": "one"},
                "rules": [{"apiGroups": ["apps"], "resources": ["*/scale"], "resourceNames": ["web"], "verbs": ["*"]}],
            }))
            .unwrap()],
            role_bindings: vec![RoleBinding::from_value(json!({
                "metadata": {"namespace": "a", "name": "b"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"},
                "subjects": [{"kind": "ServiceAccount", "name": "sa"}],
            }))
            .unwrap()],
        })
    }

    /// `VERB GROUP/RESOURCE[/SUB] NAMESPACE NAME` or `VERB PATH`.
    fn check(user: &UserInfo, question: &str, expected: bool) {
        let words: Vec<&str> = question.split(' ').collect();
        let path = words[1].starts_with('/');
        let mut parts = words[1].split('/');
        let attributes = Attributes {
            user,
            verb: words[0],
            is_resource: !path,
            namespace: words.get(2).copied().unwrap_or_default(),
            group: if path { "" } else { parts.next().unwrap().trim_matches('-') },
            resource: if path { "" } else { parts.next().unwrap() },
            subresource: if path { "" } else { parts.next().unwrap_or_default() },
            name: words.get(3).copied().unwrap_or_default(),
            path: if path { words[1] } else { "" },
        };
        assert_eq!(policy().allows(&attributes), expected, "{question}");
    }

    #[test]
    fn rules_allow_what_they_name_and_nothing_else() {
        let viewer = UserInfo::new("eve", &["viewers"]);
        check(&viewer, "get -/pods a x", true);
        check(&viewer, "list -/pods", true);
        check(&viewer, "get -/pods/log a x", true);
        check(&viewer, "get -/pods/exec a x", false);
        check(&viewer, "delete -/pods a x", false);
        check(&viewer, "get apps/deployments a x", false);
        check(&viewer, "get /metrics", true);
        check(&viewer, "get /logs/a/b", true);
        check(&viewer, "get /debug", false);
        let account = UserInfo::new("system:serviceaccount:a:sa", &[]);
        check(&account, "patch apps/deployments/scale a web", true);
        check(&account, "patch apps/deployments/scale a other", false);
        check(&account, "patch apps/deployments/scale b web", false);
        check(&account, "patch apps/deployments a web", false);
    }
}
