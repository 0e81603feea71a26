//! What every server stands on, whatever it is for: its certificates, its ports, the store and the
//! membership in it, and what its folder remembers of the other servers.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use kontiki_base::{
    tasks::{Tasks, render},
    tls::{Identity, Roots},
};
use kontiki_raft::{PeerTls, Start, Store, Timing, Tuning};
use tokio::{net::TcpListener, time::timeout};

use super::{bootstrap::Prepared, clients::Clients, membership, operations::Operations};
use crate::{
    config::{Server, nth_address},
    files,
    join::state::{DataFolder, Origin, State},
    kubeconfig,
    pki::ServerIdentities,
};

/// How long requests in flight may take to end when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(4);

/// An open store and what belongs to it. Each group of tasks is stopped on its own.
pub(super) struct Foundation {
    pub(super) store: Store,
    pub(super) clients: Clients,
    /// Where others find the API's port.
    pub(super) api_address: SocketAddr,
    pub(super) identities: ServerIdentities,
    store_tasks: Tasks,
    pub(super) api_tasks: Tasks,
}

impl Foundation {
    /// Opens the store; with it comes the API's port, which is not served yet.
    pub(super) async fn lay(
        config: &Server,
        folder: &DataFolder,
        prepared: &Prepared,
        tasks: &Tasks,
    ) -> Result<(Foundation, TcpListener)> {
        let advertised = config.advertised()?;
        let api_address = SocketAddr::new(advertised, config.api_port);
        let identities = issue(config, prepared, advertised)?;
        publish(folder, prepared, &identities, api_address)?;
        // All ports before anything else: that one is taken is the most likely surprise.
        let listener = listen(config.api_listen(), "--api-port").await?;
        let clients = Clients::listen(config, &folder.path).await?;
        drop(listen(config.peer_listen(), "--peer-port").await?);
        let (store_tasks, api_tasks) = (tasks.child(), tasks.child());
        let options = store_options(config, folder, prepared, &identities, advertised);
        let store =
            Store::open(options, &store_tasks).await.map_err(|error| anyhow!(render(&error)))?;
        let base = Foundation { store, clients, api_address, identities, store_tasks, api_tasks };
        Ok((base, listener))
    }

    /// What servers and operators ask of this server beside the API.
    pub(super) fn operations(&self, prepared: &Prepared) -> Operations {
        Operations {
            store: self.store.clone(),
            secrets: prepared.secrets.clone(),
            cluster: prepared.state.cluster.clone(),
        }
    }

    /// Becomes a member of the store and serves it, once it is ready.
    pub(super) async fn go_live(&self, config: &Server, prepared: &Prepared) -> Result<()> {
        let (state, secrets) = (&prepared.state, &prepared.secrets);
        if state.origin == Origin::Server {
            let this = membership::this(&self.store, config, self.api_address.ip());
            membership::ensure(&self.store, this, state, secrets, &self.identities.admin).await?;
        }
        self.store.ready().await.context("the store did not become ready")?;
        let roots = secrets.store.roots();
        self.clients.serve(&self.store, &self.identities, &roots, &self.api_tasks)
    }

    /// What the folder remembers, to be kept up to date.
    pub(super) fn memory(&self, folder: &DataFolder, prepared: &Prepared) -> Memory {
        Memory {
            path: folder.path.clone(),
            own: self.api_address.to_string(),
            roots: prepared.secrets.cluster.roots(),
            admin: self.identities.admin.clone(),
            state: prepared.state.clone(),
        }
    }

    /// Requests first, then the store, which hands leadership over.
    pub(super) async fn stop(self) {
        drain(&self.api_tasks).await;
        if let Err(error) = self.store.shutdown().await {
            tracing::warn!("the store: {}", render(&error));
        }
        self.store_tasks.stop().await;
        tracing::info!("stopped");
    }
}

/// Stops tasks, but does not wait for ever.
pub(super) async fn drain(tasks: &Tasks) {
    if timeout(DRAIN_MAX, tasks.stop()).await.is_err() {
        tracing::warn!("not everything ended within {DRAIN_MAX:?}");
    }
}

/// The folder's memory of the servers, and the administrator's kubeconfig, which lists them.
pub(super) struct Memory {
    path: PathBuf,
    own: String,
    roots: Roots,
    admin: Identity,
    state: State,
}

impl Memory {
    /// The servers that it knows.
    pub(super) fn servers(&self) -> &[String] {
        &self.state.servers
    }

    /// Remembers others in their place.
    pub(super) fn note(&mut self, servers: Vec<String>) -> Result<()> {
        write_kubeconfig(&self.path, &self.own, &servers, &self.roots, &self.admin)?;
        self.state.servers = servers;
        self.state.save(&self.path)
    }
}

/// Certificates for this start, valid for every address this server can be reached at.
fn issue(config: &Server, prepared: &Prepared, advertised: IpAddr) -> Result<ServerIdentities> {
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

/// Listens, or says who is in the way.
pub(super) async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
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
    advertised: IpAddr,
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
