//! HorizontalPodAutoscalers, in either version.

use std::borrow::Cow;

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column};
use crate::storage::convert;

const SHOWN_MAX: usize = 2;

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        column("Reference"),
        column("Targets"),
        column("MinPods"),
        column("MaxPods"),
        column("Replicas"),
        column("Age"),
    ],
    cells: |scaler, now| {
        let later = later(scaler);
        let (spec, status) = (&later["spec"], &later["status"]);
        let target = &spec["scaleTargetRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let least = spec["minReplicas"].as_i64();
        vec![
            meta::name(scaler).into(),
            format!("{}/{}", text(&target["kind"]), text(&target["name"])).into(),
            targets(&spec["metrics"], &status["currentMetrics"]).into(),
            least.map_or_else(|| "<unset>".to_owned(), |least| least.to_string()).into(),
            spec["maxReplicas"].as_i64().unwrap_or_default().into(),
            status["currentReplicas"].as_i64().unwrap_or_default().into(),
            age_of(scaler, now),
        ]
    },
};

fn later(scaler: &Value) -> Cow<'_, Value> {
    if scaler["apiVersion"] != "autoscaling/v1" {
        return Cow::Borrowed(scaler);
    }
    let mut later = scaler.clone();
    convert::apply("autoscaling/v1", "autoscaling/v2", &mut later);
    Cow::Owned(later)
}

fn targets(metrics: &Value, current: &Value) -> String {
    let metrics = metrics.as_array().map_or(&[][..], Vec::as_slice);
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let mut shown: Vec<String> =
        metrics.iter().enumerate().map(|(index, metric)| one(metric, &current[index])).collect();
    let more = shown.len().saturating_sub(SHOWN_MAX);
    shown.truncate(SHOWN_MAX);
    let shown = shown.join(", ");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}

fn one(metric: &Value, current: &Value) -> String {
    let kind = metric["type"].as_str().unwrap_or_default();
    let field = match kind {
        "ContainerResource" => "containerResource",
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        _ => return "<unknown type>".to_owned(),
    };
    let (target, now) = (&metric[field]["target"], &current[field]["current"]);
    let amount = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let unknown = || "<unknown>".to_owned();
    let is_resource = matches!(kind, "Resource" | "ContainerResource");
    let average = amount(&target["averageValue"]);
    let text = match average {
        Some(wanted) => {
            let is = amount(&now["averageValue"]).unwrap_or_else(unknown);
            let suffix = if is_resource || kind == "Pods" { "" } else { " (avg)" };
            format!("{is}/{wanted}{suffix}")
        }
        None if is_resource => {
            let share = |value: &Value| value.as_i64().map(|share| format!("{share}%"));
            let is = share(&now["averageUtilization"]).unwrap_or_else(unknown);
            let wanted =
                share(&target["averageUtilization"]).unwrap_or_else(|| "<auto>".to_owned());
            format!("{is}/{wanted}")
        }
        None => {
            let is = amount(&now["value"]).unwrap_or_else(unknown);
            format!("{is}/{}", amount(&target["value"]).unwrap_or_default())
        }
    };
    if is_resource {
        let name = metric[field]["name"].as_str().unwrap_or_default();
        format!("{name}: {text}")
    } else {
        text
    }
}
