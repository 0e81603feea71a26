//! What a new pod is told at once: that its gates hold it, and which pods its rules mean by "those
//! with my labels".
//!
//! Rules about other pods may name keys of labels instead of their values. The pod's own values are
//! written into the selector beside them, so that whoever reads the selector needs no more, as
//! upstream.

use serde_json::{Value, json};

use crate::strategy::value;

const RULES: [&str; 2] = ["affinity", "topologySpreadConstraints"];
const AFFINITIES: [&str; 2] = ["podAffinity", "podAntiAffinity"];

/// Completes a new pod.
pub(super) fn prepare(pod: &mut Value) {
    gated(pod);
    let has_rules = |spec: &Value| RULES.iter().any(|rules| spec.get(rules).is_some());
    if has_rules(&pod["spec"]) {
        let labels = pod["metadata"].get("labels").cloned().unwrap_or_default();
        with_own_labels(&mut pod["spec"], &labels);
    }
}

fn gated(pod: &mut Value) {
    if value::items(&mut pod["spec"], "schedulingGates").next().is_none() {
        return;
    }
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    });
    value::set(&mut pod["status"], "conditions", json!([condition]));
}

fn with_own_labels(spec: &mut Value, labels: &Value) {
    for constraint in value::items(spec, "topologySpreadConstraints") {
        select(constraint, "matchLabelKeys", "In", labels);
    }
    let Some(affinity) = value::child(spec, "affinity") else { return };
    for kind in AFFINITIES {
        let Some(rules) = value::child(affinity, kind) else { continue };
        for term in value::items(rules, "requiredDuringSchedulingIgnoredDuringExecution") {
            both(term, labels);
        }
        for weighted in value::items(rules, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = value::child(weighted, "podAffinityTerm") {
                both(term, labels);
            }
        }
    }
}

fn both(term: &mut Value, labels: &Value) {
    select(term, "matchLabelKeys", "In", labels);
    select(term, "mismatchLabelKeys", "NotIn", labels);
}

/// Adds the pod's own labels under these keys to a rule's selector. One without a selector means
/// no pod, and keeps doing so.
fn select(rule: &mut Value, keys: &str, operator: &str, labels: &Value) {
    let keys = rule[keys].as_array().cloned().unwrap_or_default();
    let own = keys.iter().filter_map(|key| Some((key, labels.get(key.as_str()?)?)));
    let wanted: Vec<Value> = own
        .map(|(key, value)| json!({"key": key, "operator": operator, "values": [value]}))
        .collect();
    if wanted.is_empty() {
        return;
    }
    let Some(selector) = value::child(rule, "labelSelector") else { return };
    match selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
        Some(expressions) => expressions.extend(wanted),
        None => value::set(selector, "matchExpressions", wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_select_pods_with_the_same_labels() {
        let rule = |keys: Value| {
            let mut rule = json!({"labelSelector": {"matchLabels": {"app": "web"}}});
            kontiki_api::patch::merge(&mut rule, &keys);
            rule
        };
        let mut pod = json!({
            "metadata": {"labels": {"app": "web", "hash": "1"}},
            "status": {},
            "spec": {
                "topologySpreadConstraints": [
                    rule(json!({"matchLabelKeys": ["hash", "none"]})),
                    {"matchLabelKeys": ["hash"]},
                ],
                "affinity": {"podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution":
                        [rule(json!({"matchLabelKeys": ["app"], "mismatchLabelKeys": ["hash"]}))],
                    "preferredDuringSchedulingIgnoredDuringExecution":
                        [{"podAffinityTerm": rule(json!({"matchLabelKeys": ["hash"]}))}],
                }},
            },
        });
        prepare(&mut pod);
        assert_eq!(pod["metadata"]["labels"], json!({"app": "web", "hash": "1"}));
        assert_eq!(pod["status"], json!({}));
        let constraints = &pod["spec"]["topologySpreadConstraints"];
        let hash = json!({"key": "hash", "operator": "In", "values": ["1"]});
        assert_eq!(constraints[0]["labelSelector"]["matchExpressions"], json!([hash]));
        assert!(constraints[1].get("labelSelector").is_none());
        let rules = &pod["spec"]["affinity"]["podAntiAffinity"];
        assert_eq!(
            rules["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"]["matchExpressions"],
            json!([
                {"key": "app", "operator": "In", "values": ["web"]},
                {"key": "hash", "operator": "NotIn", "values": ["1"]},
            ])
        );
        let preferred = &rules["preferredDuringSchedulingIgnoredDuringExecution"][0];
        let selector = &preferred["podAffinityTerm"]["labelSelector"];
        assert_eq!(selector["matchExpressions"], json!([hash]));
    }

    #[test]
    fn gates_are_told_of() {
        let mut pod = json!({
            "metadata": {}, "status": {"phase": "Pending"},
            "spec": {"schedulingGates": [{"name": "example.com/g"}]},
        });
        prepare(&mut pod);
        assert_eq!(
            pod["status"]["conditions"],
            json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }])
        );
    }
}
