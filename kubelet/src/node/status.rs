//! What the node tells of itself. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_cri::v1 as cri;
use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints,
        NodeSpec, NodeStatus, NodeSystemInfo,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use kontiki_api::Object;

use crate::{node::machine::Machine, options::Options, runtime::import::architecture};

/// An unchanged status is written again after this long (upstream's `nodeStatusReportFrequency`).
const REPORT_FREQUENCY: SignedDuration = SignedDuration::from_mins(5);
/// Upstream's limit of images in a node's status.
const IMAGES_MAX: usize = 50;

/// What containerd said of itself.
#[derive(Clone, Debug)]
pub struct RuntimeFacts {
    /// `containerd://VERSION`; empty if it does not answer.
    pub version: String,
    /// Its conditions; why there are none, if it does not answer.
    pub conditions: Result<Vec<cri::RuntimeCondition>, String>,
    /// Its images.
    pub images: Vec<cri::Image>,
}

impl Default for RuntimeFacts {
    fn default() -> RuntimeFacts {
        let conditions = Err("it was not asked yet".to_owned());
        RuntimeFacts { version: String::new(), conditions, images: Vec::new() }
    }
}

/// The labels that a node has by itself.
pub fn own_labels(options: &Options) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), options.node_name.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), architecture().to_owned()),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("beta.kubernetes.io/arch".to_owned(), architecture().to_owned()),
    ]);
    labels.extend(options.node_labels.clone());
    labels
}

