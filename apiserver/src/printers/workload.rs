//! What everything with a pod template prints.

use kontiki_api::{
    k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
    selector::Selector,
};
use serde_json::Value;

/// Names of containers, and their images.
pub(super) fn containers(spec: &Value) -> [Value; 2] {
    let all: Vec<&Value> = spec["containers"].as_array().into_iter().flatten().collect();
    ["name", "image"].map(|field| {
        let words: Vec<&str> = all.iter().filter_map(|one| one[field].as_str()).collect();
        words.join(",").into()
    })
}

/// A typed label selector as people write one.
pub(super) fn selector(selector: &Value) -> Value {
    if selector.is_null() {
        return "<none>".into();
    }
    let typed: LabelSelector = LabelSelector {
        match_labels: selector["matchLabels"].as_object().map(|labels| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            labels.iter().map(|(key, value)| (key.clone(), text(value))).collect()
        }),
        match_expressions: selector["matchExpressions"]
            .as_array()
            .map(|all| all.iter().map(expression).collect()),
    };
    match Selector::from_typed(Some(&typed)) {
        Ok(selector) if selector.is_everything() => "<none>".into(),
        Ok(selector) => selector.to_string().into(),
        Err(_) => "<error>".into(),
    }
}

fn expression(value: &Value) -> LabelSelectorRequirement {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let values = value["values"].as_array().map(|values| {
        values.iter().map(|value| value.as_str().unwrap_or_default().to_owned()).collect()
    });
    LabelSelectorRequirement { key: text("key"), operator: text("operator"), values }
}

/// `key=value` pairs, or `<none>`.
pub(super) fn labels(labels: &Value) -> Value {
    let pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",").into() }
}
