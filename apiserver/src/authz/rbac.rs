//! Role-based access control: roles, bindings, and what they let a user do.
//!
//! A [`Policy`] is made of one part for the cluster and one for each namespace, each compiled from its
//! roles and bindings, and only anew when one of these changes. A part is indexed by subject, so a
//! question costs the bindings of its user and groups in its namespace, not all bindings.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::attributes::Attributes;
use crate::user::{SERVICE_ACCOUNT_PREFIX, UserInfo};

/// Who may do what. A copy costs a pointer per namespace.
#[derive(Clone, Default)]
pub struct Policy {
    cluster: Arc<Part>,
    namespaces: HashMap<Arc<str>, Arc<Part>>,
}

/// What the roles and bindings of one namespace say, or those of the cluster.
#[derive(Default)]
struct Part {
    /// Rules by their role's name.
    roles: HashMap<String, Vec<PolicyRule>>,
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

/// One subject of one binding.
struct Grant {
    role: BoundRole,
    /// The binding's name.
    binding: Arc<str>,
    /// Whether the binding names a service account, not its user.
    account: bool,
}

/// The role of a binding. Without a role of that name, it grants nothing.
enum BoundRole {
    Cluster(Arc<str>),
    /// One beside the binding.
    Own(Arc<str>),
}

/// A grant, where it is, and whom it was found for.
struct Found<'a> {
    /// Empty for the cluster.
    namespace: &'a str,
    grant: &'a Grant,
    rules: &'a [PolicyRule],
    /// `User` or `Group`, and the name.
    subject: (&'static str, &'a str),
}

impl Policy {
    /// Takes the cluster's roles and bindings in place of those before.
    pub fn set_cluster(&mut self, roles: &[ClusterRole], bindings: &[ClusterRoleBinding]) {
        let mut part = Part::default();
        for role in roles {
            let name = role.metadata.name.clone().unwrap_or_default();
            part.roles.insert(name, cluster_role_rules(role, roles));
        }
        for binding in bindings {
            part.bind("", &binding.metadata, &binding.role_ref, binding.subjects.as_deref());
        }
        self.cluster = Arc::new(part);
    }

    /// Takes a namespace's roles and bindings in place of those before.
    pub fn set_namespace(&mut self, namespace: &str, roles: &[Role], bindings: &[RoleBinding]) {
        if roles.is_empty() && bindings.is_empty() {
            self.namespaces.remove(namespace);
            return;
        }
        let mut part = Part::default();
        for role in roles {
            let name = role.metadata.name.clone().unwrap_or_default();
            part.roles.insert(name, role.rules.clone().unwrap_or_default());
        }
        for binding in bindings {
            part.bind(namespace, &binding.metadata, &binding.role_ref, binding.subjects.as_deref());
        }
        self.namespaces.insert(namespace.into(), Arc::new(part));
    }

    /// Whether some rule allows it.
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        self.rules_for(attributes.user, attributes.namespace)
            .any(|rule| rule_allows(rule, attributes))
    }

    /// Which binding allows it, for the audit log.
    pub fn allowed_by(&self, attributes: &Attributes<'_>) -> Option<String> {
        let mut found = self.find(attributes.user, attributes.namespace);
        let found =
            found.find(|found| found.rules.iter().any(|rule| rule_allows(rule, attributes)))?;
        Some(format!("RBAC: allowed by {}", found.origin()))
    }

    /// The rules that hold for a user: everywhere, and in `namespace` unless it is empty.
    pub fn rules_for<'a>(
        &'a self,
        user: &'a UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a PolicyRule> {
        self.find(user, namespace).flat_map(|found| found.rules)
    }

    fn find<'a>(
        &'a self,
        user: &'a UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = Found<'a>> {
        let own = self.namespaces.get(namespace).map(|part| (namespace, &**part));
        let parts = std::iter::once(("", &*self.cluster)).chain(own);
        parts.flat_map(move |(namespace, part)| {
            let as_user = part.users.get(&user.name).map(|grants| (("User", &*user.name), grants));
            let as_member = user.groups.iter().filter_map(|group| {
                part.groups.get(group).map(|grants| (("Group", group.as_str()), grants))
            });
            as_user.into_iter().chain(as_member).flat_map(move |(subject, grants)| {
                grants.iter().filter_map(move |grant| {
                    let rules = self.rules(part, &grant.role)?;
                    Some(Found { namespace, grant, rules, subject })
                })
            })
        })
    }

    fn rules<'a>(&'a self, part: &'a Part, role: &BoundRole) -> Option<&'a [PolicyRule]> {
        let rules = match role {
            BoundRole::Cluster(name) => self.cluster.roles.get(&**name),
            BoundRole::Own(name) => part.roles.get(&**name),
        };
        rules.map(Vec::as_slice)
    }
}

