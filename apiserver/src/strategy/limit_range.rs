//! LimitRanges: bounds and defaults of what containers, pods and claims may ask for.

use std::cmp::Ordering;

use kontiki_api::{field::Error, names, quantity::Quantity};
use serde_json::Value;

use super::{
    check::{Check, amount_text},
    declared::{Declared, PLAIN},
    place::Place,
    value,
};

/// The strategy of `limitranges`.
pub(super) static STRATEGY: Declared = Declared { defaults, check, ..PLAIN };

/// A limit of a container stands in for the default that is not given, and that for the request.
fn defaults(object: &mut Value) {
    let spec = value::child_or_new(object, "spec");
    for limit in value::items(spec, "limits") {
        if value::text(limit, "type") != "Container" {
            continue;
        }
        for (from, to) in
            [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
        {
            let source = limit[from].clone();
            for (resource, amount) in source.as_object().into_iter().flatten() {
                let target = value::child_or_new(limit, to);
                value::default(target, resource, amount.clone());
            }
        }
    }
}

fn check(check: &mut Check, range: &Place<'_>) {
    let mut seen = Vec::new();
    for limit in range.at("spec").at("limits").items() {
        let kind = limit.at("type");
        let wrong = names::qualified_name(kind.text());
        check.errors.invalid_each(&kind.path, kind.text(), wrong);
        if seen.contains(&kind.text()) {
            check.push(Error::duplicate(&kind.path, kind.text()));
        }
        seen.push(kind.text());
        for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            check.amounts(&limit.at(field));
        }
        if kind.text() == "Pod" {
            for field in ["default", "defaultRequest"] {
                if !limit.at(field).is_empty() {
                    let detail = "may not be specified when `type` is 'Pod'";
                    check.forbidden(&limit.at(field).path, detail);
                }
            }
        }
        if kind.text() == "PersistentVolumeClaim" {
            let given = |field: &str| limit.at(field).at("storage").is_set();
            if !given("min") && !given("max") {
                let detail = "either minimum or maximum storage value is required, but neither \
                              was provided";
                check.required(&limit.path, detail);
            }
        }
        consistent(check, &limit);
    }
}

/// No bound may contradict another.
fn consistent(check: &mut Check, limit: &Place<'_>) {
    const PAIRS: [(&str, &str); 6] = [
        ("min", "max"),
        ("min", "defaultRequest"),
        ("defaultRequest", "max"),
        ("defaultRequest", "default"),
        ("min", "default"),
        ("default", "max"),
    ];
    for (low, high) in PAIRS {
        for (resource, amount) in limit.at(low).entries() {
            let other = limit.at(high).at(resource);
            if !other.is_set() {
                continue;
            }
            let (small, large) = (amount_text(amount.value), amount_text(other.value));
            let order = match (Quantity::parse(&small), Quantity::parse(&large)) {
                (Ok(small), Ok(large)) => small.cmp(&large),
                _ => Ordering::Equal,
            };
            if order == Ordering::Greater {
                let (words, than) = (words(low), words(high));
                let detail = format!("{words} value {small} is greater than {than} value {large}");
                check.invalid(&amount.path, &*small, &detail);
            }
        }
    }
}

fn words(field: &str) -> &str {
    match field {
        "defaultRequest" => "default request",
        other => other,
    }
}
