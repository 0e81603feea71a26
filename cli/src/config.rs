//! Configuration: three layers, one checked struct.
//!
//! `/etc/kontiki/config.yaml`, then every file of `config.yaml.d/` beside it in order of names,
//! then `KONTIKI_*` variables, then flags: later layers win, key by key. Keys of the files are the
//! names of the flags. What comes out is checked once, here, and never re-checked.

mod access;
mod duration;
mod layers;
mod network;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use clap::Args;
use ipnet::IpNet;
use kontiki_base::pki::LEAF_LIFETIME;
use kontiki_raft::Retention;
use serde::{Deserialize, Serialize};

pub(crate) use access::{Access, AccessSettings};
pub(crate) use duration::parse as parse_duration;
pub(crate) use layers::read as read_layers;
pub(crate) use network::{PortRange, is_subdomain, nth_address, own_address, with_port};

/// Where a server or agent keeps all it has.
pub(crate) const DATA_DIR: &str = "/var/lib/kontiki";
/// The API's port.
pub(crate) const API_PORT: u16 = 6443;

/// Flags, variables and file keys of `kontiki server`. What is absent has its default, which
/// [`Server::from_settings`] knows.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct ServerSettings {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: CommonSettings,
    #[command(flatten)]
    #[serde(flatten)]
    access: AccessSettings,
    /// Address to listen on; 0.0.0.0 is all of the host's
    #[arg(long, env = "KONTIKI_BIND_ADDRESS", value_name = "IP")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bind_address: Option<IpAddr>,
    /// Address under which others reach this server [default: the one with the default route]
    #[arg(long, env = "KONTIKI_ADVERTISE_ADDRESS", value_name = "IP")]
    #[serde(skip_serializing_if = "Option::is_none")]
    advertise_address: Option<IpAddr>,
    /// More names and addresses that the API's certificate is valid for, as of a balancer
    #[arg(long, env = "KONTIKI_TLS_SAN", value_name = "HOST", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_san: Option<Vec<String>>,
    /// Port of the Kubernetes API [default: 6443]
    #[arg(long, env = "KONTIKI_API_PORT", value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    api_port: Option<u16>,
    /// Port of the store's etcd API [default: 2379]
    #[arg(long, env = "KONTIKI_STORE_PORT", value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store_port: Option<u16>,
    /// Port of the store's members among each other [default: 2380]
    #[arg(long, env = "KONTIKI_PEER_PORT", value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_port: Option<u16>,
    /// Where other servers' peers may be, if all of them have moved since this one ran last
    #[arg(long, env = "KONTIKI_PEERS", value_name = "HOST[:PORT]", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    peers: Option<Vec<String>>,
    /// Megabytes per second that a snapshot for another server may take [default: 100]
    #[arg(long, env = "KONTIKI_SNAPSHOT_RATE", value_name = "MB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_rate: Option<u32>,
    /// Highest version of the store's formats and commands to use, so that servers can go back to
    /// the release that has it [default: the one that all servers speak]
    #[arg(long, env = "KONTIKI_CLUSTER_VERSION", value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_version: Option<u32>,
    /// Run no worker beside the control plane
    #[arg(long, env = "KONTIKI_NO_AGENT", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    no_agent: Option<bool>,
    /// Run the replicated store alone, with etcd's API, for other software
    #[arg(long, env = "KONTIKI_STORE_ONLY", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store_only: Option<bool>,
    /// With --store-only: keep history for so long [default: until a client compacts it]
    #[arg(long, env = "KONTIKI_RETENTION_PERIOD", value_name = "TIME", value_parser = duration::parse)]
    #[serde(skip_serializing_if = "Option::is_none", with = "duration::option")]
    retention_period: Option<Duration>,
    /// With --store-only: keep so many revisions [default: until a client compacts them]
    #[arg(long, env = "KONTIKI_RETENTION_REVISIONS", value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_revisions: Option<u64>,
    /// How often quiet watches of etcd's API that ask for progress hear of it [default: 10m]
    #[arg(long, env = "KONTIKI_WATCH_PROGRESS_NOTIFY_INTERVAL", value_name = "TIME", value_parser = duration::parse)]
    #[serde(skip_serializing_if = "Option::is_none", with = "duration::option")]
    watch_progress_notify_interval: Option<Duration>,
    /// Addresses of pods [default: 10.42.0.0/16]
    #[arg(long, env = "KONTIKI_CLUSTER_CIDR", value_name = "CIDR", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_cidr: Option<Vec<IpNet>>,
    /// Addresses of Services [default: 10.43.0.0/16]
    #[arg(long, env = "KONTIKI_SERVICE_CIDR", value_name = "CIDR", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    service_cidr: Option<Vec<IpNet>>,
    /// Address of the cluster's DNS [default: the tenth of --service-cidr]
    #[arg(long, env = "KONTIKI_CLUSTER_DNS", value_name = "IP", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_dns: Option<Vec<IpAddr>>,
    /// Ports for Services of type NodePort [default: 30000-32767]
    #[arg(long, env = "KONTIKI_SERVICE_NODE_PORT_RANGE", value_name = "FIRST-LAST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    service_node_port_range: Option<PortRange>,
    /// How long certificates are valid that are requested through the API, at most [default: 365d]
    #[arg(long, env = "KONTIKI_CLUSTER_SIGNING_DURATION", value_name = "TIME", value_parser = duration::parse)]
    #[serde(skip_serializing_if = "Option::is_none", with = "duration::option")]
    cluster_signing_duration: Option<Duration>,
    /// How long a silent node counts as ready [default: 40s]
    #[arg(long, env = "KONTIKI_NODE_MONITOR_GRACE_PERIOD", value_name = "TIME", value_parser = duration::parse)]
    #[serde(skip_serializing_if = "Option::is_none", with = "duration::option")]
    node_monitor_grace_period: Option<Duration>,
    /// How often nodes are judged [default: 5s]
    #[arg(long, env = "KONTIKI_NODE_MONITOR_PERIOD", value_name = "TIME", value_parser = duration::parse)]
    #[serde(skip_serializing_if = "Option::is_none", with = "duration::option")]
    node_monitor_period: Option<Duration>,
    /// Seconds that pods tolerate a node that is not ready [default: 5]
    #[arg(long, env = "KONTIKI_DEFAULT_NOT_READY_TOLERATION_SECONDS", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    default_not_ready_toleration_seconds: Option<u32>,
    /// Seconds that pods tolerate a node that is unreachable [default: 5]
    #[arg(long, env = "KONTIKI_DEFAULT_UNREACHABLE_TOLERATION_SECONDS", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    default_unreachable_toleration_seconds: Option<u32>,
    /// Time between the store's heartbeats [default: 100ms]
    #[arg(long, env = "KONTIKI_HEARTBEAT_INTERVAL", value_name = "TIME", value_parser = duration::parse)]
    #[serde(skip_serializing_if = "Option::is_none", with = "duration::option")]
    heartbeat_interval: Option<Duration>,
    /// Shortest silence of the leader that starts an election [default: 200ms]
    #[arg(long, env = "KONTIKI_ELECTION_TIMEOUT", value_name = "TIME", value_parser = duration::parse)]
    #[serde(skip_serializing_if = "Option::is_none", with = "duration::option")]
    election_timeout: Option<Duration>,
    /// Components that another installation provides: scheduler, controllers
    #[arg(long, env = "KONTIKI_DISABLE", value_name = "NAMES", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    disable: Option<Vec<String>>,
    /// Controllers to run: * for all, NAME for one, -NAME for all but one [default: *]
    #[arg(
        long,
        env = "KONTIKI_CONTROLLERS",
        value_name = "NAMES",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    controllers: Option<Vec<String>>,
}

