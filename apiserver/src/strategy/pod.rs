//! Pods: defaults, the few fields that may change, graceful deletion.

mod created;
mod parts;
mod quality;
mod status;
mod update;

use kontiki_api::{
    field::{Errors, Path},
    k8s_openapi::api::core::v1::Pod,
    names,
};
use serde_json::{Value, json};

use super::{
    check::{self, Check},
    place::Place,
    pod_spec, value,
};
use crate::registry::{self, Context, Grace, Strategy};

/// The strategy of `pods`.
pub(super) struct Pods;

impl Strategy for Pods {
    fn set_defaults(&self, object: &mut Value) {
        let spec = value::child_or_new(object, "spec");
        pod_spec::set_defaults(spec);
        value::default(spec, "enableServiceLinks", true);
        let host_network = spec["hostNetwork"] == true;
        for list in ["initContainers", "containers"] {
            for container in value::items(spec, list) {
                request_what_is_limited(container);
                if host_network {
                    listen_on_the_host(container);
                }
            }
        }
        if let Some(status) = value::child(object, "status") {
            one_and_all(status, "podIP", "podIPs");
            one_and_all(status, "hostIP", "hostIPs");
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _: &Context<'_>) {
        let class = quality::class(&object["spec"]);
        value::set(object, "status", json!({"phase": "Pending", "qosClass": class}));
        created::prepare(object);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _: &Context<'_>) {
        registry::restore(object, old, "status");
    }

    fn status_metadata(&self) -> &'static [&'static str] {
        // Whose a pod is, whoever runs it does not decide.
        &["annotations", "finalizers", "labels"]
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value, _: &Context<'_>) {
        registry::keep_status(object, old, self.status_metadata());
        status::keep(object, old);
    }

    fn prepare_for_part(&self, part: &str, object: &mut Value, old: &Value, _: &Context<'_>) {
        parts::prepare(part, object, old);
    }

    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, validate)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        check::typed_pair(object, old, |new: &Pod, old: &Pod, check| {
            validate(new, check);
            update::validate(new, old, check);
        })
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> Errors {
        check::typed_pair(object, old, |new: &Pod, old: &Pod, check| {
            update::validate_status(new, old, check);
        })
    }

    fn validate_part_update(&self, part: &str, object: &Value, old: &Value) -> Errors {
        let mut check = Check::default();
        parts::check(part, &mut check, &Place::root(object), &Place::root(old));
        let mut errors = check.errors;
        if part != "ephemeralcontainers" {
            errors.extend(self.validate(object));
        }
        errors
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_subdomain, name, prefix)
    }

    fn graceful_deletion(&self, object: &Value, requested: Option<i64>) -> Grace {
        let own = object["spec"]["terminationGracePeriodSeconds"].as_i64();
        let seconds = requested.or(own).unwrap_or_default();
        let phase = object["status"]["phase"].as_str().unwrap_or_default();
        let runs_nowhere = value::is_unset(&object["spec"], "nodeName");
        if runs_nowhere || matches!(phase, "Succeeded" | "Failed") {
            return Grace::Immediate;
        }
        match seconds {
            0 => Grace::Immediate,
            seconds if seconds < 0 => Grace::Period(1),
            seconds => Grace::Period(seconds),
        }
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn validate(pod: &Pod, check: &mut Check) {
    let spec = check::or_default(pod.spec.as_ref());
    pod_spec::validate(check, &Path::new("spec"), &spec);
    if spec.ephemeral_containers.iter().flatten().next().is_some() {
        let running = pod.status.as_ref().is_some_and(|status| status.phase.is_some());
        if !running {
            check.forbidden(
                &Path::new("spec").child("ephemeralContainers"),
                "cannot be set on create",
            );
        }
    }
}

/// What is limited but not requested is requested in full.
fn request_what_is_limited(container: &mut Value) {
    let Some(resources) = value::child(container, "resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    let requests = value::child_or_new(resources, "requests");
    for (name, limit) in limits {
        value::default(requests, &name, limit);
    }
}

/// In the host's network a container's ports are the host's. Templates are left as they are.
fn listen_on_the_host(container: &mut Value) {
    for port in value::items(container, "ports") {
        if value::is_unset(port, "hostPort") || port["hostPort"] == 0 {
            let same = port["containerPort"].clone();
            value::set(port, "hostPort", same);
        }
    }
}

/// An address has two names: alone, and as the first of a list.
fn one_and_all(status: &mut Value, one: &str, all: &str) {
    let alone = value::text(status, one).to_owned();
    let first = status[all][0]["ip"].as_str().unwrap_or_default().to_owned();
    match (alone.is_empty(), first.is_empty()) {
        (false, true) => value::set(status, all, json!([{"ip": alone}])),
        (true, false) => value::set(status, one, first),
        _ => {}
    }
}
