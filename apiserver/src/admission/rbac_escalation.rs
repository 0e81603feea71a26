//! Nobody gives away more than they hold: roles and bindings grant only what their author may do,
//! unless the author may `escalate` roles or `bind` to them.

use async_trait::async_trait;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kontiki_api::{Status, meta};
use serde_json::Value;

use super::{Attempt, Operation, Step};
use crate::{
    authz::{Attributes, rbac::rule_allows},
    core::Core,
};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) struct RbacEscalation;

#[async_trait]
impl Step for RbacEscalation {
    async fn validate(&self, core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        if attempt.operation == Operation::Delete || attempt.resource.row.group != GROUP {
            return Ok(());
        }
        match attempt.resource.row.resource.as_ref() {
            "roles" | "clusterroles" => judge_role(core, attempt),
            _ => judge_binding(core, attempt).await,
        }
    }
}

fn judge_role(core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
    let unchanged =
        |field: &str| attempt.old.is_some_and(|old| old.get(field) == attempt.object.get(field));
    if unchanged("rules") && unchanged("aggregationRule") {
        return Ok(());
    }
    let resource = attempt.resource.row.resource.as_ref();
    if may(core, attempt, "escalate", resource, attempt.name) {
        return Ok(());
    }
    if attempt.object["aggregationRule"].is_object() && !unchanged("aggregationRule") {
        return Err(
            attempt.forbidden("must have cluster-admin privileges to use an aggregationRule")
        );
    }
    held(core, attempt, &rules_of(attempt.object))
}

async fn judge_binding(core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
    if attempt.old.is_some_and(|old| {
        old["roleRef"] == attempt.object["roleRef"] && old["subjects"] == attempt.object["subjects"]
    }) {
        return Ok(());
    }
    let reference = &attempt.object["roleRef"];
    let name = reference["name"].as_str().unwrap_or_default();
    let (resource, namespace) = match reference["kind"].as_str() {
        Some("Role") => ("roles", attempt.namespace),
        _ => ("clusterroles", ""),
    };
    if may(core, attempt, "bind", resource, name) {
        return Ok(());
    }
    let Some(role) = core.find(GROUP, resource, namespace, name).await? else {
        return Err(Status::not_found(GROUP, resource, name));
    };
    held(core, attempt, &rules_of(&role.value()))
}

fn may(core: &Core, attempt: &Attempt<'_>, verb: &str, resource: &str, name: &str) -> bool {
    core.allows(&Attributes {
        user: &attempt.writer.user,
        verb,
        is_resource: true,
        namespace: attempt.namespace,
        group: GROUP,
        resource,
        subresource: "",
        name,
        path: "",
    })
}

fn rules_of(role: &Value) -> Vec<PolicyRule> {
    use kontiki_api::Object as _;
    // Roles and cluster roles have the same rules; only the metadata and these matter here.
    let value = serde_json::json!({
        "metadata": {"name": meta::name(role)}, "rules": role["rules"],
    });
    let role = k8s_openapi::api::rbac::v1::Role::from_value(value);
    role.ok().and_then(|role| role.rules).unwrap_or_default()
}

/// Refuses rules that the author does not hold.
fn held(core: &Core, attempt: &Attempt<'_>, wanted: &[PolicyRule]) -> Result<(), Status> {
    let user = &attempt.writer.user;
    let authorizer = core.authorizer.load();
    let own: Vec<&PolicyRule> = authorizer.rbac.rules_for(user, attempt.namespace).collect();
    let missing: Vec<String> =
        wanted.iter().filter(|rule| !covers(&own, rule)).map(shown).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(attempt.forbidden(&format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        user.groups,
        missing.join("\n")
    )))
}

/// Whether everything that `wanted` allows is allowed by some of `own`.
fn covers(own: &[&PolicyRule], wanted: &PolicyRule) -> bool {
    let nobody = crate::user::UserInfo::default();
    let asked = |verb: &str, group: &str, resource: &str, name: &str, path: &str| {
        let (main, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = Attributes {
            user: &nobody,
            verb,
            is_resource: path.is_empty(),
            namespace: "",
            group,
            resource: main,
            subresource: sub,
            name,
            path,
        };
        own.iter().any(|rule| rule_allows(rule, &attributes))
    };
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let names = match list(&wanted.resource_names) {
        names if names.is_empty() => vec![String::new()],
        names => names,
    };
    wanted.verbs.iter().all(|verb| {
        list(&wanted.non_resource_urls).iter().all(|url| asked(verb, "", "", "", url))
            && list(&wanted.api_groups).iter().all(|group| {
                list(&wanted.resources)
                    .iter()
                    .all(|resource| names.iter().all(|name| asked(verb, group, resource, name, "")))
            })
    })
}

/// A rule as upstream prints it.
fn shown(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", rule.api_groups.as_ref()),
        ("Resources", rule.resources.as_ref()),
        ("ResourceNames", rule.resource_names.as_ref()),
        ("NonResourceURLs", rule.non_resource_urls.as_ref()),
        ("Verbs", Some(&rule.verbs)),
    ];
    let texts: Vec<String> =
        parts.into_iter().filter_map(|(name, list)| Some(format!("{name}:{:?}", list?))).collect();
    format!("{{{}}}", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> PolicyRule {
        let role = json!({"metadata": {"name": "r"}, "rules": [{
            "verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names,
        }]});
        rules_of(&role).remove(0)
    }

    #[test]
    fn a_rule_is_covered_when_all_of_it_is() {
        let pods = rule(&["get", "list"], &[""], &["pods", "pods/log"], &[]);
        let one = rule(&["update"], &[""], &["configmaps"], &["a"]);
        let own = [&pods, &one];
        assert!(covers(&own, &rule(&["get"], &[""], &["pods"], &[])));
        assert!(covers(&own, &rule(&["get"], &[""], &["pods/log"], &["x"])));
        assert!(covers(&own, &rule(&["update"], &[""], &["configmaps"], &["a"])));
        assert!(!covers(&own, &rule(&["update"], &[""], &["configmaps"], &[])));
        assert!(!covers(&own, &rule(&["get", "delete"], &[""], &["pods"], &[])));
        assert!(!covers(&own, &rule(&["*"], &[""], &["pods"], &[])));
        assert!(!covers(&own, &rule(&["get"], &["*"], &["pods"], &[])));
        let all = rule(&["*"], &["*"], &["*"], &[]);
        assert!(covers(&[&all], &rule(&["*"], &["*"], &["*"], &[])));
    }
}
