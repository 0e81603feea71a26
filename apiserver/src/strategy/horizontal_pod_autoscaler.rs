//! HorizontalPodAutoscalers: how many replicas something should have.
//!
//! They are served in two versions and stored in the later one. The earlier one knows less, so it
//! is checked as what it becomes when it is stored: mistakes are told in the later one's words.

mod metrics;

use std::borrow::Cow;

use kontiki_api::names;
use serde_json::{Value, json};

use super::{
    check::Check,
    declared::{Declared, PLAIN},
    place::Place,
    value,
};
use crate::storage::convert;

const V1: &str = "autoscaling/v1";
const V2: &str = "autoscaling/v2";
const WINDOW_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;

/// The strategy of `horizontalpodautoscalers`, in both versions.
pub(super) static STRATEGY: Declared = Declared {
    defaults,
    create: |object, _| {
        value::set(object, "status", json!({"currentReplicas": 0, "desiredReplicas": 0}));
    },
    check: |check, scaler| {
        let later = later(scaler.value);
        check_later(check, &Place::root(&later));
    },
    check_status: |check, new, _| {
        check.counts(&new.at("status"), &["currentReplicas", "desiredReplicas"]);
    },
    has_status: true,
    ..PLAIN
};

/// The object in the later version.
fn later(object: &Value) -> Cow<'_, Value> {
    if value::text(object, "apiVersion") != V1 {
        return Cow::Borrowed(object);
    }
    let mut later = object.clone();
    convert::apply(V1, V2, &mut later);
    defaults(&mut later);
    Cow::Owned(later)
}

fn defaults(object: &mut Value) {
    let earlier = value::text(object, "apiVersion") == V1;
    let spec = value::child_or_new(object, "spec");
    value::default(spec, "minReplicas", 1);
    if earlier {
        return;
    }
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        value::set(spec, "metrics", json!([metric]));
    }
    let Some(behavior) = value::child(spec, "behavior") else { return };
    let all = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let four = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let up = value::child_or_new(behavior, "scaleUp");
    value::default(up, "stabilizationWindowSeconds", 0);
    rules(up, &json!([four, all]));
    rules(value::child_or_new(behavior, "scaleDown"), &json!([all]));
}

fn rules(rules: &mut Value, policies: &Value) {
    value::default(rules, "selectPolicy", "Max");
    if rules["policies"].is_null() {
        value::set(rules, "policies", policies.clone());
    }
}

fn check_later(check: &mut Check, scaler: &Place<'_>) {
    let spec = scaler.at("spec");
    let (least, most) = (spec.at("minReplicas"), spec.at("maxReplicas"));
    if least.number().is_some_and(|least| least < 1) {
        let detail = "must be greater than or equal to 1";
        check.invalid(&least.path, least.value.clone(), detail);
    }
    let maximum = most.number().unwrap_or_default();
    if maximum < 1 {
        check.invalid(&most.path, maximum, "must be greater than 0");
    }
    if least.number().is_some_and(|least| maximum < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        check.invalid(&most.path, maximum, detail);
    }
    reference(check, &spec.at("scaleTargetRef"));
    metrics::check(check, &spec.at("metrics"));
    let behavior = spec.at("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        let rules = behavior.at(direction);
        if rules.is_set() {
            scaling(check, &rules);
        }
    }
}

/// Something that is called by kind and name.
pub(super) fn reference(check: &mut Check, target: &Place<'_>) {
    for field in ["kind", "name"] {
        let word = target.at(field);
        if word.is_empty() {
            check.required(&word.path, "");
        } else {
            let wrong = names::path_segment(word.text());
            check.errors.invalid_each(&word.path, word.text(), wrong);
        }
    }
}

fn scaling(check: &mut Check, rules: &Place<'_>) {
    let window = rules.at("stabilizationWindowSeconds");
    check.not_negative(&window.path, window.number());
    if window.number().is_some_and(|seconds| seconds > WINDOW_SECONDS_MAX) {
        let detail = format!("must be less than or equal to {WINDOW_SECONDS_MAX}");
        check.invalid(&window.path, window.value.clone(), &detail);
    }
    check.chosen_if_set(&rules.at("selectPolicy"), &["Disabled", "Max", "Min"]);
    let policies = rules.at("policies");
    if policies.is_empty() {
        check.required(&policies.path, "must specify at least one Policy");
    }
    for policy in policies.items() {
        check.one_of(&policy.at("type").path, policy.at("type").text(), &["Percent", "Pods"]);
        for field in ["value", "periodSeconds"] {
            let number = policy.at(field);
            if number.number().unwrap_or_default() <= 0 {
                check.invalid(&number.path, number.value.clone(), "must be greater than zero");
            }
        }
        let period = policy.at("periodSeconds");
        if period.number().is_some_and(|seconds| seconds > PERIOD_SECONDS_MAX) {
            let detail = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
            check.invalid(&period.path, period.value.clone(), &detail);
        }
    }
}
