//! From a pod to what CRI wants to know of its sandbox and containers. Pure.

mod mounts;
mod names;

use std::{collections::HashMap, path::PathBuf};

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile, SecurityContext};
use kontiki_api::Object;

use crate::{
    environment::expand::expand,
    options::Options,
    pod::{
        labels,
        spec::{PodExt, seconds_or_zero},
    },
    resources::cgroup,
};

pub use mounts::mounts;
pub use names::{dns_config, hosts_file, read_resolv_conf};

/// Where termination messages are written unless the pod says otherwise.
pub const DEFAULT_TERMINATION_PATH: &str = "/dev/termination-log";
/// Names in the kernel have an end.
const HOSTNAME_LENGTH_MAX: usize = 63;

const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn pod_labels(pod: &Pod) -> HashMap<String, String> {
    HashMap::from([
        (labels::POD_NAME.to_owned(), pod.name().to_owned()),
        (labels::POD_NAMESPACE.to_owned(), pod.namespace().to_owned()),
        (labels::POD_UID.to_owned(), pod.uid().to_owned()),
    ])
}

/// The name a pod's containers see as theirs.
pub fn hostname(pod: &Pod) -> String {
    let wanted = pod.pod_spec().hostname.as_deref().filter(|name| !name.is_empty());
    let name = wanted.unwrap_or_else(|| pod.name());
    name.chars()
        .take(HOSTNAME_LENGTH_MAX)
        .collect::<String>()
        .trim_end_matches(['-', '.'])
        .to_owned()
}

/// The sandbox of a pod.
pub fn sandbox_config(
    options: &Options,
    pod: &Pod,
    attempt: u32,
    dns: cri::DnsConfig,
) -> cri::PodSandboxConfig {
    let spec = pod.pod_spec();
    let mut labels = pod_labels(pod);
    labels.extend(pod.metadata.labels.clone().unwrap_or_default());
    let mut annotations: HashMap<String, String> =
        pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect();
    let grace = spec.termination_grace_period_seconds.map_or_else(|| pod.grace(), seconds_or_zero);
    annotations.insert(labels::GRACE_PERIOD.to_owned(), grace.as_secs().to_string());
    let security = spec.security_context.clone().unwrap_or_default();
    let sysctls = security.sysctls.unwrap_or_default();
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            attempt,
        }),
        // The node's network comes with the node's name.
        hostname: if pod.is_host_network() { String::new() } else { hostname(pod) },
        log_directory: log_directory(options, pod).display().to_string(),
        dns_config: Some(dns),
        port_mappings: port_mappings(pod),
        labels,
        annotations,
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: cgroup::pod_cgroup(&options.cgroup_root, pod),
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(pod)),
                privileged: spec.containers.iter().any(is_privileged),
                seccomp: Some(seccomp(Some(&SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }))),
                supplemental_groups: supplemental_groups(pod),
                ..cri::LinuxSandboxSecurityContext::default()
            }),
            sysctls: sysctls.into_iter().map(|sysctl| (sysctl.name, sysctl.value)).collect(),
            ..cri::LinuxPodSandboxConfig::default()
        }),
        windows: None,
    }
}

/// Where the logs of a pod are.
pub fn log_directory(options: &Options, pod: &Pod) -> PathBuf {
    options.paths().pod_logs(pod.namespace(), pod.name(), pod.uid())
}

fn port_mappings(pod: &Pod) -> Vec<cri::PortMapping> {
    if pod.is_host_network() {
        return Vec::new();
    }
    let ports = pod.pod_spec().containers.iter().flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host_port = port.host_port.filter(|port| *port > 0)?;
            let protocol = match port.protocol.as_deref() {
                Some("UDP") => cri::Protocol::Udp,
                Some("SCTP") => cri::Protocol::Sctp,
                _ => cri::Protocol::Tcp,
            };
            Some(cri::PortMapping {
                protocol: protocol.into(),
                container_port: port.container_port,
                host_port,
                host_ip: port.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect()
}

fn namespaces(pod: &Pod) -> cri::NamespaceOption {
    let spec = pod.pod_spec();
    let of_the_node = |on: Option<bool>, else_: cri::NamespaceMode| -> i32 {
        if on == Some(true) { cri::NamespaceMode::Node.into() } else { else_.into() }
    };
    let processes = if spec.share_process_namespace == Some(true) {
        cri::NamespaceMode::Pod
    } else {
        cri::NamespaceMode::Container
    };
    cri::NamespaceOption {
        network: of_the_node(spec.host_network, cri::NamespaceMode::Pod),
        pid: of_the_node(spec.host_pid, processes),
        ipc: of_the_node(spec.host_ipc, cri::NamespaceMode::Pod),
        ..cri::NamespaceOption::default()
    }
}

fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().is_some_and(|security| security.privileged == Some(true))
}

fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let security = pod.pod_spec().security_context.clone().unwrap_or_default();
    security.supplemental_groups.into_iter().flatten().chain(security.fs_group).collect()
}

