//! What autoscalers look at.

use serde_json::Value;

use super::reference;
use crate::strategy::{
    check::{Check, amount_text},
    place::Place,
};

/// The kinds of metrics, and where each is described.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// Checks a list of metrics.
pub(super) fn check(check: &mut Check, metrics: &Place<'_>) {
    for metric in metrics.items() {
        let kind = metric.at("type");
        let names = SOURCES.map(|(name, _)| name);
        if kind.is_empty() {
            check.required(&kind.path, "must specify a metric source type");
            continue;
        }
        if !names.contains(&kind.text()) {
            check.one_of(&kind.path, kind.text(), &names);
            continue;
        }
        for (name, field) in SOURCES {
            let source = metric.at(field);
            if name == kind.text() && !source.is_set() {
                let detail = "must populate information for the given metric source";
                check.required(&source.path, detail);
            } else if name != kind.text() && source.is_set() {
                let detail = "must populate the given metric source only";
                check.forbidden(&source.path, detail);
            } else if source.is_set() {
                one(check, name, &source);
            }
        }
    }
}

fn one(check: &mut Check, kind: &str, source: &Place<'_>) {
    match kind {
        "Resource" | "ContainerResource" => {
            if source.at("name").is_empty() {
                check.required(&source.at("name").path, "must specify a resource name");
            }
            if kind == "ContainerResource" && source.at("container").is_empty() {
                check.required(&source.at("container").path, "must specify a container");
            }
            utilization_or_value(check, source);
        }
        _ => {
            if kind == "Object" {
                reference(check, &source.at("describedObject"));
            }
            let name = source.at("metric").at("name");
            if name.is_empty() {
                check.required(&name.path, "must specify a metric name");
            } else {
                let wrong = kontiki_api::names::path_segment(name.text());
                check.errors.invalid_each(&name.path, name.text(), wrong);
            }
            value_or_average(check, kind, source);
        }
    }
    target(check, &source.at("target"));
}

fn utilization_or_value(check: &mut Check, source: &Place<'_>) {
    let target = source.at("target");
    let (share, amount) = (target.at("averageUtilization"), target.at("averageValue"));
    let path = &share.path;
    match (share.is_set(), amount.is_set()) {
        (false, false) => {
            let detail = "must set either a target raw value or a target utilization";
            check.required(path, detail);
        }
        (true, true) => {
            check.forbidden(
                &amount.path,
                "may not set both a target raw value and a target utilization",
            );
        }
        _ => {}
    }
}

fn value_or_average(check: &mut Check, kind: &str, source: &Place<'_>) {
    let target = source.at("target");
    let (amount, average) = (target.at("value"), target.at("averageValue"));
    match kind {
        "Pods" if !average.is_set() => {
            check.required(&average.path, "must specify a positive target averageValue");
        }
        "Pods" => {}
        _ if amount.is_set() && average.is_set() && kind == "External" => {
            let detail = "may not set both a target value for metric and a per-pod target";
            check.forbidden(&amount.path, detail);
        }
        _ if !amount.is_set() && !average.is_set() => {
            let detail = "must set either a target value for metric or a per-pod target";
            check.required(&average.path, detail);
        }
        _ => {}
    }
}

fn target(check: &mut Check, target: &Place<'_>) {
    let kind = target.at("type");
    if kind.is_empty() {
        check.required(&kind.path, "must specify a metric target type");
    } else if !["AverageValue", "Utilization", "Value"].contains(&kind.text()) {
        let detail = "must be either Utilization, Value, or AverageValue";
        check.invalid(&kind.path, kind.text(), detail);
    }
    let share = target.at("averageUtilization");
    if share.number().is_some_and(|share| share < 1) {
        check.invalid(&share.path, share.value.clone(), "must be greater than 0");
    }
    for amount in [target.at("value"), target.at("averageValue")] {
        let positive = |value: &Value| {
            kontiki_api::quantity::Quantity::parse(&amount_text(value))
                .is_ok_and(|amount| !amount.is_negative() && !amount.is_zero())
        };
        if amount.is_set() && !positive(amount.value) {
            check.invalid(&amount.path, amount.value.clone(), "must be positive");
        }
    }
}
