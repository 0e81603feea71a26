//! A control node: everything a server is made of, started in order and stopped in reverse.
//!
//! ```text
//! data folder -> secrets -> listeners -> store -> API server -> membership
//!                                                     |
//!                         scheduler, controllers <----+----> agent (unless --no-agent)
//! ```
//!
//! On the store's port every server speaks etcd's API ([`clients`]). With `--store-only` that is
//! all that it is for ([`store_only`]).
//!
//! The parts meet only through the API: each has a client of its own identity, whose transport is
//! the API server's service in this process.

mod bootstrap;
mod clients;
mod components;
mod membership;
mod operations;
mod store_only;
mod tokens;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use kontiki_apiserver::{ApiServer, UserInfo};
use kontiki_base::{
    tasks::Tasks,
    tls::{self, ClientCertificates, Identity, Roots},
};
use kontiki_client::Client;
use kontiki_raft::{PeerTls, Start, Store, Timing, Tuning};
use tokio::net::TcpListener;

use self::{bootstrap::Prepared, clients::Clients, operations::Operations};
use crate::{
    agent::{node, preflight},
    config::{Server, nth_address},
    files,
    join::{
        state::{DataFolder, Origin},
        wire,
    },
    kubeconfig,
    pki::{ServerIdentities, node_requests},
    servers,
    signals::Signals,
};

/// How long requests in flight may take to end when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(4);