fn seccomp(profile: Option<&SeccompProfile>) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let (kind, localhost_ref) = match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") => (ProfileType::RuntimeDefault, String::new()),
        Some("Localhost") => (
            ProfileType::Localhost,
            profile.and_then(|profile| profile.localhost_profile.clone()).unwrap_or_default(),
        ),
        _ => (ProfileType::Unconfined, String::new()),
    };
    cri::SecurityProfile { profile_type: kind.into(), localhost_ref }
}

/// What a container is made from, besides the pod.
pub struct Ingredients<'a> {
    /// Its number.
    pub attempt: u32,
    /// The container whose processes it sees, by id.
    pub target: Option<String>,
    /// The runtime's id of its image.
    pub image_id: String,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// What is mounted into it.
    pub mounts: Vec<cri::Mount>,
    /// The node's memory.
    pub node_memory: i64,
    /// Users as its image names them, for those who may not be root.
    pub image_user: (Option<i64>, &'a str),
}

/// A container of a pod. The error is upstream's, for `CreateContainerConfigError`.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    ingredients: Ingredients<'_>,
) -> Result<cri::ContainerConfig, String> {
    refuse_root(pod, container, ingredients.image_user)?;
    let environment: HashMap<&str, &str> = ingredients
        .environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expanded = |words: Option<&Vec<String>>| -> Vec<String> {
        let lookup = |name: &str| environment.get(name).map(|value| (*value).to_owned());
        words.into_iter().flatten().map(|word| expand(word, lookup)).collect()
    };
    let termination_path = container
        .termination_message_path
        .clone()
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| DEFAULT_TERMINATION_PATH.to_owned());
    let policy = container.termination_message_policy.clone().unwrap_or_else(|| "File".to_owned());
    let mut labels = pod_labels(pod);
    labels.insert(labels::CONTAINER_NAME.to_owned(), container.name.clone());
    let annotations = HashMap::from([
        (labels::RESTART_COUNT.to_owned(), ingredients.attempt.to_string()),
        (labels::TERMINATION_PATH.to_owned(), termination_path),
        (labels::TERMINATION_POLICY.to_owned(), policy),
        (labels::GRACE_PERIOD.to_owned(), pod.grace().as_secs().to_string()),
    ]);
    let (command, args) = (expanded(container.command.as_ref()), expanded(container.args.as_ref()));
    let mut security = security(pod, container);
    if let (Some(target), Some(namespaces)) = (ingredients.target, &mut security.namespace_options)
    {
        namespaces.pid = cri::NamespaceMode::Target.into();
        namespaces.target_id = target;
    }
    let key_value = |(key, value)| cri::KeyValue { key, value };
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: container.name.clone(),
            attempt: ingredients.attempt,
        }),
        image: Some(cri::ImageSpec {
            image: ingredients.image_id,
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..cri::ImageSpec::default()
        }),
        command,
        args,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: ingredients.environment.into_iter().map(key_value).collect(),
        mounts: ingredients.mounts,
        labels,
        annotations,
        log_path: format!("{}/{}.log", container.name, ingredients.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(cgroup::container_resources(pod, container, ingredients.node_memory)),
            security_context: Some(security),
        }),
        ..cri::ContainerConfig::default()
    })
}

fn refuse_root(
    pod: &Pod,
    container: &Container,
    (image_uid, image_user): (Option<i64>, &str),
) -> Result<(), String> {
    let own = container.security_context.clone().unwrap_or_default();
    let of_pod = pod.pod_spec().security_context.clone().unwrap_or_default();
    if own.run_as_non_root.or(of_pod.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let whose = format!("(pod: {:?}, container: {})", pod.log_name(), container.name);
    match own.run_as_user.or(of_pod.run_as_user) {
        Some(0) => Err(format!("container's runAsUser breaks non-root policy {whose}")),
        Some(_) => Ok(()),
        None if !image_user.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root {whose}"
        )),
        None if image_uid.unwrap_or(0) == 0 => {
            Err(format!("container has runAsNonRoot and image will run as root {whose}"))
        }
        None => Ok(()),
    }
}

fn security(pod: &Pod, container: &Container) -> cri::LinuxContainerSecurityContext {
    let own: SecurityContext = container.security_context.clone().unwrap_or_default();
    let of_pod = pod.pod_spec().security_context.clone().unwrap_or_default();
    let number = |value: Option<i64>| value.map(|value| cri::Int64Value { value });
    let privileged = own.privileged == Some(true);
    let paths = |paths: &[&str]| -> Vec<String> {
        let hidden = !privileged && own.proc_mount.as_deref() != Some("Unmasked");
        paths.iter().filter(|_| hidden).map(|path| (*path).to_owned()).collect()
    };
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let profile = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespaces(pod)),
        run_as_user: number(own.run_as_user.or(of_pod.run_as_user)),
        run_as_group: number(own.run_as_group.or(of_pod.run_as_group)),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: supplemental_groups(pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED_PATHS),
        readonly_paths: paths(READONLY_PATHS),
        seccomp: Some(if privileged { seccomp(None) } else { seccomp(profile) }),
        ..cri::LinuxContainerSecurityContext::default()
    }
}
