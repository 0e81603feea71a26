//! What pods and pod templates share: defaults, and validation of the whole spec.

mod affinity;
mod containers;
mod defaults;
mod environment;
mod probes;
mod resources;
mod volumes;

use std::collections::BTreeSet;

use kontiki_api::{
    field::{Error, Path},
    k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec, Toleration},
    names,
};

pub(super) use defaults::set_defaults;

use super::check::{self, Check};

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const PREEMPTION_POLICIES: &[&str] = &["Never", "PreemptLowerPriority"];
const OPERATING_SYSTEMS: &[&str] = &["linux", "windows"];
const SYSCTL_BYTES_MAX: usize = 253;
const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
/// Settings of the namespace for communication between processes.
const SYSCTLS_OF_IPC: [&str; 3] = ["fs.mqueue.", "kernel.msg", "kernel.shm"];
const NAMESERVERS_MAX: usize = 3;

/// Checks a pod's spec.
pub(super) fn validate(check: &mut Check, at: &Path, spec: &PodSpec) {
    let volumes = volumes::validate(check, &at.child("volumes"), spec);
    containers::validate(check, at, spec, &volumes);
    policies(check, at, spec);
    naming(check, at, spec);
    check.labels(&at.child("nodeSelector"), spec.node_selector.as_ref());
    tolerations(check, &at.child("tolerations"), spec.tolerations.as_deref().unwrap_or_default());
    if let Some(affinity) = &spec.affinity {
        affinity::validate(check, &at.child("affinity"), affinity);
    }
    affinity::spread(check, &at.child("topologySpreadConstraints"), spec);
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = names::out_of_range(1, i32::MAX.into());
        check.invalid(&at.child("activeDeadlineSeconds"), seconds, &detail);
    }
    security(check, &at.child("securityContext"), spec);
}