/// Runs a server until it is told to stop.
pub(crate) async fn run(config: Server) -> Result<()> {
    if config.with_agent {
        preflight::check(config.common.container_runtime_endpoint.as_deref())
            .context("a server runs a worker beside itself, unless it is given --no-agent")?;
    }
    let tasks = Tasks::new();
    let mut signals = Signals::listen()?;
    let folder = DataFolder::open(&config.common.data_dir)?;
    let Some(prepared) =
        signals.unless_stopped(&tasks, bootstrap::prepare(&config, &folder)).await?
    else {
        return Ok(());
    };
    if config.cluster.store_only {
        return store_only::run(&config, &folder, &prepared, &tasks, &mut signals).await;
    }
    let server = Running::start(&config, &folder, &prepared, &tasks).await?;
    let outcome =
        match signals.unless_stopped(&tasks, server.go_live(&config, &folder, &prepared)).await {
            Ok(Some(())) => {
                tracing::info!("ready: https://{}", server.api_address);
                signals.stopped(&tasks).await
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
    server.stop().await;
    outcome
}

/// A server whose parts have been started. Each group of tasks is stopped on its own.
struct Running {
    store: Store,
    api: ApiServer,
    api_address: SocketAddr,
    identities: ServerIdentities,
    clients: Clients,
    store_tasks: Tasks,
    api_tasks: Tasks,
    component_tasks: Tasks,
}

impl Running {
    /// Opens the store and serves the API. Nothing has to be ready yet.
    async fn start(
        config: &Server,
        folder: &DataFolder,
        prepared: &Prepared,
        tasks: &Tasks,
    ) -> Result<Running> {
        let advertised = config.advertised()?;
        let api_address = SocketAddr::new(advertised, config.api_port);
        let identities = issue(config, prepared, advertised)?;
        publish(folder, prepared, &identities, api_address)?;
        // All ports before anything else: that one is taken is the most likely surprise.
        let listener = listen(config.api_listen(), "--api-port").await?;
        let mut clients = Clients::listen(config, &folder.path).await?;
        drop(listen(config.peer_listen(), "--peer-port").await?);
        let (store_tasks, api_tasks, component_tasks) =
            (tasks.child(), tasks.child(), tasks.child());
        let store = Store::open(
            store_options(config, folder, prepared, &identities, advertised),
            &store_tasks,
        )
        .await
        .map_err(|error| anyhow!(kontiki_base::tasks::render(&error)))?;
        let options = api_options(config, prepared, &identities, api_address);
        clients.protect(&options.prefix);
        let api = ApiServer::new(options, store.clone(), &api_tasks)
            .context("cannot start the API server")?;
        api.extend(
            wire::PREFIX,
            Arc::new(Operations {
                store: store.clone(),
                secrets: prepared.secrets.clone(),
                cluster: prepared.state.cluster.clone(),
            }),
        );
        let tls = tls::server_config(
            &identities.api,
            &prepared.secrets.cluster.roots(),
            ClientCertificates::Optional,
            &[b"h2", b"http/1.1"],
        )?;
        api.serve(listener, tls, &api_tasks);
        Ok(Running {
            store,
            api,
            api_address,
            identities,
            clients,
            store_tasks,
            api_tasks,
            component_tasks,
        })
    }

    /// Joins the store's members, starts the components, makes the first tokens.
    async fn go_live(
        &self,
        config: &Server,
        folder: &DataFolder,
        prepared: &Prepared,
    ) -> Result<()> {
        let (state, secrets) = (&prepared.state, &prepared.secrets);
        if state.origin == Origin::Server {
            let this = membership::this(&self.store, config, self.api_address.ip());
            membership::ensure(&self.store, this, state, secrets, &self.identities.admin).await?;
        }
        self.store.ready().await.context("the store did not become ready")?;
        self.clients.serve(
            &self.store,
            &self.identities,
            &secrets.store.roots(),
            &self.api_tasks,
        )?;
        self.api.ready().wait_for(|ready| *ready).await.context("the API did not become ready")?;
        components::start(config, prepared, &self.api, &self.store, &self.component_tasks);
        if state.origin == Origin::Founder {
            let client = self.client("system:apiserver", &["system:masters"]);
            tokens::ensure(&client, folder, &secrets.fingerprint()?).await?;
        }
        self.follow_servers(folder, prepared);
        if config.with_agent {
            self.start_node(config, prepared)?;
        }
        Ok(())
    }

    /// Keeps the administrator's kubeconfig and the folder's memory up to date.
    fn follow_servers(&self, folder: &DataFolder, prepared: &Prepared) {
        let client = self.client("system:apiserver", &["system:masters"]);
        let (roots, admin) = (prepared.secrets.cluster.roots(), self.identities.admin.clone());
        let (own, path) = (self.api_address.to_string(), folder.path.clone());
        let mut state = prepared.state.clone();
        servers::follow(client, &self.component_tasks, move |found| {
            write_kubeconfig(&path, &own, &found, &roots, &admin)?;
            state.servers = found;
            state.save(&path)
        });
    }

    /// The worker beside the control plane. It speaks to the API of this process.
    fn start_node(&self, config: &Server, prepared: &Prepared) -> Result<()> {
        let name = prepared.state.node_name.clone();
        let addresses = vec![config.common.node_ip.unwrap_or(self.api_address.ip())];
        let (_client, serving) = node_requests(&name, &addresses);
        let parts = node::Parts {
            serving: prepared.secrets.cluster.authority().issue(&serving)?,
            roots: prepared.secrets.cluster.roots(),
            cluster: prepared.state.cluster.clone(),
            name,
            addresses,
        };
        let client = self.client(&format!("system:node:{}", parts.name), &["system:nodes"]);
        node::start(&config.common, &parts, &client, &self.component_tasks);
        Ok(())
    }

    fn client(&self, user: &str, groups: &[&str]) -> Client {
        Client::in_process(self.api.in_process(UserInfo::new(user, groups)))
    }

    /// Components first, then requests, then the store, which hands leadership over.
    async fn stop(self) {
        for tasks in [&self.component_tasks, &self.api_tasks] {
            if tokio::time::timeout(DRAIN_MAX, tasks.stop()).await.is_err() {
                tracing::warn!("not everything ended within {DRAIN_MAX:?}");
            }
        }
        if let Err(error) = self.store.shutdown().await {
            tracing::warn!("the store: {}", kontiki_base::tasks::render(&error));
        }
        self.store_tasks.stop().await;
        tracing::info!("stopped");
    }
}

/// Certificates for this start, valid for every address this server can be reached at.
fn issue(
    config: &Server,
    prepared: &Prepared,
    advertised: std::net::IpAddr,
) -> Result<ServerIdentities> {
    let cluster = &prepared.state.cluster;
    let mut addresses =
        vec![advertised, [127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
    addresses.extend(Some(config.bind_address).filter(|address| !address.is_unspecified()));
    addresses.extend(cluster.service_cidr.iter().map(|cidr| nth_address(cidr, 1)));
    let mut names = vec![config.common.node_name.clone()];
    for host in &config.tls_san {
        match host.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(host.clone()),
        }
    }
    ServerIdentities::issue(&prepared.secrets, names, addresses, &cluster.cluster_domain)
}

/// Writes what people and their tools need to speak to this server.
fn publish(
    folder: &DataFolder,
    prepared: &Prepared,
    identities: &ServerIdentities,
    api_address: SocketAddr,
) -> Result<()> {
    prepared.pki.save_identity("admin", &identities.admin)?;
    prepared.pki.save_identity("store/client", &identities.store_client)?;
    write_kubeconfig(
        &folder.path,
        &api_address.to_string(),
        &prepared.state.servers,
        &prepared.secrets.cluster.roots(),
        &identities.admin,
    )
}

/// The administrator's kubeconfig: this server first, then the others.
fn write_kubeconfig(
    folder: &Path,
    own: &str,
    servers: &[String],
    roots: &Roots,
    admin: &Identity,
) -> Result<()> {
    let others = servers.iter().map(String::as_str).filter(|server| *server != own);
    let servers: Vec<String> = [own].into_iter().chain(others).map(str::to_owned).collect();
    let text = kubeconfig::render(&servers, roots, admin)?;
    files::write_private(&folder.join("admin.kubeconfig"), &text)
}

async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(
            "port {} of {} is in use by another process; stop that one or choose another with \
             {flag}",
            address.port(),
            address.ip()
        ),
        Err(error) => Err(anyhow!("cannot listen on {address} ({flag}): {error}")),
    }
}

fn store_options(
    config: &Server,
    folder: &DataFolder,
    prepared: &Prepared,
    identities: &ServerIdentities,
    advertised: std::net::IpAddr,
) -> kontiki_raft::Options {
    kontiki_raft::Options {
        data_dir: folder.path.join("store"),
        name: config.common.node_name.clone(),
        listen: config.peer_listen(),
        peer_address: SocketAddr::new(advertised, config.peer_port).to_string(),
        api_address: SocketAddr::new(advertised, config.api_port).to_string(),
        client_address: SocketAddr::new(advertised, config.store_port).to_string(),
        tls: PeerTls { identity: identities.peer.clone(), roots: prepared.secrets.store.roots() },
        timing: Timing {
            heartbeat: config.heartbeat_interval,
            election_min: config.election_timeout,
            election_max: config.election_timeout * 3 / 2,
        },
        start: match prepared.state.origin {
            Origin::Founder => Start::Bootstrap,
            Origin::Server | Origin::Agent => Start::Join,
        },
        tuning: Tuning {
            peers: config.peer_hints(),
            snapshot_rate: config.snapshot_rate,
            cluster_version_max: config.cluster_version,
            retention: config.retention,
            ..Tuning::default()
        },
    }
}

fn api_options(
    config: &Server,
    prepared: &Prepared,
    identities: &ServerIdentities,
    api_address: SocketAddr,
) -> kontiki_apiserver::Options {
    let cluster = &prepared.state.cluster;
    let secrets = kontiki_apiserver::Secrets {
        service_account_key: prepared.secrets.service_account_key.clone(),
        cluster_roots: prepared.secrets.cluster.roots(),
        kubelet_client: identities.kubelet_client.clone(),
    };
    let range = cluster.service_node_port_range;
    kontiki_apiserver::Options {
        service_cidrs: cluster.service_cidr.clone(),
        node_ports: range.first..=range.last,
        advertise_port: api_address.port(),
        cluster_domain: cluster.cluster_domain.clone(),
        default_not_ready_toleration: config.not_ready_toleration,
        default_unreachable_toleration: config.unreachable_toleration,
        ..kontiki_apiserver::Options::new(&config.common.node_name, api_address.ip(), secrets)
    }
}
