//! Requests and limits.

use std::collections::BTreeMap;

use kontiki_api::{
    field::Path,
    k8s_openapi::{
        api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity as Text,
    },
    names,
    quantity::Quantity,
};

use crate::strategy::check::Check;

const STANDARD: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// Checks what a container asks for and may use.
pub(super) fn validate(check: &mut Check, at: &Path, resources: &ResourceRequirements) {
    let limits = amounts(check, &at.child("limits"), resources.limits.as_ref());
    let requests = amounts(check, &at.child("requests"), resources.requests.as_ref());
    for (name, request) in &requests {
        let at = at.child("requests");
        match limits.get(name) {
            Some(limit) if is_integral(name) && request != limit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                check.invalid(&at, request.to_string(), &detail);
            }
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                check.invalid(&at, request.to_string(), &detail);
            }
            None if is_integral(name) => {
                let detail = "Limit must be set for non overcommitable resources";
                check.required(&at, detail);
            }
            _ => {}
        }
    }
}

fn is_integral(name: &str) -> bool {
    !STANDARD.contains(&name)
}

fn amounts<'a>(
    check: &mut Check,
    at: &Path,
    amounts: Option<&'a BTreeMap<String, Text>>,
) -> BTreeMap<&'a str, Quantity> {
    let mut parsed = BTreeMap::new();
    for (name, text) in amounts.into_iter().flatten() {
        let at = at.key(name);
        resource_name(check, &at, name);
        let Some(quantity) = check.quantity(&at, &text.0) else { continue };
        if is_integral(name) && !quantity.is_whole() {
            check.invalid(&at, text.0.as_str(), "must be an integer");
        }
        parsed.insert(name.as_str(), quantity);
    }
    parsed
}

fn resource_name(check: &mut Check, at: &Path, name: &str) {
    let wrong = names::qualified_name(name);
    if !wrong.is_empty() {
        check.errors.invalid_each(at, name, wrong);
    } else if !name.contains('/') && !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
        check.invalid(at, name, "must be a standard resource type or fully qualified");
        check.invalid(at, name, "must be a standard resource for containers");
    }
}
