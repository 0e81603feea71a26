//! What may change in a pod once it exists.

mod gated;

use kontiki_api::{
    field::Path,
    k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus, Toleration},
};
use serde_json::Value;

use crate::strategy::check::{self, Check};

const FROZEN: &str = "pod updates may not change fields other than \
                      `spec.containers[*].image`,`spec.initContainers[*].image`,\
                      `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
                      tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 \
                      if it was previously negative)";

/// Checks an update of the pod itself.
pub(super) fn validate(new: &Pod, old: &Pod, check: &mut Check) {
    let at = Path::new("spec");
    let new = check::or_default(new.spec.as_ref());
    let old = check::or_default(old.spec.as_ref());
    if counts_differ(&new, &old, &at, check) {
        return;
    }
    deadline(&new, &old, &at, check);
    tolerations(&new, &old, &at, check);
    gates(&new, &old, &at, check);
    if new == old {
        return;
    }
    if is_gated(&old) {
        gated::validate(check, &at, &check::as_value(&*new), &check::as_value(&*old));
    }
    let settled = settle(new.into_owned(), &old);
    if settled != *old {
        let paths = differences(&check::as_value(&settled), &check::as_value(&*old));
        check.forbidden(&at, &format!("{FROZEN}\n{}", paths.join("\n")));
    }
}

fn counts_differ(new: &PodSpec, old: &PodSpec, at: &Path, check: &mut Check) -> bool {
    let detail = "pod updates may not add or remove containers";
    let mut differ = false;
    if new.containers.len() != old.containers.len() {
        check.forbidden(&at.child("containers"), detail);
        differ = true;
    }
    let count = |spec: &PodSpec| spec.init_containers.iter().flatten().count();
    if count(new) != count(old) {
        check.forbidden(&at.child("initContainers"), detail);
        differ = true;
    }
    differ
}

fn deadline(new: &PodSpec, old: &PodSpec, at: &Path, check: &mut Check) {
    let at = at.child("activeDeadlineSeconds");
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(new), Some(old)) if new > old => {
            check.invalid(&at, new, "must be less than or equal to previous value");
        }
        (None, Some(old)) => {
            check.invalid(&at, old, "must not update from a positive integer to nil value");
        }
        _ => {}
    }
}

fn tolerations(new: &PodSpec, old: &PodSpec, at: &Path, check: &mut Check) {
    let without_seconds =
        |toleration: &Toleration| Toleration { toleration_seconds: None, ..toleration.clone() };
    let kept: Vec<Toleration> = new.tolerations.iter().flatten().map(without_seconds).collect();
    let lost = old.tolerations.iter().flatten().any(|old| !kept.contains(&without_seconds(old)));
    if lost {
        check.forbidden(
            &at.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
}

fn gates(new: &PodSpec, old: &PodSpec, at: &Path, check: &mut Check) {
    for gate in new.scheduling_gates.iter().flatten() {
        if !old.scheduling_gates.iter().flatten().any(|known| known.name == gate.name) {
            let detail =
                format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
            check.forbidden(&at.child("schedulingGates"), &detail);
        }
    }
}

/// The new spec with everything that may change put back to what it was.
fn settle(mut new: PodSpec, old: &PodSpec) -> PodSpec {
    for (new, old) in new.containers.iter_mut().zip(&old.containers) {
        new.image.clone_from(&old.image);
    }
    let initial = new.init_containers.iter_mut().flatten();
    for (new, old) in initial.zip(old.init_containers.iter().flatten()) {
        new.image.clone_from(&old.image);
    }
    new.active_deadline_seconds = old.active_deadline_seconds;
    new.tolerations.clone_from(&old.tolerations);
    new.scheduling_gates.clone_from(&old.scheduling_gates);
    let was_negative = old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0);
    if was_negative && new.termination_grace_period_seconds == Some(1) {
        new.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    if is_gated(old) {
        gated::settle(&mut new, old);
    }
    new
}

fn is_gated(spec: &PodSpec) -> bool {
    spec.scheduling_gates.iter().flatten().next().is_some()
}

/// The paths at which two values differ, with what stands there.
fn differences(new: &Value, old: &Value) -> Vec<String> {
    fn walk(at: &str, new: &Value, old: &Value, found: &mut Vec<String>) {
        match (new, old) {
            (Value::Object(new), Value::Object(old)) => {
                let keys: std::collections::BTreeSet<&String> =
                    new.keys().chain(old.keys()).collect();
                for key in keys {
                    let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                    let side = |map: &serde_json::Map<String, Value>| {
                        map.get(key).cloned().unwrap_or_default()
                    };
                    walk(&at, &side(new), &side(old), found);
                }
            }
            (Value::Array(new), Value::Array(old)) if new.len() == old.len() => {
                for (index, (new, old)) in new.iter().zip(old).enumerate() {
                    walk(&format!("{at}[{index}]"), new, old, found);
                }
            }
            _ if new != old => found.push(format!("  {at}: {old} -> {new}")),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk("", new, old, &mut found);
    found
}

/// Checks an update of the pod's status.
pub(super) fn validate_status(new: &Pod, old: &Pod, check: &mut Check) {
    let status = check::or_default(new.status.as_ref());
    let before = check::or_default(old.status.as_ref());
    let at = Path::new("status");
    let class = |status: &PodStatus| status.qos_class.clone().unwrap_or_default();
    if !class(&before).is_empty() && !class(&status).is_empty() && class(&status) != class(&before)
    {
        check.invalid(&at.child("qosClass"), class(&status), "field is immutable");
    }
    for (index, ip) in status.pod_ips.iter().flatten().enumerate() {
        let at = at.child("podIPs").index(index);
        check.errors.invalid_each(&at, &ip.ip, kontiki_api::names::ip_address(&ip.ip));
    }
    for (index, condition) in status.conditions.iter().flatten().enumerate() {
        if condition.type_.is_empty() {
            check.required(&at.child("conditions").index(index).child("type"), "");
        }
    }
}
