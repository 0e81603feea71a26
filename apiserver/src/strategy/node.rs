//! Nodes: taints, and pod CIDRs that are given once.

use std::collections::BTreeSet;

use kontiki_api::{
    field::{Errors, Path},
    k8s_openapi::api::core::v1::{Node, Taint},
    names,
};
use serde_json::{Value, json};

use super::{
    check::{self, Check},
    value,
};
use crate::registry::Strategy;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// The strategy of `nodes`. A new node keeps the status that its kubelet sends along.
pub(super) struct Nodes;

impl Strategy for Nodes {
    fn set_defaults(&self, object: &mut Value) {
        if let Some(spec) = value::child(object, "spec") {
            // The list and its first item are two names of the same thing.
            let one = value::text(spec, "podCIDR").to_owned();
            let first = spec["podCIDRs"][0].as_str().unwrap_or_default().to_owned();
            match (one.is_empty(), first.is_empty()) {
                (false, true) => value::set(spec, "podCIDRs", json!([one])),
                (true, false) => value::set(spec, "podCIDR", first),
                _ => {}
            }
        }
        if let Some(status) = value::child(object, "status")
            && value::is_unset(status, "allocatable")
            && let Some(capacity) = status.get("capacity").cloned()
        {
            value::set(status, "allocatable", capacity);
        }
    }

    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, validate)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        check::typed_pair(object, old, |new: &Node, old: &Node, check| {
            validate(new, check);
            let at = Path::new("spec");
            let new = check::or_default(new.spec.as_ref());
            let old = check::or_default(old.spec.as_ref());
            if old.pod_cidrs.iter().flatten().next().is_some() && new.pod_cidrs != old.pod_cidrs {
                check.forbidden(
                    &at.child("podCIDRs"),
                    "node updates may not change podCIDR except from \"\" to valid",
                );
            }
            let given = old.provider_id.as_deref().unwrap_or_default();
            if !given.is_empty() && new.provider_id != old.provider_id {
                check.forbidden(
                    &at.child("providerID"),
                    "node updates may not change providerID except from \"\" to valid",
                );
            }
        })
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_subdomain, name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn validate(node: &Node, check: &mut Check) {
    let Some(spec) = &node.spec else { return };
    let at = Path::new("spec");
    taints(check, &at.child("taints"), spec.taints.as_deref().unwrap_or_default());
    let cidrs = spec.pod_cidrs.as_deref().unwrap_or_default();
    let one = spec.pod_cidr.as_deref().unwrap_or_default();
    if let Some(first) = cidrs.first()
        && !one.is_empty()
        && one != first
    {
        let detail = format!("must be the same as the first of podCIDRs, {first}");
        check.invalid(&at.child("podCIDR"), one, &detail);
    }
    for (index, cidr) in cidrs.iter().enumerate() {
        if cidr.parse::<ipnet::IpNet>().is_err() {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            check.invalid(&at.child("podCIDRs").index(index), cidr.as_str(), detail);
        }
    }
    if cidrs.len() > 2 {
        check.invalid(
            &at.child("podCIDRs"),
            cidrs.to_vec(),
            "may specify no more than one CIDR for each IP family",
        );
    }
}

fn taints(check: &mut Check, at: &Path, taints: &[Taint]) {
    let mut seen = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let at = at.index(index);
        check.errors.invalid_each(&at.child("key"), &taint.key, names::qualified_name(&taint.key));
        let value = taint.value.as_deref().unwrap_or_default();
        check.errors.invalid_each(&at.child("value"), value, names::label_value(value));
        if taint.effect.is_empty() {
            check.required(&at.child("effect"), "");
        } else {
            check.one_of(&at.child("effect"), &taint.effect, EFFECTS);
        }
        if !seen.insert((&taint.key, &taint.effect)) {
            let duplicate = check::as_value(taint);
            let mut error = kontiki_api::field::Error::duplicate(&at, duplicate);
            error.detail = "taints must be unique by key and effect pair".to_owned();
            check.push(error);
        }
    }
}
