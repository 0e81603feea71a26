//! What a pod uses, and the scopes that tell pods apart.

use jiff::Timestamp;
use serde_json::Value;

use super::{Demand, Usage, is_extended};
use crate::{meta, quantity::Quantity};

const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const HUGE_PAGES: &str = "hugepages-";
const REQUESTS: &str = "requests.";

pub(super) fn concerns(name: &str) -> bool {
    let compute = |name: &str| COMPUTE.contains(&name);
    if name == "pods" || compute(name) || name.starts_with(HUGE_PAGES) {
        return true;
    }
    if name.strip_prefix("limits.").is_some_and(compute) {
        return true;
    }
    name.strip_prefix(REQUESTS).is_some_and(|rest| {
        compute(rest)
            || rest.starts_with(HUGE_PAGES)
            || (rest.contains('/') && !rest.contains("kubernetes.io/"))
    })
}

/// Adds what a pod uses as long as it may run: nothing once it has ended, or should have.
pub(super) fn add_usage(pod: &Value, now: Timestamp, usage: &mut Usage) {
    if has_ended(pod, now) {
        return;
    }
    usage.insert("pods".to_owned(), Quantity::from_units(1));
    add_compute(&Demand::of_pod(&pod["spec"]), usage);
}

fn add_compute(demand: &Demand, usage: &mut Usage) {
    for (name, amount) in &demand.requests {
        if COMPUTE.contains(&name.as_str()) || name.starts_with(HUGE_PAGES) {
            usage.insert(name.clone(), *amount);
            usage.insert(format!("{REQUESTS}{name}"), *amount);
        } else if is_extended(name) {
            usage.insert(format!("{REQUESTS}{name}"), *amount);
        }
    }
    for (name, amount) in &demand.limits {
        if COMPUTE.contains(&name.as_str()) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
}

fn has_ended(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return true;
    }
    let metadata = &pod["metadata"];
    let ends = metadata["deletionTimestamp"].as_str().and_then(meta::parse_time);
    let grace = metadata["deletionGracePeriodSeconds"].as_i64();
    let (Some(ends), Some(grace)) = (ends, grace) else { return false };
    let grace = std::time::Duration::from_secs(u64::try_from(grace).unwrap_or(0));
    ends.checked_add(grace).is_ok_and(|end| now > end)
}

/// What the containers of a pod must name because a quota counts it, and do not: cpu and memory
/// only, as it has always been.
pub(super) fn unnamed(pod: &Value, required: &[&str]) -> Option<String> {
    const NAMED: [&str; 6] =
        ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
    let mut missing = Vec::new();
    for name in NAMED.iter().filter(|name| required.contains(name)) {
        let mut containers: Vec<&str> = ["containers", "initContainers"]
            .into_iter()
            .flat_map(|field| pod["spec"][field].as_array().into_iter().flatten())
            .filter(|container| {
                let mut own = Usage::new();
                add_compute(&Demand::of(&container["resources"]), &mut own);
                !own.contains_key(*name)
            })
            .map(|container| container["name"].as_str().unwrap_or_default())
            .collect();
        containers.sort_unstable();
        containers.dedup();
        if !containers.is_empty() {
            missing.push(format!("{name} for: {}", containers.join(",")));
        }
    }
    (!missing.is_empty()).then(|| format!("must specify {}", missing.join("; ")))
}

/// Whether a scope holds for a pod.
pub(super) fn in_scope(pod: &Value, scope: &str, expression: &Value) -> bool {
    let spec = &pod["spec"];
    let terminating = spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => is_best_effort(spec),
        "NotBestEffort" => !is_best_effort(spec),
        "PriorityClass" => of_class(spec["priorityClassName"].as_str(), expression),
        "CrossNamespacePodAffinity" => crosses_namespaces(&spec["affinity"]),
        _ => false,
    }
}

fn is_best_effort(spec: &Value) -> bool {
    let bare =
        |resources: &Value| {
            let demand = Demand::of(resources);
            demand.requests.iter().chain(&demand.limits).all(|(name, amount)| {
                !matches!(name.as_str(), "cpu" | "memory") || amount.is_zero()
            })
        };
    let all = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|field| spec[field].as_array().into_iter().flatten());
    bare(&spec["resources"]) && all.into_iter().all(|container| bare(&container["resources"]))
}

fn of_class(class: Option<&str>, expression: &Value) -> bool {
    let class = class.filter(|class| !class.is_empty());
    let values = expression["values"].as_array();
    let named = values.is_some_and(|all| all.iter().any(|value| value.as_str() == class));
    match expression["operator"].as_str() {
        Some("Exists") => class.is_some(),
        Some("DoesNotExist") => class.is_none(),
        Some("In") => class.is_some() && named,
        Some("NotIn") => class.is_none() || !named,
        _ => false,
    }
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let crosses = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|all| !all.is_empty())
            || term["namespaceSelector"].is_object()
    };
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let list = |field: &str| affinity[kind][field].as_array().into_iter().flatten();
        list("requiredDuringSchedulingIgnoredDuringExecution").any(crosses)
            || list("preferredDuringSchedulingIgnoredDuringExecution")
                .any(|weighted| crosses(&weighted["podAffinityTerm"]))
    })
}
