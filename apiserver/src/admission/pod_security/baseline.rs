//! The checks of the baseline level: nothing that reaches out of the pod.

use std::collections::BTreeSet;

use serde_json::Value;

use super::checks::{Pod, Violation, containers, plural, quoted, setters};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(values: &BTreeSet<&str>) -> String {
    quoted(&values.iter().collect::<Vec<_>>())
}

fn is_profile(value: &Value) -> bool {
    matches!(value.as_str(), Some("RuntimeDefault" | "Localhost"))
}

pub(super) fn app_armor_profile(pod: Pod<'_>) -> Option<Violation> {
    let mut bad: BTreeSet<&str> = BTreeSet::new();
    let mut is_bad = |context: &'_ Value| {
        let profile = &context["securityContext"]["appArmorProfile"];
        !profile.is_null() && !is_profile(&profile["type"])
    };
    let own = is_bad(pod.spec);
    let names = pod.named(&mut is_bad);
    let all = std::iter::once(pod.spec).chain(pod.containers());
    for context in all.filter(|context| is_bad(context)) {
        bad.insert(text(&context["securityContext"]["appArmorProfile"]["type"]));
    }
    let allowed =
        |value: &str| matches!(value, "" | "runtime/default") || value.starts_with("localhost/");
    let annotations: Vec<String> = annotations(pod)
        .filter(|(key, value)| key.starts_with(APP_ARMOR) && !allowed(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    let mut who: Vec<String> = Vec::new();
    who.extend(setters(own, &names));
    let mut values: Vec<String> = bad.into_iter().map(str::to_owned).collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    let who = who.join(" and ");
    Violation::new(
        reason,
        format!("{who} must not set AppArmor profile type to {}", quoted(&values)),
    )
}

fn annotations(pod: Pod<'_>) -> impl Iterator<Item = (&str, &str)> {
    let mut all: Vec<(&str, &str)> = pod.metadata["annotations"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), text(value)))
        .collect();
    all.sort_unstable();
    all.into_iter()
}

/// Capabilities that container runtimes grant anyway.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

pub(super) fn capabilities(pod: Pod<'_>) -> Option<Violation> {
    let mut forbidden = BTreeSet::new();
    let names = pod.named(|container| {
        let added = container["securityContext"]["capabilities"]["add"].as_array();
        let bad: Vec<&str> = added
            .into_iter()
            .flatten()
            .map(text)
            .filter(|capability| !CAPABILITIES.contains(capability))
            .collect();
        forbidden.extend(bad.iter().copied());
        !bad.is_empty()
    });
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        containers(&names),
        list(&forbidden)
    );
    Violation::new("non-default capabilities", detail)
}

pub(super) fn host_namespaces(pod: Pod<'_>) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"];
    let set: Vec<String> = fields
        .iter()
        .filter(|field| pod.spec[**field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    if set.is_empty() { None } else { Violation::new("host namespaces", set.join(", ")) }
}

pub(super) fn host_path_volumes(pod: Pod<'_>) -> Option<Violation> {
    let names: Vec<&str> = pod.spec["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|volume| !volume["hostPath"].is_null())
        .map(|volume| text(&volume["name"]))
        .collect();
    if names.is_empty() {
        return None;
    }
    let word = plural("volume", "volumes", names.len());
    Violation::new("hostPath volumes", format!("{word} {}", quoted(&names)))
}

pub(super) fn host_ports(pod: Pod<'_>) -> Option<Violation> {
    let mut forbidden = BTreeSet::new();
    let names = pod.named(|container| {
        let ports = container["ports"].as_array().into_iter().flatten();
        let bad: Vec<i64> =
            ports.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0).collect();
        forbidden.extend(bad.iter().map(i64::to_string));
        !bad.is_empty()
    });
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        plural("uses", "use", names.len()),
        plural("hostPort", "hostPorts", forbidden.len()),
        forbidden.into_iter().collect::<Vec<_>>().join(", ")
    );
    Violation::new("hostPort", detail)
}

pub(super) fn host_probes(pod: Pod<'_>) -> Option<Violation> {
    let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in pod.containers() {
        let handlers = [
            &container["livenessProbe"],
            &container["readinessProbe"],
            &container["startupProbe"],
            &container["lifecycle"]["postStart"],
            &container["lifecycle"]["preStop"],
        ];
        for handler in handlers {
            for host in [text(&handler["httpGet"]["host"]), text(&handler["tcpSocket"]["host"])] {
                if !host.is_empty() {
                    names.insert(text(&container["name"]));
                    hosts.insert(host);
                }
            }
        }
    }
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect();
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        plural("uses", "use", names.len()),
        plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()),
        list(&hosts)
    );
    Violation::new("probe or lifecycle host", detail)
}

pub(super) fn privileged(pod: Pod<'_>) -> Option<Violation> {
    let names = pod.named(|container| container["securityContext"]["privileged"] == true);
    if names.is_empty() {
        return None;
    }
    let who = containers(&names);
    Violation::new("privileged", format!("{who} must not set securityContext.privileged=true"))
}

