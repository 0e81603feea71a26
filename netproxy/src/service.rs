//! The proxy of one node: watches, asks the pure parts what to do, and does it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Node, Service as KubeService},
    discovery::v1::EndpointSlice,
};
use kontiki_base::{
    backoff::Backoff,
    tasks::{Tasks, render},
};
use kontiki_client::{Client, Informer, ListOptions, ObjectKey};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::{
    command, conntrack,
    dns::{server::Server, upstream::Upstreams, zone::Zone},
    health::Health,
    metrics::METRICS,
    observed::{Dirty, Observed},
    plan::{self, Family, Route},
    routes::{self, Routes},
    ruleset::{Networks, Table},
};

/// Routes are looked at this often, because a link that goes down takes them with it; it is
/// kube-proxy's sync period.
const ROUTE_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// How the proxy of a node is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's name, as its Node object has it.
    pub node_name: String,
    /// The node's own addresses, known before its Node object has them.
    pub node_ips: Vec<IpAddr>,
    /// Ranges of pod addresses.
    pub cluster_cidrs: Vec<IpNet>,
    /// Ranges of service addresses.
    pub service_cidrs: Vec<IpNet>,
    /// Addresses at which DNS answers on the node itself; none turns DNS off.
    pub dns_addresses: Vec<IpAddr>,
    /// The cluster's domain.
    pub dns_domain: String,
    /// Names the resolvers for other names.
    pub resolv_conf: PathBuf,
    /// Where `/healthz` is served; `None` turns it off.
    pub health_listen: Option<SocketAddr>,
}