/// What servers and agents have in common.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct CommonSettings {
    /// Folder for everything this host keeps
    #[arg(long, env = "KONTIKI_DATA_DIR", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Any server of the cluster to join
    #[arg(long, env = "KONTIKI_JOIN", value_name = "HOST[:PORT]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) join: Option<String>,
    /// The token that lets this host in
    #[arg(long, env = "KONTIKI_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Name of this host in the cluster [default: the hostname]
    #[arg(long, env = "KONTIKI_NODE_NAME", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_name: Option<String>,
    /// Address of this node for the others [default: the one with the default route]
    #[arg(long, env = "KONTIKI_NODE_IP", value_name = "IP")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_ip: Option<IpAddr>,
    /// Port of the kubelet [default: 10250]
    #[arg(long, env = "KONTIKI_KUBELET_PORT", value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kubelet_port: Option<u16>,
    /// Socket of a containerd that runs already [default: one is started]
    #[arg(long, env = "KONTIKI_CONTAINER_RUNTIME_ENDPOINT", value_name = "SOCKET")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container_runtime_endpoint: Option<String>,
    /// Parent of all pods' cgroups [default: /kubepods]
    #[arg(long, env = "KONTIKI_CGROUP_ROOT", value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cgroup_root: Option<String>,
    /// How often the kubelet reports its node [default: 10s]
    #[arg(long, env = "KONTIKI_NODE_STATUS_UPDATE_FREQUENCY", value_name = "TIME", value_parser = duration::parse)]
    #[serde(skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub(crate) node_status_update_frequency: Option<Duration>,
    /// What is logged, as in info,kontiki_raft=debug [default: info, and openraft=error]
    #[arg(long, env = "KONTIKI_LOG", value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<String>,
    /// How log lines look: text or json [default: text]
    #[arg(long, env = "KONTIKI_LOG_FORMAT", value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<String>,
}

