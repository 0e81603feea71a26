//! HorizontalPodAutoscalers: the first version knows the CPU and nothing else; what it does not
//! know stands in annotations, in the words that it would have used.

use serde_json::{Map, Value, json};

use super::{put, rename, take};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Where each kind of metric is described.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// To the first version.
pub(super) fn to_v1(object: &mut Value) {
    let mut notes: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = object.get_mut("spec") {
        let mut metrics = list(take(spec, "metrics"));
        let cpu = cpu(&mut metrics, "target");
        put(spec, "targetCPUUtilizationPercentage", cpu.map(|one| average(&one, "target")));
        if !metrics.is_empty() {
            notes.push((METRICS, metrics.iter().map(|one| earlier(one, "target")).collect()));
        }
        if let Some(behavior) = take(spec, "behavior") {
            notes.push((BEHAVIOR, behavior));
        }
    }
    if let Some(status) = object.get_mut("status") {
        let metrics = list(take(status, "currentMetrics"));
        let cpu = metrics.iter().find(|one| is_cpu(one, "current"));
        put(status, "currentCPUUtilizationPercentage", cpu.map(|one| average(one, "current")));
        if !metrics.is_empty() {
            notes.push((
                CURRENT_METRICS,
                metrics.iter().map(|one| earlier(one, "current")).collect(),
            ));
        }
        if let Some(conditions) = take(status, "conditions") {
            notes.push((CONDITIONS, conditions));
        }
    }
    for (key, note) in notes {
        kontiki_api::meta::set_annotation(object, key, &note.to_string());
    }
}

/// To the second version.
pub(super) fn to_v2(object: &mut Value) {
    let mut metrics = list(note(object, METRICS));
    metrics.iter_mut().for_each(|one| *one = later(one, "target"));
    let behavior = note(object, BEHAVIOR);
    let mut current = list(note(object, CURRENT_METRICS));
    current.iter_mut().for_each(|one| *one = later(one, "current"));
    let conditions = note(object, CONDITIONS);
    if let Some(spec) = object.get_mut("spec") {
        if let Some(share) = take(spec, "targetCPUUtilizationPercentage") {
            let target = json!({"type": "Utilization", "averageUtilization": share});
            let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
            metrics.insert(0, cpu);
        }
        put(spec, "behavior", behavior);
        put(spec, "metrics", some(metrics));
    }
    if let Some(status) = object.get_mut("status") {
        if let Some(share) = take(status, "currentCPUUtilizationPercentage")
            && !current.iter().any(|one| is_cpu(one, "current"))
        {
            let now = json!({"averageUtilization": share});
            let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "current": now}});
            current.insert(0, cpu);
        }
        put(status, "conditions", conditions);
        put(status, "currentMetrics", some(current));
    }
}

/// Takes an annotation that holds JSON; the last one takes all of them along.
fn note(object: &mut Value, key: &str) -> Option<Value> {
    let metadata = object.get_mut("metadata")?;
    let annotations = metadata.get_mut("annotations")?;
    let text = take(annotations, key)?;
    if annotations.as_object().is_some_and(Map::is_empty) {
        take(metadata, "annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn some(items: Vec<Value>) -> Option<Value> {
    (!items.is_empty()).then_some(Value::Array(items))
}

/// The CPU's metric, out of the list.
fn cpu(metrics: &mut Vec<Value>, part: &str) -> Option<Value> {
    let at = metrics.iter().position(|one| is_cpu(one, part))?;
    Some(metrics.remove(at))
}

fn is_cpu(metric: &Value, part: &str) -> bool {
    let resource = &metric["resource"];
    metric["type"] == "Resource"
        && resource["name"] == "cpu"
        && resource[part]["averageUtilization"].is_i64()
}

fn average(metric: &Value, part: &str) -> Value {
    metric["resource"][part]["averageUtilization"].clone()
}

/// `average` with `part` before it: `targetAverageValue`, `currentAverageValue`.
fn prefixed(part: &str, words: &str) -> String {
    format!("{part}{words}")
}

/// A metric in the first version's words.
fn earlier(metric: &Value, part: &str) -> Value {
    let mut metric = metric.clone();
    for (kind, field) in SOURCES {
        let Some(source) = metric.get_mut(field) else { continue };
        let mut amounts = take(source, part).unwrap_or_default();
        match kind {
            "Resource" | "ContainerResource" => {
                let share = take(&mut amounts, "averageUtilization");
                put(source, &prefixed(part, "AverageUtilization"), share);
                let amount = take(&mut amounts, "averageValue");
                put(source, &prefixed(part, "AverageValue"), amount);
            }
            _ => {
                let mut name = take(source, "metric").unwrap_or_default();
                put(source, "metricName", take(&mut name, "name"));
                let selector = if kind == "External" { "metricSelector" } else { "selector" };
                put(source, selector, take(&mut name, "selector"));
                if kind == "Object" {
                    rename(source, "describedObject", "target");
                    put(source, "averageValue", take(&mut amounts, "averageValue"));
                } else {
                    let amount = take(&mut amounts, "averageValue");
                    put(source, &prefixed(part, "AverageValue"), amount);
                }
                put(source, &prefixed(part, "Value"), take(&mut amounts, "value"));
            }
        }
    }
    metric
}

/// A metric in the second version's words.
fn later(metric: &Value, part: &str) -> Value {
    let mut metric = metric.clone();
    for (kind, field) in SOURCES {
        let Some(source) = metric.get_mut(field) else { continue };
        let mut amounts = json!({});
        let share = take(source, &prefixed(part, "AverageUtilization"));
        let mut average = take(source, &prefixed(part, "AverageValue"));
        let value = take(source, &prefixed(part, "Value"));
        if !matches!(kind, "Resource" | "ContainerResource") {
            let mut name = json!({});
            put(&mut name, "name", take(source, "metricName"));
            let selector = if kind == "External" { "metricSelector" } else { "selector" };
            put(&mut name, "selector", take(source, selector));
            if kind == "Object" {
                average = take(source, "averageValue");
                rename(source, "target", "describedObject");
            }
            put(source, "metric", Some(name));
        }
        if part == "target" {
            let word = match (&share, &value) {
                (Some(_), _) => "Utilization",
                (_, Some(_)) => "Value",
                _ => "AverageValue",
            };
            put(&mut amounts, "type", Some(word.into()));
        }
        put(&mut amounts, "averageUtilization", share);
        put(&mut amounts, "averageValue", average);
        put(&mut amounts, "value", value);
        put(source, part, Some(amounts));
    }
    metric
}
