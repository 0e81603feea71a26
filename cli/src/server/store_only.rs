//! `--store-only`: the replicated store for other software, and nothing beside it.
//!
//! The store's port has all keys open. The API's port serves what members need among themselves
//! and what `kontiki member` asks ([`endpoint`]): joining works with the same flags as for a whole
//! server. The store holds no key of ours.

mod endpoint;
mod token;

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use kontiki_base::tasks::{TaskKind, Tasks, render};
use kontiki_raft::Store;

use self::endpoint::Endpoint;
use super::{
    DRAIN_MAX,
    bootstrap::Prepared,
    clients::Clients,
    issue, listen, membership,
    operations::{self, Operations},
    publish, store_options, write_kubeconfig,
};
use crate::{
    config::Server,
    files,
    join::state::{DataFolder, Origin},
    pki::ServerIdentities,
    signals::Signals,
};

/// How often the folder's memory of the servers is refreshed.
const REMEMBER_EVERY: Duration = Duration::from_secs(30);

/// Runs a member of a store until it is told to stop.
pub(super) async fn run(
    config: &Server,
    folder: &DataFolder,
    prepared: &Prepared,
    tasks: &Tasks,
    signals: &mut Signals,
) -> Result<()> {
    let member = Running::start(config, folder, prepared, tasks).await?;
    let outcome =
        match signals.unless_stopped(tasks, member.go_live(config, folder, prepared)).await {
            Ok(Some(())) => {
                tracing::info!("ready: etcd's API on https://{}", config.store_listen());
                signals.stopped(tasks).await
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
    member.stop().await;
    outcome
}

struct Running {
    store: Store,
    clients: Clients,
    advertised: IpAddr,
    identities: ServerIdentities,
    store_tasks: Tasks,
    api_tasks: Tasks,
}

impl Running {
    async fn start(
        config: &Server,
        folder: &DataFolder,
        prepared: &Prepared,
        tasks: &Tasks,
    ) -> Result<Running> {
        let advertised = config.advertised()?;
        let identities = issue(config, prepared, advertised)?;
        let api_address = std::net::SocketAddr::new(advertised, config.api_port);
        publish(folder, prepared, &identities, api_address)?;
        let token = token::derive(&prepared.secrets)?;
        files::write_private(&folder.path.join("server-token"), &format!("{token}\n"))?;
        let listener = listen(config.api_listen(), "--api-port").await?;
        let clients = Clients::listen(config, &folder.path).await?;
        drop(listen(config.peer_listen(), "--peer-port").await?);
        let (store_tasks, api_tasks) = (tasks.child(), tasks.child());
        let options = store_options(config, folder, prepared, &identities, advertised);
        let store =
            Store::open(options, &store_tasks).await.map_err(|error| anyhow!(render(&error)))?;
        let operations = Operations {
            store: store.clone(),
            secrets: prepared.secrets.clone(),
            cluster: prepared.state.cluster.clone(),
        };
        let endpoint = Arc::new(Endpoint::new(operations, &token));
        endpoint.serve(listener, &identities.api, &prepared.secrets.cluster.roots(), &api_tasks)?;
        Ok(Running { store, clients, advertised, identities, store_tasks, api_tasks })
    }

    async fn go_live(
        &self,
        config: &Server,
        folder: &DataFolder,
        prepared: &Prepared,
    ) -> Result<()> {
        let (state, secrets) = (&prepared.state, &prepared.secrets);
        if state.origin == Origin::Server {
            let this = membership::this(&self.store, config, self.advertised);
            membership::ensure(&self.store, this, state, secrets, &self.identities.admin).await?;
        }
        self.store.ready().await.context("the store did not become ready")?;
        self.clients.serve(
            &self.store,
            &self.identities,
            &secrets.store.roots(),
            &self.api_tasks,
        )?;
        self.remember(config, folder, prepared);
        Ok(())
    }

    /// Keeps the administrator's kubeconfig and the folder's memory up to date.
    fn remember(&self, config: &Server, folder: &DataFolder, prepared: &Prepared) {
        let own = std::net::SocketAddr::new(self.advertised, config.api_port).to_string();
        let (roots, admin) = (prepared.secrets.cluster.roots(), self.identities.admin.clone());
        let (path, store) = (folder.path.clone(), self.store.clone());
        let mut state = prepared.state.clone();
        let shutdown = self.api_tasks.shutdown();
        self.api_tasks.spawn_infallible(TaskKind::logged("server list"), async move {
            loop {
                let servers = operations::servers(&store.members());
                if servers != state.servers {
                    tracing::info!("servers are {}", servers.join(", "));
                    state.servers = servers;
                    let saved = write_kubeconfig(&path, &own, &state.servers, &roots, &admin)
                        .and_then(|()| state.save(&path));
                    if let Err(error) = saved {
                        tracing::error!("cannot remember the servers: {error:#}");
                    }
                }
                tokio::select! { biased;
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(REMEMBER_EVERY) => {}
                }
            }
        });
    }

    async fn stop(self) {
        if tokio::time::timeout(DRAIN_MAX, self.api_tasks.stop()).await.is_err() {
            tracing::warn!("not everything ended within {DRAIN_MAX:?}");
        }
        if let Err(error) = self.store.shutdown().await {
            tracing::warn!("the store: {}", render(&error));
        }
        self.store_tasks.stop().await;
        tracing::info!("stopped");
    }
}
