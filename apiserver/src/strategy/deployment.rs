//! Deployments: replicas of a template, and how one template gives way to the next.

use kontiki_api::{
    field::{Errors, Path},
    k8s_openapi::{
        api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        apimachinery::pkg::util::intstr::IntOrString,
    },
    names,
};
use serde_json::{Value, json};

use super::{
    check::{self, Check, percent},
    replica_set, value,
};
use crate::registry::{Context, Strategy};

/// The strategy of `deployments`.
pub(super) struct Deployments;

impl Strategy for Deployments {
    fn set_defaults(&self, object: &mut Value) {
        let spec = value::child_or_new(object, "spec");
        value::default(spec, "replicas", 1);
        value::default(spec, "revisionHistoryLimit", 10);
        value::default(spec, "progressDeadlineSeconds", 600);
        let strategy = value::child_or_new(spec, "strategy");
        value::default(strategy, "type", "RollingUpdate");
        if value::text(strategy, "type") == "RollingUpdate" {
            let rolling = value::child_or_new(strategy, "rollingUpdate");
            value::default(rolling, "maxUnavailable", "25%");
            value::default(rolling, "maxSurge", "25%");
        }
        replica_set::template_defaults(spec);
    }

    fn prepare_for_create(&self, object: &mut Value, _: &Context<'_>) {
        value::set(object, "status", json!({}));
    }

    fn status_metadata(&self) -> &'static [&'static str] {
        // So that the revision, which stands in an annotation, raises no generation.
        &["annotations", "finalizers", "ownerReferences"]
    }

    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, validate)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        check::typed_pair(object, old, |new: &Deployment, old: &Deployment, check| {
            validate(new, check);
            let at = Path::new("spec").child("selector");
            let (new, old) = (&new.spec, &old.spec);
            let (new, old) = (check::or_default(new.as_ref()), check::or_default(old.as_ref()));
            check.immutable(&at, &new.selector, &old.selector);
        })
    }

    fn validate_status_update(&self, object: &Value, _: &Value) -> Errors {
        check::typed(object, |deployment: &Deployment, check| {
            let status = check::or_default(deployment.status.as_ref());
            let at = Path::new("status");
            check.not_negative(&at.child("observedGeneration"), status.observed_generation);
            check.not_negative(&at.child("replicas"), status.replicas);
            check.not_negative(&at.child("updatedReplicas"), status.updated_replicas);
            check.not_negative(&at.child("readyReplicas"), status.ready_replicas);
            check.not_negative(&at.child("availableReplicas"), status.available_replicas);
            check.not_negative(&at.child("unavailableReplicas"), status.unavailable_replicas);
        })
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_subdomain, name, prefix)
    }

    fn generation_changes(&self, object: &Value, old: &Value) -> bool {
        // The revision stands in an annotation, so controllers must see those change too.
        object.get("spec") != old.get("spec")
            || object["metadata"]["annotations"] != old["metadata"]["annotations"]
    }
}

fn validate(deployment: &Deployment, check: &mut Check) {
    let at = Path::new("spec");
    let spec = check::or_default(deployment.spec.as_ref());
    check.not_negative(&at.child("replicas"), spec.replicas);
    replica_set::selected_template(check, &at, &spec.selector, &spec.template, "deployment");
    strategy(check, &at.child("strategy"), &check::or_default(spec.strategy.as_ref()));
    check.not_negative(&at.child("minReadySeconds"), spec.min_ready_seconds);
    check.not_negative(&at.child("revisionHistoryLimit"), spec.revision_history_limit);
    deadline(check, &at, &spec);
}

fn deadline(check: &mut Check, at: &Path, spec: &DeploymentSpec) {
    let Some(seconds) = spec.progress_deadline_seconds else { return };
    let at = at.child("progressDeadlineSeconds");
    check.not_negative(&at, Some(seconds));
    if seconds <= spec.min_ready_seconds.unwrap_or_default() {
        check.invalid(&at, seconds, "must be greater than minReadySeconds");
    }
}

fn strategy(check: &mut Check, at: &Path, strategy: &DeploymentStrategy) {
    let rolling_at = at.child("rollingUpdate");
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        ("Recreate", Some(_)) => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            check.forbidden(&rolling_at, detail);
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            check.required(&rolling_at, "this should be defaulted and never be nil");
        }
        ("RollingUpdate", Some(rolling)) => rolling_update(check, &rolling_at, rolling),
        (other, _) => check.one_of(&at.child("type"), other, &["Recreate", "RollingUpdate"]),
    }
}

fn rolling_update(check: &mut Check, at: &Path, rolling: &RollingUpdateDeployment) {
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    share(check, &at.child("maxUnavailable"), unavailable);
    share(check, &at.child("maxSurge"), surge);
    let nothing = |value: &IntOrString| match value {
        IntOrString::Int(number) => *number == 0,
        IntOrString::String(text) => percent(text) == Some(0),
    };
    if nothing(unavailable) && nothing(surge) {
        check.invalid(
            &at.child("maxUnavailable"),
            check::as_value(unavailable),
            "may not be 0 when `maxSurge` is 0",
        );
    }
    if let IntOrString::String(text) = unavailable
        && percent(text).is_some_and(|percent| percent > 100)
    {
        check.invalid(&at.child("maxUnavailable"), text.as_str(), "must not be greater than 100%");
    }
}

/// A count or a percentage.
fn share(check: &mut Check, at: &Path, value: &IntOrString) {
    match value {
        IntOrString::Int(number) => check.not_negative(at, Some(*number)),
        IntOrString::String(text) => {
            if percent(text).is_none() {
                let detail = "a valid percent string must be a numeric string followed by an \
                              ending '%' (e.g. '1%',  or '93%', regex used for validation is \
                              '[0-9]+%')";
                check.invalid(at, text.as_str(), detail);
            }
        }
    }
}
