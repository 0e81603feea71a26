//! What roles share, and what bindings share.

use kontiki_api::{
    field::Path,
    k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject},
    names,
};
use serde_json::Value;

use super::{
    check::{self, Check},
    value,
};

/// The API group of roles and of users.
pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks the rules of a role.
pub(super) fn rules(check: &mut Check, rules: Option<&[PolicyRule]>, namespaced: bool) {
    for (index, rule) in rules.unwrap_or_default().iter().enumerate() {
        one_rule(check, &Path::new("rules").index(index), rule, namespaced);
    }
}

fn one_rule(check: &mut Check, at: &Path, rule: &PolicyRule, namespaced: bool) {
    let filled = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if rule.verbs.is_empty() {
        check.required(&at.child("verbs"), "verbs must contain at least one value");
    }
    if filled(&rule.non_resource_urls) {
        let urls = rule.non_resource_urls.clone().unwrap_or_default();
        if namespaced {
            check.invalid(
                &at.child("nonResourceURLs"),
                urls.clone(),
                "namespaced rules cannot apply to non-resource URLs",
            );
        }
        let regular = [&rule.api_groups, &rule.resources, &rule.resource_names];
        if regular.into_iter().any(filled) {
            check.invalid(
                &at.child("nonResourceURLs"),
                urls,
                "rules cannot apply to both regular resources and non-resource URLs",
            );
        }
        return;
    }
    if !filled(&rule.api_groups) {
        check.required(&at.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if !filled(&rule.resources) {
        check.required(&at.child("resources"), "resource rules must supply at least one resource");
    }
}

/// Fills in the groups that a binding leaves out.
pub(super) fn default_binding(object: &mut Value) {
    if let Some(role) = value::child(object, "roleRef") {
        value::default(role, "apiGroup", GROUP);
    }
    for subject in value::items(object, "subjects") {
        if matches!(value::text(subject, "kind"), "User" | "Group") {
            value::default(subject, "apiGroup", GROUP);
        }
    }
}

/// Checks a binding's reference and subjects.
pub(super) fn binding(
    check: &mut Check,
    role: &RoleRef,
    subjects: Option<&[Subject]>,
    kinds: &[&str],
) {
    let at = Path::new("roleRef");
    let group = role.api_group.as_deref().unwrap_or_default();
    check.one_of(&at.child("apiGroup"), group, &[GROUP]);
    check.one_of(&at.child("kind"), &role.kind, kinds);
    check.named(&at.child("name"), &role.name, names::path_segment);
    for (index, subject) in subjects.unwrap_or_default().iter().enumerate() {
        one_subject(check, &Path::new("subjects").index(index), subject);
    }
}

fn one_subject(check: &mut Check, at: &Path, subject: &Subject) {
    let group = subject.api_group.as_deref().unwrap_or_default();
    let namespace = subject.namespace.as_deref().unwrap_or_default();
    if subject.name.is_empty() {
        check.required(&at.child("name"), "");
    }
    match subject.kind.as_str() {
        "ServiceAccount" => {
            if !subject.name.is_empty() {
                let wrong = names::dns1123_subdomain(&subject.name);
                check.errors.invalid_each(&at.child("name"), &subject.name, wrong);
            }
            if !group.is_empty() {
                check.one_of(&at.child("apiGroup"), group, &[""]);
            }
            if namespace.is_empty() {
                check.required(&at.child("namespace"), "");
            }
        }
        "User" | "Group" => check.one_of(&at.child("apiGroup"), group, &[GROUP]),
        other => check.one_of(&at.child("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

/// A binding refers to one role for ever.
pub(super) fn role_stays(check: &mut Check, new: &RoleRef, old: &RoleRef) {
    if new != old {
        check.invalid(&Path::new("roleRef"), check::as_value(new), "cannot change roleRef");
    }
}