/// Checks a template of pods, apart from its labels' relation to a selector.
pub(super) fn validate_template(check: &mut Check, at: &Path, template: &PodTemplateSpec) {
    if let Some(metadata) = &template.metadata {
        let at = at.child("metadata");
        check.labels(&at.child("labels"), metadata.labels.as_ref());
        check.annotations(&at.child("annotations"), metadata.annotations.as_ref());
    }
    let spec = check::or_default(template.spec.as_ref());
    validate(check, &at.child("spec"), &spec);
    if spec.ephemeral_containers.iter().flatten().next().is_some() {
        check.forbidden(
            &at.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

fn policies(check: &mut Check, at: &Path, spec: &PodSpec) {
    let restart = spec.restart_policy.as_deref().unwrap_or_default();
    if restart.is_empty() {
        check.required(&at.child("restartPolicy"), "");
    } else {
        check.one_of(&at.child("restartPolicy"), restart, RESTART_POLICIES);
    }
    let dns = spec.dns_policy.as_deref().unwrap_or_default();
    if dns.is_empty() {
        check.required(&at.child("dnsPolicy"), "");
    } else {
        check.one_of(&at.child("dnsPolicy"), dns, DNS_POLICIES);
    }
    let config = check::or_default(spec.dns_config.as_ref());
    let servers = config.nameservers.as_deref().unwrap_or_default();
    let servers_at = at.child("dnsConfig").child("nameservers");
    if dns == "None" && servers.is_empty() {
        check.required(
            &servers_at,
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        );
    }
    if servers.len() > NAMESERVERS_MAX {
        let detail = "must not have more than 3 nameservers";
        check.invalid(&servers_at, servers.to_vec(), detail);
    }
    for (index, server) in servers.iter().enumerate() {
        let wrong = names::ip_address(server);
        check.errors.invalid_each(&servers_at.index(index), server, wrong);
    }
    if let Some(policy) = spec.preemption_policy.as_deref() {
        check.one_of(&at.child("preemptionPolicy"), policy, PREEMPTION_POLICIES);
    }
    if let Some(os) = &spec.os {
        check.one_of(&at.child("os").child("name"), &os.name, OPERATING_SYSTEMS);
    }
}

fn naming(check: &mut Check, at: &Path, spec: &PodSpec) {
    let label = [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)];
    for (field, text) in label {
        check.optional_named(&at.child(field), text.as_deref(), names::dns1123_label);
    }
    let subdomain = [
        ("nodeName", &spec.node_name),
        ("serviceAccountName", &spec.service_account_name),
        ("priorityClassName", &spec.priority_class_name),
        ("runtimeClassName", &spec.runtime_class_name),
        ("schedulerName", &spec.scheduler_name),
    ];
    for (field, text) in subdomain {
        check.optional_named(&at.child(field), text.as_deref(), names::dns1123_subdomain);
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let at = at.child("hostAliases").index(index);
        check.errors.invalid_each(&at.child("ip"), &alias.ip, names::ip_address(&alias.ip));
        for (index, hostname) in alias.hostnames.iter().flatten().enumerate() {
            let wrong = names::dns1123_subdomain(hostname);
            check.errors.invalid_each(&at.child("hostnames").index(index), hostname, wrong);
        }
    }
    let mut gates = BTreeSet::new();
    for (index, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        let at = at.child("schedulingGates").index(index);
        check.errors.invalid_each(&at, &gate.name, names::qualified_name(&gate.name));
        if !gates.insert(&gate.name) {
            check.push(Error::duplicate(&at, gate.name.as_str()));
        }
    }
    if !gates.is_empty() && spec.node_name.as_deref().is_some_and(|name| !name.is_empty()) {
        let detail = "cannot be set until all schedulingGates have been cleared";
        check.forbidden(&at.child("nodeName"), detail);
    }
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let at = at.child("readinessGates").index(index).child("conditionType");
        let wrong = names::qualified_name(&gate.condition_type);
        check.errors.invalid_each(&at, &gate.condition_type, wrong);
    }
}

fn tolerations(check: &mut Check, at: &Path, tolerations: &[Toleration]) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let at = at.index(index);
        let key = toleration.key.as_deref().unwrap_or_default();
        let value = toleration.value.as_deref().unwrap_or_default();
        let operator = toleration.operator.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        check.optional_named(&at.child("key"), Some(key), names::qualified_name);
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all \
                          values and all keys\"";
            check.invalid(&at.child("operator"), operator, detail);
        }
        if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            check.invalid(&at.child("effect"), effect, detail);
        }
        match operator {
            "" | "Equal" => {
                let wrong = names::label_value(value);
                if !wrong.is_empty() {
                    check.invalid(&at.child("operator"), value, &wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                check.invalid(&at.child("operator"), value, detail);
            }
            "Exists" => {}
            other => check.one_of(&at.child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            let known = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
            check.one_of(&at.child("effect"), effect, known);
        }
    }
}

fn security(check: &mut Check, at: &Path, spec: &PodSpec) {
    let Some(context) = &spec.security_context else { return };
    check.not_negative(&at.child("runAsUser"), context.run_as_user);
    check.not_negative(&at.child("runAsGroup"), context.run_as_group);
    check.not_negative(&at.child("fsGroup"), context.fs_group);
    let groups = context.supplemental_groups.as_deref().unwrap_or_default();
    for (index, group) in groups.iter().enumerate() {
        check.not_negative(&at.child("supplementalGroups").index(index), Some(*group));
    }
    sysctls(check, &at.child("sysctls"), spec);
    let shares = spec.share_process_namespace == Some(true);
    if shares && spec.host_pid == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        check.invalid(&at.child("shareProcessNamespace"), true, detail);
    }
}

/// Checks kernel settings: their names, and that they are the pod's own and not the node's.
fn sysctls(check: &mut Check, at: &Path, spec: &PodSpec) {
    let settings =
        spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    let mut seen = BTreeSet::new();
    for (index, setting) in settings.enumerate() {
        let (at, name) = (at.index(index).child("name"), setting.name.as_str());
        if name.is_empty() {
            check.required(&at, "");
        } else if !is_sysctl(name) {
            let detail =
                format!("must have at most {SYSCTL_BYTES_MAX} characters and match regex {SYSCTL}");
            check.invalid(&at, name, &detail);
        } else if !seen.insert(name) {
            check.push(Error::duplicate(&at, name));
        }
        let name = name.replace('/', ".");
        let of_network = name.starts_with("net.");
        let of_ipc =
            name == "kernel.sem" || SYSCTLS_OF_IPC.iter().any(|prefix| name.starts_with(prefix));
        if of_network && spec.host_network == Some(true) {
            check.invalid(&at, name.as_str(), "may not be specified when 'hostNetwork' is true");
        }
        if of_ipc && spec.host_ipc == Some(true) {
            check.invalid(&at, name.as_str(), "may not be specified when 'hostIPC' is true");
        }
    }
}

/// Words of lower-case letters, digits and inner dashes or underscores, with dots or slashes between.
fn is_sysctl(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let word = |word: &str| {
        let bytes = word.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.iter().all(|end| end.is_some_and(|byte| plain(*byte)))
            && bytes.iter().all(|byte| plain(*byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= SYSCTL_BYTES_MAX && name.split(['.', '/']).all(word)
}
