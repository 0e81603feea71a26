//! A control node: everything a server is made of, started in order and stopped in reverse.
//!
//! ```text
//! data folder -> secrets -> listeners -> store -> API server -> membership
//!                                                     |
//!                         scheduler, controllers <----+----> agent (unless --no-agent)
//! ```
//!
//! The store, its ports and certificates are the [`foundation`]; on it stands the API server, or
//! with `--store-only` next to nothing ([`store_only`]). On the store's port every server speaks
//! etcd's API ([`clients`]).
//!
//! The parts meet only through the API: each has a client of its own identity, whose transport is
//! the API server's service in this process.

mod bootstrap;
mod clients;
mod components;
mod foundation;
mod membership;
mod operations;
mod store_only;
mod tokens;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use kontiki_apiserver::{ApiServer, UserInfo};
use kontiki_base::{
    footprint,
    tasks::Tasks,
    tls::{self, ClientCertificates},
};
use kontiki_client::Client;

use self::{bootstrap::Prepared, foundation::Foundation};
use crate::{
    agent::{node, preflight},
    config::Server,
    join::{
        state::{DataFolder, Origin},
        wire,
    },
    pki::{ServerIdentities, node_requests},
    servers,
    signals::Signals,
};

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
    let live = signals.unless_stopped(&tasks, server.go_live(&config, &folder, &prepared)).await;
    let outcome = match live {
        Ok(Some(())) => {
            tracing::info!("ready: https://{}", server.base.api_address);
            footprint::release_when_settled(&tasks);
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
    base: Foundation,
    api: ApiServer,
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
        let (mut base, listener) = Foundation::lay(config, folder, prepared, tasks).await?;
        let options = api_options(config, prepared, &base.identities, base.api_address)?;
        base.clients.protect(&options.prefix);
        let api = ApiServer::new(options, base.store.clone(), &base.api_tasks)
            .context("cannot start the API server")?;
        api.extend(wire::PREFIX, Arc::new(base.operations(prepared)));
        let tls = tls::server_config(
            &base.identities.api,
            &prepared.secrets.cluster.roots(),
            ClientCertificates::Optional,
            &[b"h2", b"http/1.1"],
        )?;
        api.serve(listener, tls, &base.api_tasks);
        Ok(Running { base, api, component_tasks: tasks.child() })
    }

    /// Joins the store's members, starts the components, makes the first tokens.
    async fn go_live(
        &self,
        config: &Server,
        folder: &DataFolder,
        prepared: &Prepared,
    ) -> Result<()> {
        self.base.go_live(config, prepared).await?;
        self.api.ready().wait_for(|ready| *ready).await.context("the API did not become ready")?;
        components::start(config, prepared, &self.api, &self.base.store, &self.component_tasks);
        if prepared.state.origin == Origin::Founder {
            let client = self.client("system:apiserver", &["system:masters"]);
            tokens::ensure(&client, folder, &prepared.secrets.fingerprint()?).await?;
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
        let mut memory = self.base.memory(folder, prepared);
        servers::follow(client, &self.component_tasks, move |found| memory.note(found));
    }

    /// The worker beside the control plane. It speaks to the API of this process.
    fn start_node(&self, config: &Server, prepared: &Prepared) -> Result<()> {
        let name = prepared.state.node_name.clone();
        let addresses = vec![config.common.node_ip.unwrap_or(self.base.api_address.ip())];
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
        foundation::drain(&self.component_tasks).await;
        self.base.stop().await;
    }
}

fn api_options(
    config: &Server,
    prepared: &Prepared,
    identities: &ServerIdentities,
    api_address: SocketAddr,
) -> Result<kontiki_apiserver::Options> {
    let cluster = &prepared.state.cluster;
    let secrets = kontiki_apiserver::Secrets {
        service_account_key: prepared.secrets.service_account_key.clone(),
        cluster_roots: prepared.secrets.cluster.roots(),
        kubelet_client: identities.kubelet_client.clone(),
    };
    let range = cluster.service_node_port_range;
    let mut options = kontiki_apiserver::Options {
        service_cidrs: cluster.service_cidr.clone(),
        node_ports: range.first..=range.last,
        advertise_port: api_address.port(),
        cluster_domain: cluster.cluster_domain.clone(),
        default_not_ready_toleration: config.not_ready_toleration,
        default_unreachable_toleration: config.unreachable_toleration,
        ..kontiki_apiserver::Options::new(&config.common.node_name, api_address.ip(), secrets)
    };
    config.access.apply(&mut options)?;
    Ok(options)
}