/// Flags, variables and file keys of `kontiki agent`.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct AgentSettings {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: CommonSettings,
}

/// Checked: what servers and agents have in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) data_dir: PathBuf,
    pub(crate) join: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) node_name: String,
    pub(crate) node_ip: Option<IpAddr>,
    pub(crate) kubelet_port: u16,
    pub(crate) container_runtime_endpoint: Option<String>,
    pub(crate) cgroup_root: Option<String>,
    pub(crate) node_status_update_frequency: Duration,
}

/// Networks and names that all nodes of a cluster must agree on: the first server's, handed to
/// everyone who joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterSettings {
    pub(crate) cluster_cidr: Vec<IpNet>,
    pub(crate) service_cidr: Vec<IpNet>,
    pub(crate) cluster_dns: Vec<IpAddr>,
    pub(crate) cluster_domain: String,
    pub(crate) service_node_port_range: PortRange,
    /// Its members are a store for other software, and nothing else.
    #[serde(default)]
    pub(crate) store_only: bool,
}

/// Checked: a server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) common: Common,
    pub(crate) bind_address: IpAddr,
    pub(crate) advertise_address: Option<IpAddr>,
    pub(crate) tls_san: Vec<String>,
    pub(crate) api_port: u16,
    pub(crate) store_port: u16,
    pub(crate) peer_port: u16,
    peers: Vec<String>,
    /// Bytes per second.
    pub(crate) snapshot_rate: u64,
    pub(crate) cluster_version: Option<u32>,
    pub(crate) retention: Retention,
    pub(crate) watch_progress_notify_interval: Duration,
    pub(crate) with_agent: bool,
    pub(crate) cluster: ClusterSettings,
    pub(crate) signing_duration: Duration,
    pub(crate) node_monitor_grace_period: Duration,
    pub(crate) node_monitor_period: Duration,
    pub(crate) not_ready_toleration: Duration,
    pub(crate) unreachable_toleration: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) disabled: Vec<Component>,
    pub(crate) controllers: Vec<String>,
    pub(crate) access: Access,
}

/// Components that can be left to another installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    Scheduler,
    Controllers,
}

/// The name of this host in the cluster.
pub(crate) fn node_name(given: Option<String>) -> Result<String> {
    let name = match given {
        Some(name) => name,
        None => network::hostname()?,
    };
    ensure!(
        is_subdomain(&name),
        "--node-name {name:?} is no valid node name: it consists of lower-case letters, digits, \
         '-' and '.', and starts and ends with a letter or digit"
    );
    Ok(name)
}

impl Common {
    fn from_settings(settings: CommonSettings) -> Result<Common> {
        let node_name = node_name(settings.node_name)?;
        Ok(Common {
            data_dir: settings.data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR)),
            join: settings.join,
            token: settings.token,
            node_name,
            node_ip: settings.node_ip,
            kubelet_port: settings.kubelet_port.unwrap_or(10250),
            container_runtime_endpoint: settings.container_runtime_endpoint,
            cgroup_root: settings.cgroup_root,
            node_status_update_frequency: settings
                .node_status_update_frequency
                .unwrap_or(Duration::from_secs(10)),
        })
    }
}

/// Beside an API server the store keeps what that one needs, and it compacts by itself.
fn retention(settings: &ServerSettings) -> Result<Retention> {
    let (revisions, period) = (settings.retention_revisions, settings.retention_period);
    ensure!(
        settings.store_only.unwrap_or(false) || (revisions.is_none() && period.is_none()),
        "--retention-period and --retention-revisions go with --store-only: the API server \
         compacts by itself"
    );
    Ok(Retention { revisions, period })
}