pub(super) fn proc_mount(pod: Pod<'_>) -> Option<Violation> {
    let mut forbidden = BTreeSet::new();
    let names = pod.named(|container| {
        let mount = container["securityContext"]["procMount"].as_str();
        let bad = mount.filter(|mount| *mount != "Default");
        forbidden.extend(bad);
        bad.is_some()
    });
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not set securityContext.procMount to {}",
        containers(&names),
        list(&forbidden)
    );
    Violation::new("procMount", detail)
}

pub(super) fn proc_mount_of_host_users(pod: Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { proc_mount(pod) }
}

pub(super) fn se_linux_options(pod: Pod<'_>) -> Option<Violation> {
    se_linux(pod, &["", "container_t", "container_init_t", "container_kvm_t"])
}

pub(super) fn se_linux_options_since_31(pod: Pod<'_>) -> Option<Violation> {
    let allowed = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    se_linux(pod, &allowed)
}

fn se_linux(pod: Pod<'_>, allowed: &[&str]) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut is_bad = |options: &Value| {
        let own = text(&options["type"]).to_owned();
        let (sets_user, sets_role) =
            (!text(&options["user"]).is_empty(), !text(&options["role"]).is_empty());
        let bad_type = !allowed.contains(&own.as_str());
        user |= sets_user;
        role |= sets_role;
        if bad_type {
            types.insert(own);
        }
        bad_type || sets_user || sets_role
    };
    let own = is_bad(&pod.spec["securityContext"]["seLinuxOptions"]);
    let names = pod.named(|container| is_bad(&container["securityContext"]["seLinuxOptions"]));
    let who = setters(own, &names)?;
    let mut what = Vec::new();
    if !types.is_empty() {
        let all: Vec<&String> = types.iter().collect();
        what.push(format!("{} {}", plural("type", "types", types.len()), quoted(&all)));
    }
    if user {
        what.push("user may not be set".to_owned());
    }
    if role {
        what.push("role may not be set".to_owned());
    }
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; "));
    Violation::new("seLinuxOptions", detail)
}

pub(super) fn seccomp_annotations(pod: Pod<'_>) -> Option<Violation> {
    let allowed = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let names: BTreeSet<String> = pod
        .containers()
        .map(|container| format!("{SECCOMP_CONTAINER}{}", text(&container["name"])))
        .collect();
    let bad: Vec<String> = annotations(pod)
        .filter(|(key, value)| (*key == SECCOMP_POD || names.contains(*key)) && !allowed(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", bad.len());
    Violation::new("seccompProfile", format!("forbidden {word} {}", bad.join(", ")))
}

pub(super) fn seccomp_profile(pod: Pod<'_>) -> Option<Violation> {
    let bad = |context: &'_ Value| {
        let profile = &context["securityContext"]["seccompProfile"];
        !profile.is_null() && !is_profile(&profile["type"])
    };
    let who = setters(bad(pod.spec), &pod.named(bad))?;
    let values: BTreeSet<&str> = std::iter::once(pod.spec)
        .chain(pod.containers())
        .filter(|context| bad(context))
        .map(|context| text(&context["securityContext"]["seccompProfile"]["type"]))
        .collect();
    let detail =
        format!("{who} must not set securityContext.seccompProfile.type to {}", list(&values));
    Violation::new("seccompProfile", detail)
}

/// Kernel settings that belong to the pod alone, with the version since which that counts.
const SYSCTLS: [(u32, &str); 12] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

fn sysctls_as_of(pod: Pod<'_>, minor: u32) -> Option<Violation> {
    let safe = |name: &str| SYSCTLS.iter().any(|(since, own)| *since <= minor && *own == name);
    let bad: Vec<&str> = pod.spec["securityContext"]["sysctls"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|sysctl| text(&sysctl["name"]))
        .filter(|name| !safe(name))
        .collect();
    if bad.is_empty() { None } else { Violation::new("forbidden sysctls", bad.join(", ")) }
}

pub(super) fn sysctls(pod: Pod<'_>) -> Option<Violation> {
    sysctls_as_of(pod, 0)
}

pub(super) fn sysctls_since_27(pod: Pod<'_>) -> Option<Violation> {
    sysctls_as_of(pod, 27)
}

pub(super) fn sysctls_since_29(pod: Pod<'_>) -> Option<Violation> {
    sysctls_as_of(pod, 29)
}

pub(super) fn sysctls_since_32(pod: Pod<'_>) -> Option<Violation> {
    sysctls_as_of(pod, 32)
}

pub(super) fn windows_host_process(pod: Pod<'_>) -> Option<Violation> {
    let bad = |context: &Value| context["securityContext"]["windowsOptions"]["hostProcess"] == true;
    let who = setters(bad(pod.spec), &pod.named(bad))?;
    Violation::new(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
