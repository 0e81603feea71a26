//! Where pods are in the cgroup tree and what their containers are given there.
//!
//! ```text
//! ROOT/pod<UID>                 Guaranteed
//! ROOT/burstable/pod<UID>
//! ROOT/besteffort/pod<UID>
//! ```

use k8s_cri::v1::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod};
use kontiki_api::Object;

use super::{limits, memory, millicpu, qos_class, requests};
use crate::pod::spec::PodExt;

/// The scheduling period in which quotas are counted.
const PERIOD_MICROSECONDS: i64 = 100_000;
const MINIMUM_QUOTA: i64 = 1_000;
const MINIMUM_SHARES: i64 = 2;
const MAXIMUM_SHARES: i64 = 262_144;

/// How the kernel lays its hierarchies out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// One for all.
    V2,
}

impl Version {
    /// The version mounted at `/sys/fs/cgroup`.
    pub fn of_this_machine() -> Version {
        let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        if unified { Version::V2 } else { Version::V1 }
    }

    /// The folders of a cgroup, given the names in `/sys/fs/cgroup`.
    pub fn folders(self, cgroup: &str, hierarchies: &[String]) -> Vec<std::path::PathBuf> {
        let root = std::path::Path::new("/sys/fs/cgroup");
        let below = cgroup.trim_start_matches('/');
        match self {
            Version::V2 => vec![root.join(below)],
            Version::V1 => hierarchies.iter().map(|name| root.join(name).join(below)).collect(),
        }
    }
}

/// The cgroup of a pod.
pub fn pod_cgroup(root: &str, pod: &Pod) -> String {
    let root = root.trim_end_matches('/');
    let uid = pod.uid();
    match qos_class(pod) {
        "Guaranteed" => format!("{root}/pod{uid}"),
        class => format!("{root}/{}/pod{uid}", class.to_lowercase()),
    }
}

/// CPU shares of thousandths of a CPU.
pub fn cpu_shares(millicpu: i64) -> i64 {
    (millicpu * 1024 / 1000).clamp(MINIMUM_SHARES, MAXIMUM_SHARES)
}

/// CPU quota of thousandths of a CPU, in microseconds per period.
pub fn cpu_quota(millicpu: i64) -> i64 {
    (millicpu * PERIOD_MICROSECONDS / 1000).max(MINIMUM_QUOTA)
}

/// What a container of a pod is given. `node_memory` is the node's memory in bytes.
pub fn container_resources(
    pod: &Pod,
    container: &Container,
    node_memory: i64,
) -> LinuxContainerResources {
    let (requests, limits) = (requests(container), limits(container));
    let quota = millicpu(&limits).filter(|limit| *limit > 0).map(cpu_quota);
    LinuxContainerResources {
        cpu_shares: cpu_shares(millicpu(&requests).unwrap_or(0)),
        cpu_period: if quota.is_some() { PERIOD_MICROSECONDS } else { 0 },
        cpu_quota: quota.unwrap_or(0),
        memory_limit_in_bytes: memory(&limits).unwrap_or(0),
        oom_score_adj: oom_score_adj(pod, memory(&requests).unwrap_or(0), node_memory),
        ..LinuxContainerResources::default()
    }
}

/// Who dies first when memory runs out: upstream's rule.
fn oom_score_adj(pod: &Pod, requested: i64, node_memory: i64) -> i64 {
    if pod.pod_spec().priority.is_some_and(|priority| priority >= 2_000_000_000) {
        return -997;
    }
    match qos_class(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let share = i128::from(requested) * 1000 / i128::from(node_memory.max(1));
            (1000 - i64::try_from(share).unwrap_or(1000)).clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::{
        api::core::v1::{PodSpec, ResourceRequirements},
        apimachinery::pkg::api::resource::Quantity,
    };

    fn pod(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Pod {
        let map = |list: &[(&str, &str)]| {
            Some(list.iter().map(|(k, v)| ((*k).to_owned(), Quantity((*v).to_owned()))).collect())
        };
        let resources = ResourceRequirements {
            requests: map(requests),
            limits: map(limits),
            ..ResourceRequirements::default()
        };
        let container = Container { resources: Some(resources), ..Container::default() };
        let mut pod = Pod {
            spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }),
            ..Pod::default()
        };
        pod.metadata.uid = Some("u1".to_owned());
        pod
    }

    #[test]
    fn pods_are_placed_by_quality_of_service() {
        let both = [("cpu", "100m"), ("memory", "64Mi")];
        for (pod, path) in [
            (pod(&both, &both), "/n1/kubepods/podu1"),
            (pod(&[], &both), "/n1/kubepods/podu1"),
            (pod(&both, &[]), "/n1/kubepods/burstable/podu1"),
            (pod(&[], &[]), "/n1/kubepods/besteffort/podu1"),
        ] {
            assert_eq!(pod_cgroup("/n1/kubepods/", &pod), path);
        }
    }

    #[test]
    fn limits_become_shares_quotas_and_bytes() {
        let pod = pod(&[("cpu", "250m"), ("memory", "1Gi")], &[("cpu", "1"), ("memory", "2Gi")]);
        let container = &pod.pod_spec().containers[0];
        let resources = container_resources(&pod, container, 4 << 30);
        assert_eq!(resources.cpu_shares, 256);
        assert_eq!((resources.cpu_quota, resources.cpu_period), (100_000, 100_000));
        assert_eq!(resources.memory_limit_in_bytes, 2 << 30);
        assert_eq!(resources.oom_score_adj, 750);
    }

    #[test]
    fn both_layouts_have_folders() {
        let names = ["cpu".to_owned(), "memory".to_owned()];
        let folders = |version: Version| -> Vec<String> {
            let folders = version.folders("/kubepods/podu1", &names);
            folders.iter().map(|folder| folder.display().to_string()).collect()
        };
        assert_eq!(folders(Version::V2), ["/sys/fs/cgroup/kubepods/podu1"]);
        assert_eq!(
            folders(Version::V1),
            ["/sys/fs/cgroup/cpu/kubepods/podu1", "/sys/fs/cgroup/memory/kubepods/podu1"]
        );
    }
}