impl Server {
    /// Fills in defaults and checks what belongs together.
    pub(crate) fn from_settings(settings: ServerSettings) -> Result<Server> {
        let cluster = cluster_settings(&settings)?;
        let retention = retention(&settings)?;
        let second = Duration::from_secs(1);
        let seconds = |value: Option<u32>| second * value.unwrap_or(5);
        let heartbeat_interval = settings.heartbeat_interval.unwrap_or(second / 10);
        let election_timeout = settings.election_timeout.unwrap_or(second / 5);
        ensure!(
            election_timeout >= heartbeat_interval * 2,
            "--election-timeout {election_timeout:?} must be at least twice --heartbeat-interval \
             {heartbeat_interval:?}, or a healthy leader is voted out"
        );
        let ports = [settings.api_port, settings.store_port, settings.peer_port];
        let [api_port, store_port, peer_port] =
            [ports[0].unwrap_or(API_PORT), ports[1].unwrap_or(2379), ports[2].unwrap_or(2380)];
        ensure!(
            api_port != peer_port && api_port != store_port && store_port != peer_port,
            "--api-port {api_port}, --store-port {store_port} and --peer-port {peer_port} must \
             differ"
        );
        ensure!(
            settings.snapshot_rate != Some(0),
            "--snapshot-rate 0 would let no server ever catch up"
        );
        let watch_progress_notify_interval =
            settings.watch_progress_notify_interval.unwrap_or(second * 600);
        ensure!(
            !watch_progress_notify_interval.is_zero(),
            "--watch-progress-notify-interval 0 would tell of nothing but progress"
        );
        if let Some(address) = settings.advertise_address {
            ensure!(
                !address.is_unspecified(),
                "--advertise-address {address} is no host's address"
            );
        }
        Ok(Server {
            bind_address: settings.bind_address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            advertise_address: settings.advertise_address,
            tls_san: settings.tls_san.unwrap_or_default(),
            api_port,
            store_port,
            peer_port,
            peers: settings.peers.unwrap_or_default(),
            snapshot_rate: u64::from(settings.snapshot_rate.unwrap_or(100)) * 1_000_000,
            cluster_version: settings.cluster_version,
            retention,
            watch_progress_notify_interval,
            with_agent: !settings.no_agent.unwrap_or(false) && !cluster.store_only,
            cluster,
            signing_duration: settings.cluster_signing_duration.unwrap_or(LEAF_LIFETIME),
            node_monitor_grace_period: settings.node_monitor_grace_period.unwrap_or(second * 40),
            node_monitor_period: settings.node_monitor_period.unwrap_or(second * 5),
            not_ready_toleration: seconds(settings.default_not_ready_toleration_seconds),
            unreachable_toleration: seconds(settings.default_unreachable_toleration_seconds),
            heartbeat_interval,
            election_timeout,
            access: Access::from_settings(settings.access)?,
            disabled: components(settings.disable.unwrap_or_default())?,
            controllers: controllers(settings.controllers)?,
            common: Common::from_settings(settings.common)?,
        })
    }

    /// The address under which others reach this server.
    pub(crate) fn advertised(&self) -> Result<IpAddr> {
        match self.advertise_address {
            Some(address) => Ok(address),
            None if !self.bind_address.is_unspecified() => Ok(self.bind_address),
            None => own_address(self.common.join.as_deref()),
        }
    }

    pub(crate) fn api_listen(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.api_port)
    }

    pub(crate) fn store_listen(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.store_port)
    }

    /// Where peers may be: as told, and on the server that was named to join.
    pub(crate) fn peer_hints(&self) -> Vec<String> {
        let join = self.common.join.iter().map(|host| with_port(host, API_PORT));
        let join = join.filter_map(|server| {
            let (host, _) = server.rsplit_once(':')?;
            Some(format!("{host}:{}", self.peer_port))
        });
        self.peers.iter().map(|peer| with_port(peer, self.peer_port)).chain(join).collect()
    }

    pub(crate) fn peer_listen(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.peer_port)
    }
}

/// Checks an agent's settings.
pub(crate) fn agent(settings: AgentSettings) -> Result<Common> {
    Common::from_settings(settings.common)
}

fn cluster_settings(settings: &ServerSettings) -> Result<ClusterSettings> {
    let default = |text: &str| vec![text.parse::<IpNet>().expect("a CIDR")];
    let given = |cidrs: &Option<Vec<IpNet>>| cidrs.clone().filter(|cidrs| !cidrs.is_empty());
    let cluster_cidr = given(&settings.cluster_cidr).unwrap_or_else(|| default("10.42.0.0/16"));
    let service_cidr = given(&settings.service_cidr).unwrap_or_else(|| default("10.43.0.0/16"));
    network::check_families("--cluster-cidr", &cluster_cidr)?;
    network::check_families("--service-cidr", &service_cidr)?;
    for (pods, services) in
        cluster_cidr.iter().flat_map(|c| service_cidr.iter().map(move |s| (c, s)))
    {
        ensure!(
            !pods.contains(services) && !services.contains(pods),
            "--cluster-cidr {pods} and --service-cidr {services} overlap"
        );
    }
    let cluster_dns = match &settings.cluster_dns {
        Some(addresses) if !addresses.is_empty() => addresses.clone(),
        _ => service_cidr.iter().map(|cidr| nth_address(cidr, 10)).collect(),
    };
    if let Some(outside) =
        cluster_dns.iter().find(|dns| !service_cidr.iter().any(|cidr| cidr.contains(*dns)))
    {
        bail!("--cluster-dns {outside} is not within --service-cidr {}", service_cidr[0]);
    }
    Ok(ClusterSettings {
        cluster_cidr,
        service_cidr,
        cluster_dns,
        cluster_domain: "cluster.local".to_owned(),
        service_node_port_range: settings.service_node_port_range.unwrap_or_default(),
        store_only: settings.store_only.unwrap_or(false),
    })
}