/// The object to register with.
pub fn registration(options: &Options, status: NodeStatus) -> Node {
    let mut node = Node {
        spec: Some(NodeSpec {
            taints: Some(options.node_taints.clone()).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(status),
        ..Node::default()
    };
    node.metadata.name = Some(options.node_name.clone());
    node.metadata.labels = Some(own_labels(options));
    node
}

/// The node's status now. `old` is what the API server has.
pub fn status(
    options: &Options,
    machine: &Machine,
    runtime: &RuntimeFacts,
    old: &NodeStatus,
    now: Timestamp,
) -> NodeStatus {
    let resources = BTreeMap::from([
        ("cpu".to_owned(), Quantity(machine.cpus.to_string())),
        ("memory".to_owned(), Quantity(format!("{}Ki", machine.memory / 1024))),
        ("pods".to_owned(), Quantity(options.max_pods.to_string())),
    ]);
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    let mut addresses: Vec<NodeAddress> =
        options.node_addresses.iter().map(|own| address("InternalIP", own.to_string())).collect();
    addresses.push(address("Hostname", options.node_name.clone()));
    let port = i32::from(options.listen.port());
    NodeStatus {
        capacity: Some(resources.clone()),
        allocatable: Some(resources),
        addresses: Some(addresses),
        conditions: Some(conditions(runtime, old, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port }),
        }),
        images: Some(images(&runtime.images)).filter(|images| !images.is_empty()),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: runtime.version.clone(),
            kernel_version: machine.kernel_version.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: options.version.clone(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.system_uuid.clone(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

fn images(images: &[cri::Image]) -> Vec<ContainerImage> {
    let mut images: Vec<&cri::Image> = images.iter().collect();
    images.sort_by(|a, b| b.size.cmp(&a.size).then(a.repo_tags.cmp(&b.repo_tags)));
    images
        .into_iter()
        .take(IMAGES_MAX)
        .map(|image| ContainerImage {
            names: Some(image.repo_digests.iter().chain(&image.repo_tags).cloned().collect()),
            size_bytes: i64::try_from(image.size).ok(),
        })
        .collect()
}

fn conditions(runtime: &RuntimeFacts, old: &NodeStatus, now: Timestamp) -> Vec<NodeCondition> {
    let pressure = |kind: &'static str, reason: &'static str, message: &str| {
        (kind, "False", reason, message.to_owned())
    };
    let (ready, reason, message) = match not_ready(runtime) {
        None => ("True", "KubeletReady", "kubelet is posting ready status".to_owned()),
        Some(message) => ("False", "KubeletNotReady", message),
    };
    let all = [
        pressure(
            "MemoryPressure",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        pressure("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        pressure("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", ready, reason, message),
    ];
    all.into_iter()
        .map(|(kind, status, reason, message)| {
            let before = old.conditions.iter().flatten().find(|before| before.type_ == kind);
            let since = before.filter(|before| before.status == status);
            let since = since.and_then(|before| before.last_transition_time.clone());
            NodeCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: since.or(Some(Time(now))),
            }
        })
        .collect()
}

/// Why the node is not ready, as upstream says it.
fn not_ready(runtime: &RuntimeFacts) -> Option<String> {
    let conditions = match &runtime.conditions {
        Ok(conditions) => conditions,
        Err(problem) => return Some(format!("container runtime is down: {problem}")),
    };
    let mut problems = Vec::new();
    for (kind, title) in [
        ("RuntimeReady", "container runtime not ready"),
        ("NetworkReady", "container runtime network not ready"),
    ] {
        match conditions.iter().find(|condition| condition.r#type == kind) {
            Some(condition) if condition.status => {}
            Some(condition) => problems.push(format!(
                "{title}: {kind}=false reason:{} message:{}",
                condition.reason, condition.message
            )),
            None => problems.push(format!("{title}: {kind} is unknown")),
        }
    }
    (!problems.is_empty())
        .then(|| format!("[{}]", problems.join(", ")))
        .map(|text| if problems.len() == 1 { problems.remove(0) } else { text })
}

/// Whether a status has to be written over what the API server has.
pub fn needs_write(old: &NodeStatus, new: &NodeStatus, now: Timestamp) -> bool {
    let stale = old.conditions.iter().flatten().filter(|c| c.type_ == "Ready").all(|ready| {
        ready
            .last_heartbeat_time
            .as_ref()
            .is_none_or(|beat| now.duration_since(beat.0) >= REPORT_FREQUENCY)
    });
    stale || comparable(old, new) != comparable(new, new)
}

/// A status without its heartbeat, and without conditions that are not ours.
fn comparable(status: &NodeStatus, ours: &NodeStatus) -> serde_json::Value {
    let mut status = status.clone();
    let is_ours = |condition: &NodeCondition| {
        ours.conditions.iter().flatten().any(|own| own.type_ == condition.type_)
    };
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(is_ours);
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        for condition in conditions {
            condition.last_heartbeat_time = None;
        }
    }
    Node { status: Some(status), ..Node::default() }.to_value()["status"].take()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(network: bool) -> RuntimeFacts {
        let condition = |kind: &str, status, reason: &str, message: &str| cri::RuntimeCondition {
            r#type: kind.to_owned(),
            status,
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        RuntimeFacts {
            version: "containerd://1.6.20".to_owned(),
            conditions: Ok(vec![
                condition("RuntimeReady", true, "", ""),
                condition(
                    "NetworkReady",
                    network,
                    "NetworkPluginNotReady",
                    "Network plugin returns error: cni plugin not initialized",
                ),
            ]),
            images: Vec::new(),
        }
    }

    #[test]
    fn a_node_without_network_says_so() {
        assert_eq!(not_ready(&facts(true)), None);
        assert_eq!(
            not_ready(&facts(false)).unwrap(),
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"
        );
    }

    #[test]
    fn only_changes_and_old_heartbeats_are_written() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let status = |facts: &RuntimeFacts, old: &NodeStatus, now| NodeStatus {
            conditions: Some(conditions(facts, old, now)),
            ..NodeStatus::default()
        };
        let first = status(&facts(false), &NodeStatus::default(), now);
        assert!(needs_write(&NodeStatus::default(), &first, now));
        let later = now + SignedDuration::from_secs(10);
        let second = status(&facts(false), &first, later);
        assert!(!needs_write(&first, &second, later));
        let third = status(&facts(true), &first, later);
        assert!(needs_write(&first, &third, later));
        let much_later = now + SignedDuration::from_secs(300);
        assert!(needs_write(&first, &status(&facts(false), &first, much_later), much_later));
    }
}