impl Default for Options {
    fn default() -> Options {
        let range = |text: &str| vec![text.parse().expect("a constant range")];
        Options {
            node_name: String::new(),
            node_ips: Vec::new(),
            cluster_cidrs: range("10.42.0.0/16"),
            service_cidrs: range("10.43.0.0/16"),
            dns_addresses: vec![[10, 43, 0, 10].into()],
            dns_domain: "cluster.local".to_owned(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            health_listen: Some(([0, 0, 0, 0], 10256).into()),
        }
    }
}

/// Why the proxy cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting makes no sense.
    #[error("{0:?} is not a DNS domain")]
    Domain(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What for.
        purpose: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not forward packets.
    #[error("cannot turn on forwarding in {}", path.display())]
    Forwarding {
        /// The setting.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The network could not be set up.
    #[error("cannot put the DNS address {address} on the node")]
    DnsAddress {
        /// The address.
        address: IpAddr,
        /// Why.
        source: command::Error,
    },
}

/// The proxy of a node.
pub struct Service {
    options: Options,
    client: Client,
    observed: Arc<Observed>,
    health: Arc<Health>,
}

impl Service {
    /// A proxy that watches through `client`.
    pub fn new(options: Options, client: Client) -> Service {
        Service { options, client, observed: Arc::default(), health: Arc::default() }
    }

    /// Runs until the tasks are stopped. What is in the kernel then stays there.
    pub async fn run(self, tasks: &Tasks) -> Result<(), Error> {
        self.enable_forwarding()?;
        if let Some(address) = self.options.health_listen {
            let listening = self.health.listen(address, tasks).await;
            listening.map_err(|source| Error::Listen { address, purpose: "health", source })?;
        }
        self.start_dns(tasks).await?;
        let shutdown = tasks.shutdown();
        // What an earlier process left in the kernel serves until everything is known.
        if shutdown.run_until_cancelled(self.watch(tasks)).await.is_some() {
            shutdown.run_until_cancelled(self.keep_up()).await;
        }
        Ok(())
    }

    fn enable_forwarding(&self) -> Result<(), Error> {
        for family in Family::ALL {
            if !self.options.cluster_cidrs.iter().any(|range| Family::of(range.addr()) == family) {
                continue;
            }
            let path = PathBuf::from(match family {
                Family::V4 => "/proc/sys/net/ipv4/ip_forward",
                Family::V6 => "/proc/sys/net/ipv6/conf/all/forwarding",
            });
            std::fs::write(&path, "1").map_err(|source| Error::Forwarding { path, source })?;
        }
        Ok(())
    }

    async fn start_dns(&self, tasks: &Tasks) -> Result<(), Error> {
        let Options { dns_addresses, dns_domain, cluster_cidrs, service_cidrs, .. } = &self.options;
        if dns_addresses.is_empty() {
            return Ok(());
        }
        let ranges = [cluster_cidrs.clone(), service_cidrs.clone()].concat();
        let zone = Zone::new(dns_domain, dns_addresses.clone(), ranges);
        let zone = zone.ok_or_else(|| Error::Domain(dns_domain.clone()))?;
        let upstreams = Upstreams::read(&self.options.resolv_conf, dns_addresses);
        let server = Server::new(zone, self.observed.clone(), upstreams);
        for address in dns_addresses {
            let range = IpNet::from(*address).to_string();
            // Host scope: the kernel must not take it for the node's address when it picks one.
            let words = ["addr", "replace", range.as_str(), "dev", "lo", "scope", "host"];
            let put = command::run("ip", &words, "").await;
            put.map_err(|source| Error::DnsAddress { address: *address, source })?;
            let address = SocketAddr::new(*address, 53);
            let listening = server.listen(address, tasks).await;
            listening.map_err(|source| Error::Listen { address, purpose: "DNS", source })?;
        }
        Ok(())
    }

    /// Starts the informers, and waits until each has seen everything once.
    async fn watch(&self, tasks: &Tasks) {
        let all = ListOptions::default;
        let services = Informer::start::<KubeService>(self.client.clone(), all(), tasks);
        let slices = Informer::start::<EndpointSlice>(self.client.clone(), all(), tasks);
        let nodes = Informer::start::<Node>(self.client.clone(), all(), tasks);
        let observed = self.observed.clone();
        services.on_change(move |change| observed.set_service(&change.key, change.new.as_ref()));
        let observed = self.observed.clone();
        slices.on_change(move |change| {
            observed.set_slice(&change.key, change.old.as_deref(), change.new.as_ref());
        });
        let observed = self.observed.clone();
        nodes.on_change(move |change| observed.set_node(&change.key.name, change.new.clone()));
        services.synced().await;
        slices.synced().await;
        nodes.synced().await;
        tracing::info!(
            services = services.len(),
            nodes = nodes.len(),
            "proxy has seen the cluster"
        );
    }

    /// Applies changes as they come, for ever.
    async fn keep_up(&self) {
        let mut kernel = Kernel::new(&self.options);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        let mut route_checks =
            interval_at(Instant::now() + ROUTE_CHECK_INTERVAL, ROUTE_CHECK_INTERVAL);
        route_checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.observed.touch_all();
        loop {
            tokio::select! { biased;
                () = self.observed.changed() => {}
                _ = route_checks.tick() => {
                    kernel.check_routes().await;
                    continue;
                }
            }
            let dirty = self.observed.take_dirty();
            self.health.queued(Timestamp::now());
            match kernel.sync(&self.observed, &dirty).await {
                Ok(()) => {
                    self.health.updated(Timestamp::now());
                    backoff.reset();
                }
                Err(error) => {
                    METRICS.sync_failures.inc();
                    tracing::error!("cannot write the proxy's rules: {}", render(&error));
                    tokio::time::sleep(backoff.next_delay()).await;
                    // What is in the kernel is no longer certain: everything is written anew.
                    kernel.forget();
                    self.observed.touch_all();
                }
            }
        }
    }
}

/// What the kernel was told.
struct Kernel<'a> {
    options: &'a Options,
    table: Table,
    is_fresh: bool,
    routes: Routes,
    nodes: Vec<IpAddr>,
    hairpins: Vec<IpAddr>,
}

impl Kernel<'_> {
    fn new(options: &Options) -> Kernel<'_> {
        let table = Kernel::empty_table(options);
        let (routes, nodes, hairpins) = (Routes::new(), Vec::new(), Vec::new());
        Kernel { options, table, is_fresh: true, routes, nodes, hairpins }
    }

    fn empty_table(options: &Options) -> Table {
        Table::new(Networks { pods: options.cluster_cidrs.clone() })
    }

    fn forget(&mut self) {
        self.table = Kernel::empty_table(self.options);
        self.is_fresh = true;
    }

    async fn sync(&mut self, observed: &Observed, dirty: &Dirty) -> Result<(), command::Error> {
        let started = std::time::Instant::now();
        METRICS.service_changes.inc_by(dirty.service_changes);
        METRICS.endpoint_changes.inc_by(dirty.endpoint_changes);
        METRICS.pending_services.set(i64::try_from(dirty.services.len()).unwrap_or(i64::MAX));
        if dirty.nodes || self.is_fresh {
            self.sync_nodes(observed).await;
        }
        let changes = {
            let state = observed.read();
            if dirty.endpoint_changes > 0 || self.is_fresh {
                self.hairpins = plan::hairpins(state.all_slices(), &self.options.node_name);
            }
            let services = dirty.services.iter().map(|key| {
                let routes = state.service(key).map(|service| {
                    plan::routes(service, &state.slices(key), &self.options.node_name)
                });
                (key.clone(), routes.unwrap_or_default())
            });
            let services: Vec<(ObjectKey, Vec<Route>)> = services.collect();
            self.table.change(services, &self.hairpins, &self.nodes)
        };
        if !changes.text.is_empty() {
            command::run("nft", &["-f", "-"], &changes.text).await?;
        }
        if let Err(error) = conntrack::forget(changes.stale_flows).await {
            tracing::warn!("UDP flows to lost endpoints live on: {}", render(&error));
        }
        let took = started.elapsed().as_secs_f64();
        let of_this_kind = if self.is_fresh {
            &METRICS.full_sync_duration
        } else {
            &METRICS.partial_sync_duration
        };
        of_this_kind.observe(took);
        METRICS.sync_duration.observe(took);
        METRICS.pending_services.set(0);
        tracing::debug!(services = dirty.services.len(), took, "proxy rules synced");
        self.is_fresh = false;
        Ok(())
    }

    async fn sync_nodes(&mut self, observed: &Observed) {
        let desired = {
            let state = observed.read();
            let others = state.nodes().flat_map(|node| routes::internal_addresses(node));
            self.nodes = others.chain(self.options.node_ips.iter().copied()).collect();
            self.nodes.sort_unstable();
            self.nodes.dedup();
            routes::desired(state.nodes().map(AsRef::as_ref), &self.options.node_name)
        };
        // Nodes report their status all the time; their routes hardly ever change.
        if desired != self.routes || self.is_fresh {
            self.routes = desired;
            self.check_routes().await;
        }
    }

    async fn check_routes(&self) {
        if let Err(error) = routes::apply(&self.routes).await {
            tracing::warn!("cannot set all routes to other nodes' pods: {}", render(&error));
        }
    }
}