fn controllers(names: Option<Vec<String>>) -> Result<Vec<String>> {
    let default = kontiki_controllers::Options::default();
    let controllers = names.unwrap_or_else(|| default.controllers.clone());
    let options = kontiki_controllers::Options { controllers, ..default };
    if let Some(name) = options.unknown_controller() {
        bail!("--controllers {name:?} is not in the list of known controllers");
    }
    Ok(options.controllers)
}

fn components(names: Vec<String>) -> Result<Vec<Component>> {
    let mut components = Vec::new();
    for name in names {
        components.push(match name.as_str() {
            "scheduler" => Component::Scheduler,
            "controllers" => Component::Controllers,
            _ => bail!("--disable {name:?} is unknown; scheduler and controllers can be disabled"),
        });
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(yaml: &str) -> Result<Server> {
        let settings: ServerSettings = serde_saphyr::from_str(yaml)?;
        Server::from_settings(settings)
    }

    #[test]
    fn nothing_given_is_a_server_with_defaults() {
        let server = server("node-name: a").unwrap();
        assert_eq!(server.api_listen().to_string(), "0.0.0.0:6443");
        assert_eq!(server.cluster.cluster_dns, ["10.43.0.10".parse::<IpAddr>().unwrap()]);
        assert_eq!(server.node_monitor_grace_period, Duration::from_secs(40));
        assert!(server.with_agent);
    }

    #[test]
    fn keys_of_the_file_are_the_names_of_the_flags() {
        let server = server(
            "data-dir: /tmp/x\nbind-address: 127.0.0.1\napi-port: 16443\nno-agent: true\n\
             node-name: s1\nnode-monitor-grace-period: 2s\ncluster-signing-duration: 30d\nservice-node-port-range: 31000-31999\n",
        )
        .unwrap();
        assert_eq!(server.common.data_dir, PathBuf::from("/tmp/x"));
        assert_eq!(server.api_listen().to_string(), "127.0.0.1:16443");
        assert_eq!(server.advertised().unwrap().to_string(), "127.0.0.1");
        assert_eq!(server.node_monitor_grace_period, Duration::from_secs(2));
        assert_eq!(server.signing_duration, Duration::from_secs(30 * 24 * 3600));
        assert!(!server.with_agent);
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_value() {
        let cases = [
            (
                "api-port: 2380",
                "--api-port 2380, --store-port 2379 and --peer-port 2380 must differ",
            ),
            ("node-name: Big_Name", "--node-name \"Big_Name\" is no valid node name"),
            ("cluster-cidr: [10.43.0.0/24]", "--cluster-cidr 10.43.0.0/24 and --service-cidr"),
            ("cluster-dns: [10.44.0.10]", "--cluster-dns 10.44.0.10 is not within --service-cidr"),
            ("cluster-cidr: [10.1.0.0/16, 10.2.0.0/16]", "--cluster-cidr has two ranges of IPv4"),
            ("authorization-mode: [ABAC]", "authorization-mode \"ABAC\" is not a valid mode"),
            ("audit-log-path: x", "--audit-policy-file and --audit-log-path go together"),
            ("controllers: ['*', -deploy]", "--controllers \"-deploy\" is not in the list"),
            ("disable: [kubelet]", "--disable \"kubelet\" is unknown"),
            ("election-timeout: 60ms", "--election-timeout 60ms must be at least twice"),
        ];
        for (yaml, expected) in cases {
            let yaml = if yaml.starts_with("node-name") {
                yaml.to_owned()
            } else {
                format!("node-name: a\n{yaml}")
            };
            let error = server(&yaml).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{yaml}: {error}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = server("no-agents: true").unwrap_err().to_string();
        assert!(error.contains("no-agents"), "{error}");
    }
}
