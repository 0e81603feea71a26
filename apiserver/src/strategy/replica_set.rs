//! ReplicaSets: a number of pods of one template.

use kontiki_api::{
    field::{Errors, Path},
    k8s_openapi::{
        api::{apps::v1::ReplicaSet, core::v1::PodTemplateSpec},
        apimachinery::pkg::apis::meta::v1::LabelSelector,
    },
    names,
    selector::Selector,
};
use serde_json::{Value, json};

use super::{
    check::{self, Check},
    pod_spec, value,
};
use crate::registry::{Context, Strategy};

/// The strategy of `replicasets`.
pub(super) struct ReplicaSets;

impl Strategy for ReplicaSets {
    fn set_defaults(&self, object: &mut Value) {
        let spec = value::child_or_new(object, "spec");
        value::default(spec, "replicas", 1);
        template_defaults(spec);
    }

    fn prepare_for_create(&self, object: &mut Value, _: &Context<'_>) {
        value::set(object, "status", json!({"replicas": 0}));
    }

    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, validate)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        check::typed_pair(object, old, |new: &ReplicaSet, old: &ReplicaSet, check| {
            validate(new, check);
            let at = Path::new("spec").child("selector");
            let (new, old) = (&new.spec, &old.spec);
            let (new, old) = (check::or_default(new.as_ref()), check::or_default(old.as_ref()));
            check.immutable(&at, &new.selector, &old.selector);
        })
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_subdomain, name, prefix)
    }
}

fn validate(set: &ReplicaSet, check: &mut Check) {
    let at = Path::new("spec");
    let spec = check::or_default(set.spec.as_ref());
    check.not_negative(&at.child("replicas"), spec.replicas);
    check.not_negative(&at.child("minReadySeconds"), spec.min_ready_seconds);
    let template = check::or_default(spec.template.as_ref());
    selected_template(check, &at, &spec.selector, &template, "replicaset");
}

/// Sets the defaults of the template below a spec.
pub(super) fn template_defaults(spec: &mut Value) {
    let template = value::child_or_new(spec, "template");
    value::child_or_new(template, "metadata");
    pod_spec::set_defaults(value::child_or_new(template, "spec"));
}

/// Checks a selector, its template, and that the one selects the other.
pub(super) fn selected_template(
    check: &mut Check,
    at: &Path,
    selector: &LabelSelector,
    template: &PodTemplateSpec,
    kind: &str,
) {
    let selector_at = at.child("selector");
    check.selector(&selector_at, selector);
    let empty = selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if empty {
        let detail = format!("empty selector is invalid for {kind}");
        check.invalid(&selector_at, check::as_value(selector), &detail);
    }
    let at = at.child("template");
    let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
    let selects = Selector::from_typed(Some(selector)).is_ok_and(|all| all.matches(&labels));
    if !empty && !selects {
        check.invalid(
            &at.child("metadata").child("labels"),
            check::as_value(&labels.unwrap_or_default()),
            "`selector` does not match template `labels`",
        );
    }
    pod_spec::validate_template(check, &at, template);
    let spec = check::or_default(template.spec.as_ref());
    let restart = spec.restart_policy.as_deref().unwrap_or_default();
    if !restart.is_empty() {
        check.one_of(&at.child("spec").child("restartPolicy"), restart, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        let kind = match kind {
            "daemonset" => "DaemonSet",
            "statefulset" => "StatefulSet",
            _ => "ReplicaSet",
        };
        check.forbidden(
            &at.child("spec").child("activeDeadlineSeconds"),
            &format!("activeDeadlineSeconds in {kind} is not Supported"),
        );
    }
}
