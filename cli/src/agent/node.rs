//! The parts of a worker, on a machine of its own or inside a server.

use std::net::{IpAddr, SocketAddr};

use kontiki_base::{
    tasks::{TaskKind, Tasks},
    tls::{Identity, Roots},
};
use kontiki_client::Client;

use crate::config::{ClusterSettings, Common};

const KUBELET: TaskKind = TaskKind::vital("kubelet");
const PROXY: TaskKind = TaskKind::vital("proxy");

/// Who the node is.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) serving: Identity,
    pub(crate) roots: Roots,
    pub(crate) cluster: ClusterSettings,
}

/// Starts the kubelet and the service proxy.
pub(crate) fn start(config: &Common, parts: &Parts, client: &Client, tasks: &Tasks) {
    let kubelet = kontiki_kubelet::Service::new(kubelet_options(config, parts), client.clone());
    let kubelet_tasks = tasks.clone();
    tasks.spawn(KUBELET, async move { kubelet.run(&kubelet_tasks).await });
    let proxy = kontiki_netproxy::Service::new(proxy_options(parts), client.clone());
    let proxy_tasks = tasks.clone();
    tasks.spawn(PROXY, async move { proxy.run(&proxy_tasks).await });
}

fn kubelet_options(config: &Common, parts: &Parts) -> kontiki_kubelet::Options {
    let cluster = &parts.cluster;
    let listen: IpAddr = match parts.addresses.first() {
        Some(IpAddr::V6(_)) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => std::net::Ipv4Addr::UNSPECIFIED.into(),
    };
    let interval = config.node_status_update_frequency;
    let defaults = kontiki_kubelet::Options::new(
        &parts.name,
        parts.addresses.clone(),
        config.data_dir.join("kubelet"),
        parts.serving.clone(),
        parts.roots.clone(),
    );
    kontiki_kubelet::Options {
        manifest_dir: Some(config.data_dir.join("manifests")),
        containerd_endpoint: config
            .container_runtime_endpoint
            .as_deref()
            .map(|path| path.strip_prefix("unix://").unwrap_or(path).into()),
        cluster_dns: cluster.cluster_dns.clone(),
        cluster_domain: cluster.cluster_domain.clone(),
        listen: SocketAddr::new(listen, config.kubelet_port),
        lease_renew_interval: interval,
        lease_duration: interval * 4,
        status_update_interval: interval,
        cgroup_root: config.cgroup_root.clone().unwrap_or(defaults.cgroup_root.clone()),
        ..defaults
    }
}

fn proxy_options(parts: &Parts) -> kontiki_netproxy::Options {
    let cluster = &parts.cluster;
    kontiki_netproxy::Options {
        node_name: parts.name.clone(),
        node_ips: parts.addresses.clone(),
        cluster_cidrs: cluster.cluster_cidr.clone(),
        service_cidrs: cluster.service_cidr.clone(),
        dns_addresses: cluster.cluster_dns.clone(),
        dns_domain: cluster.cluster_domain.clone(),
        ..kontiki_netproxy::Options::default()
    }
}
