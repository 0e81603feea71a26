//! Containers: names, images, ports, mounts.

use std::collections::BTreeSet;

use kontiki_api::{
    field::{Error, Path},
    k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, VolumeMount},
    names,
};

use super::{environment, probes, resources, volumes};
use crate::strategy::check::Check;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["FallbackToLogsOnError", "File"];

/// Checks all containers of a spec.
pub(super) fn validate(check: &mut Check, at: &Path, spec: &PodSpec, volumes: &BTreeSet<&str>) {
    let regular = at.child("containers");
    if spec.containers.is_empty() {
        check.required(&regular, "");
    }
    let mut seen = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let at = regular.index(index);
        name(check, &at, container, &mut seen);
        one(check, &at, container, volumes);
        probes::of_container(check, &at, container);
        if container.restart_policy.is_some() && container.restart_policy_rules.is_none() {
            restart_policy(check, &at, container);
        }
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let at = at.child("initContainers").index(index);
        name(check, &at, container, &mut seen);
        one(check, &at, container, volumes);
        initial(check, &at, container);
    }
    host_ports(check, &regular, spec);
}

fn name<'a>(check: &mut Check, at: &Path, container: &'a Container, seen: &mut BTreeSet<&'a str>) {
    let at = at.child("name");
    check.named(&at, &container.name, names::dns1123_label);
    if !container.name.is_empty() && !seen.insert(&container.name) {
        check.push(Error::duplicate(&at, container.name.as_str()));
    }
}

fn one(check: &mut Check, at: &Path, container: &Container, volumes: &BTreeSet<&str>) {
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        check.required(&at.child("image"), "");
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        check.invalid(&at.child("image"), image, detail);
    }
    let policy = container.image_pull_policy.as_deref().unwrap_or_default();
    if policy.is_empty() {
        check.required(&at.child("imagePullPolicy"), "");
    } else {
        check.one_of(&at.child("imagePullPolicy"), policy, PULL_POLICIES);
    }
    if let Some(policy) = container.termination_message_policy.as_deref() {
        check.one_of(&at.child("terminationMessagePolicy"), policy, MESSAGE_POLICIES);
    }
    ports(check, &at.child("ports"), container.ports.as_deref().unwrap_or_default());
    environment::validate(check, at, container);
    mounts(
        check,
        &at.child("volumeMounts"),
        container.volume_mounts.as_deref().unwrap_or_default(),
        volumes,
    );
    if let Some(resources) = &container.resources {
        resources::validate(check, &at.child("resources"), resources);
    }
    if let Some(context) = &container.security_context {
        let at = at.child("securityContext");
        check.not_negative(&at.child("runAsUser"), context.run_as_user);
        check.not_negative(&at.child("runAsGroup"), context.run_as_group);
        if context.privileged == Some(true) && context.allow_privilege_escalation == Some(false) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            check.invalid(&at, crate::strategy::check::as_value(context), detail);
        }
    }
}

/// Init containers run to their end; only those that restart always may be looked after.
fn initial(check: &mut Check, at: &Path, container: &Container) {
    if container.restart_policy.as_deref() == Some("Always") {
        probes::of_container(check, at, container);
        return;
    }
    if container.restart_policy.is_some() && container.restart_policy_rules.is_none() {
        restart_policy(check, at, container);
    }
    let detail = "may not be set for init containers without restartPolicy=Always";
    let set = [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ];
    for (field, is_set) in set {
        if is_set {
            check.forbidden(&at.child(field), detail);
        }
    }
}

fn restart_policy(check: &mut Check, at: &Path, container: &Container) {
    let policy = container.restart_policy.as_deref().unwrap_or_default();
    check.one_of(&at.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
}

fn ports(check: &mut Check, at: &Path, ports: &[ContainerPort]) {
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = at.index(index);
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            check.errors.invalid_each(&at.child("name"), name, names::port_name(name));
            if !seen.insert(name) {
                check.push(Error::duplicate(&at.child("name"), name));
            }
        }
        if port.container_port == 0 {
            check.required(&at.child("containerPort"), "");
        } else {
            check.port(&at.child("containerPort"), port.container_port);
        }
        if let Some(host_port) = port.host_port.filter(|host_port| *host_port != 0) {
            check.port(&at.child("hostPort"), host_port);
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if protocol.is_empty() {
            check.required(&at.child("protocol"), "");
        } else {
            check.one_of(&at.child("protocol"), protocol, PROTOCOLS);
        }
    }
}

/// Ports of the host are one each, and with the host's network they are the container's.
fn host_ports(check: &mut Check, at: &Path, spec: &PodSpec) {
    let mut taken = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        for (port_index, port) in container.ports.iter().flatten().enumerate() {
            let at = at.index(index).child("ports").index(port_index);
            let host_port = port.host_port.unwrap_or_default();
            if host_port == 0 {
                continue;
            }
            if spec.host_network == Some(true) && host_port != port.container_port {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                check.invalid(&at.child("hostPort"), host_port, detail);
            }
            let key = format!(
                "{}/{}/{host_port}",
                port.protocol.as_deref().unwrap_or_default(),
                port.host_ip.as_deref().unwrap_or_default()
            );
            if !taken.insert(key.clone()) {
                check.push(Error::duplicate(&at.child("hostPort"), key));
            }
        }
    }
}

fn mounts(check: &mut Check, at: &Path, mounts: &[VolumeMount], volumes: &BTreeSet<&str>) {
    let mut seen = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let at = at.index(index);
        if mount.name.is_empty() {
            check.required(&at.child("name"), "");
        } else if !volumes.contains(mount.name.as_str()) {
            check.push(Error::not_found(&at.child("name"), mount.name.as_str()));
        }
        if mount.mount_path.is_empty() {
            check.required(&at.child("mountPath"), "");
        } else if !seen.insert(&mount.mount_path) {
            check.invalid(&at.child("mountPath"), mount.mount_path.as_str(), "must be unique");
        }
        if let Some(path) = mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
            volumes::descending(check, &at.child("subPath"), path);
        }
        if let Some(path) = mount.sub_path_expr.as_deref().filter(|path| !path.is_empty()) {
            if mount.sub_path.as_deref().is_some_and(|path| !path.is_empty()) {
                let detail = "subPathExpr and subPath are mutually exclusive";
                check.invalid(&at.child("subPathExpr"), path, detail);
            }
            volumes::descending(check, &at.child("subPathExpr"), path);
        }
        if let Some(mode) = mount.mount_propagation.as_deref() {
            let known = &["Bidirectional", "HostToContainer", "None"];
            check.one_of(&at.child("mountPropagation"), mode, known);
        }
    }
}
