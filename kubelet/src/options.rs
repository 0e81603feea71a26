//! What a kubelet is told when it starts.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use k8s_openapi::api::core::v1::Taint;
use kontiki_base::tls::{Identity, Roots};

/// Everything a kubelet is told. [`Options::new`] fills in upstream's defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the Node object.
    pub node_name: String,
    /// The node's own addresses, at most one per family; the first is the primary one.
    pub node_addresses: Vec<IpAddr>,
    /// Folder that holds all that this kubelet keeps.
    pub data_dir: PathBuf,
    /// Folder of the pods' logs.
    pub pod_log_dir: PathBuf,
    /// Folder of static pod manifests; `None` for no static pods.
    pub manifest_dir: Option<PathBuf>,
    /// Socket of a containerd that somebody else runs; `None` to run a private one.
    pub containerd_endpoint: Option<PathBuf>,
    /// The `containerd` program of a private containerd.
    pub containerd_program: PathBuf,
    /// Folder with the CNI plugins.
    pub cni_bin_dir: PathBuf,
    /// MTU of the pods' interfaces; `None` leaves it to the kernel.
    pub pod_mtu: Option<u32>,
    /// Addresses that pods ask for names.
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of the cluster's names.
    pub cluster_domain: String,
    /// Parent of all pods' cgroups, absolute from the root of the hierarchy.
    pub cgroup_root: String,
    /// Where the HTTPS server listens.
    pub listen: SocketAddr,
    /// Certificate of the HTTPS server.
    pub serving: Identity,
    /// Who may talk to the HTTPS server: clients with a certificate under these roots.
    pub client_roots: Roots,
    /// `leaseDurationSeconds` of the node's Lease.
    pub lease_duration: Duration,
    /// How often the Lease is renewed.
    pub lease_renew_interval: Duration,
    /// How often an unchanged node status is looked at.
    pub status_update_interval: Duration,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// Labels the node registers with.
    pub node_labels: BTreeMap<String, String>,
    /// Taints the node registers with.
    pub node_taints: Vec<Taint>,
    /// `kubeletVersion` of the node.
    pub version: String,
    /// A container's log is rotated when it is larger.
    pub log_size_max: u64,
    /// Rotated logs kept per container, the current one included.
    pub log_files_max: u32,
}

impl Options {
    /// Upstream's defaults for a node of this name and folder, serving with this identity.
    pub fn new(
        node_name: &str,
        node_addresses: Vec<IpAddr>,
        data_dir: PathBuf,
        serving: Identity,
        client_roots: Roots,
    ) -> Options {
        Options {
            node_name: node_name.to_owned(),
            node_addresses,
            pod_log_dir: data_dir.join("pod-logs"),
            manifest_dir: None,
            containerd_endpoint: None,
            containerd_program: PathBuf::from("containerd"),
            cni_bin_dir: PathBuf::from("/usr/lib/cni"),
            pod_mtu: None,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            cgroup_root: "/kubepods".to_owned(),
            listen: SocketAddr::from(([0, 0, 0, 0], 10250)),
            serving,
            client_roots,
            lease_duration: Duration::from_secs(40),
            lease_renew_interval: Duration::from_secs(10),
            status_update_interval: Duration::from_secs(10),
            max_pods: 110,
            node_labels: BTreeMap::new(),
            node_taints: Vec::new(),
            version: kontiki_api::GIT_VERSION.to_owned(),
            log_size_max: 10 << 20,
            log_files_max: 5,
            data_dir,
        }
    }

    /// Where things are under the data folder.
    pub fn paths(&self) -> Paths {
        Paths { data_dir: self.data_dir.clone(), pod_log_dir: self.pod_log_dir.clone() }
    }
}

/// Where things are under the data folder.
#[derive(Clone, Debug)]
pub struct Paths {
    data_dir: PathBuf,
    pod_log_dir: PathBuf,
}

impl Paths {
    /// A private containerd's folder: configuration, images, state, socket, log.
    pub fn containerd(&self) -> PathBuf {
        self.data_dir.join("containerd")
    }

    /// CNI configuration.
    pub fn cni_conf(&self) -> PathBuf {
        self.data_dir.join("cni/net.d")
    }

    /// Addresses given out by host-local.
    pub fn cni_data(&self) -> PathBuf {
        self.data_dir.join("cni/data")
    }

    /// All pods' folders.
    pub fn pods(&self) -> PathBuf {
        self.data_dir.join("pods")
    }

    /// One pod's folder.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    /// One pod's hosts file.
    pub fn hosts(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }

    /// One volume of a pod, laid out as upstream does.
    pub fn volume(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        self.pod(uid).join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
    }

    /// Termination messages of a container.
    pub fn termination_log(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.pod(uid).join("containers").join(container).join(format!("{attempt}.log"))
    }

    /// A pod's log folder.
    pub fn pod_logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.pod_log_dir.join(format!("{namespace}_{name}_{uid}"))
    }
}