impl Part {
    fn bind(
        &mut self,
        namespace: &str,
        binding: &ObjectMeta,
        role: &RoleRef,
        subjects: Option<&[Subject]>,
    ) {
        let binding: Arc<str> = binding.name.as_deref().unwrap_or_default().into();
        let role_name: Arc<str> = role.name.as_str().into();
        for subject in subjects.unwrap_or_default() {
            let account = subject.kind == "ServiceAccount";
            let grants = match subject.kind.as_str() {
                "User" => self.users.entry(subject.name.clone()),
                "Group" => self.groups.entry(subject.name.clone()),
                "ServiceAccount" => {
                    let home = subject.namespace.as_deref().unwrap_or(namespace);
                    let user = format!("{SERVICE_ACCOUNT_PREFIX}{home}:{}", subject.name);
                    self.users.entry(user)
                }
                _ => continue,
            };
            let role = if role.kind == "ClusterRole" {
                BoundRole::Cluster(role_name.clone())
            } else {
                BoundRole::Own(role_name.clone())
            };
            grants.or_default().push(Grant { role, binding: binding.clone(), account });
        }
    }
}

impl Found<'_> {
    /// The binding, its role and its subject in upstream's words.
    fn origin(&self) -> String {
        let Grant { role, binding, account } = self.grant;
        let binding = match self.namespace {
            "" => format!("ClusterRoleBinding {binding:?}"),
            namespace => format!("RoleBinding {:?}", format!("{binding}/{namespace}")),
        };
        let role = match role {
            BoundRole::Cluster(name) => format!("ClusterRole {name:?}"),
            BoundRole::Own(name) => format!("Role {name:?}"),
        };
        let (kind, name) = self.subject;
        let of_account = name.strip_prefix(SERVICE_ACCOUNT_PREFIX).filter(|_| *account);
        let subject = match of_account.and_then(|account| account.split_once(':')) {
            Some((home, name)) => format!("ServiceAccount {:?}", format!("{name}/{home}")),
            None => format!("{kind} {name:?}"),
        };
        format!("{binding} of {role} to {subject}")
    }
}

/// The rules of a role, and of those that it gathers.
fn cluster_role_rules(role: &ClusterRole, all: &[ClusterRole]) -> Vec<PolicyRule> {
    let mut rules = role.rules.clone().unwrap_or_default();
    let selectors = role
        .aggregation_rule
        .as_ref()
        .and_then(|rule| rule.cluster_role_selectors.as_deref())
        .unwrap_or_default();
    for other in all {
        if selectors.iter().any(|selector| selects(selector, other)) {
            // Those that the controller wrote into the role are there already.
            let others: Vec<_> =
                other.rules.iter().flatten().filter(|r| !rules.contains(r)).collect();
            rules.extend(others.into_iter().cloned());
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
    use serde_json::{Value, json};

    fn policy() -> Policy {
        let roles = [
            json!({"metadata": {"name": "view", "labels": {"agg": "yes"}}, "rules": [
                {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
                {"nonResourceURLs": ["/metrics", "/logs/*"], "verbs": ["get"]},
            ]}),
            json!({"metadata": {"name": "all"}, "rules": [],
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"agg": "yes"}}]}}),
        ];
        let mut policy = Policy::default();
        policy.set_cluster(
            &roles.map(read),
            &[read(json!({
                "metadata": {"name": "b"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "all"},
                "subjects": [{"kind": "Group", "name": "viewers"}],
            }))],
        );
        policy.set_namespace(
            "a",
            &[read(json!({
                "metadata": {"namespace": "a", "name": "one"},
                "rules": [{"apiGroups": ["apps"], "resources": ["*/scale"], "resourceNames": ["web"], "verbs": ["*"]}],
            }))],
            &[read(binding("Role", "one")), read(binding("ClusterRole", "late"))],
        );
        policy
    }

    fn read<T: kontiki_api::Object>(value: Value) -> T {
        T::from_value(value).unwrap()
    }

    fn binding(kind: &str, role: &str) -> Value {
        json!({
            "metadata": {"namespace": "a", "name": format!("of-{role}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "sa"}, {"kind": "User", "name": "ann"}],
        })
    }

    fn check(user: &UserInfo, question: &str, expected: bool) {
        asked(user, question, |attributes| {
            assert_eq!(policy().allows(attributes), expected, "{question}");
        });
    }

    /// `VERB GROUP/RESOURCE[/SUB] NAMESPACE NAME` or `VERB PATH`.
    fn asked(user: &UserInfo, question: &str, then: impl FnOnce(&Attributes<'_>)) {
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
        then(&attributes);
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
    #[test]
    fn a_binding_grants_what_its_role_says_whenever_that_comes() {
        let mut policy = policy();
        let ann = UserInfo::new("ann", &[]);
        let check = |policy: &Policy, expected: Option<&str>| {
            asked(&ann, "get -/secrets a x", |attributes| {
                assert_eq!(policy.allowed_by(attributes).as_deref(), expected);
                assert_eq!(policy.allows(attributes), expected.is_some());
            });
        };
        check(&policy, None);
        let late = json!({"metadata": {"name": "late"},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
        policy.set_cluster(&[read(late)], &[]);
        let by = r#"RBAC: allowed by RoleBinding "of-late/a" of ClusterRole "late" to User "ann""#;
        check(&policy, Some(by));
        policy.set_namespace("a", &[], &[]);
        check(&policy, None);
    }

    #[test]
    fn a_grant_names_the_service_account_that_its_binding_names() {
        let account = UserInfo::new("system:serviceaccount:a:sa", &[]);
        asked(&account, "get apps/deployments/scale a web", |attributes| {
            let by =
                r#"RBAC: allowed by RoleBinding "of-one/a" of Role "one" to ServiceAccount "sa/a""#;
            assert_eq!(policy().allowed_by(attributes).as_deref(), Some(by));
        });
    }
}
