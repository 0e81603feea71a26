//! `--store-only`: the replicated store for other software, and nothing beside it.
//!
//! The store's port has all keys open. The API's port serves what members need among themselves
//! and what `kontiki member` asks ([`endpoint`]): joining works with the same flags as for a whole
//! server. The store holds no key of ours.

mod endpoint;
mod token;

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use kontiki_base::{
    footprint,
    tasks::{TaskKind, Tasks},
};

use self::endpoint::Endpoint;
use super::{bootstrap::Prepared, foundation::Foundation, operations};
use crate::{config::Server, files, join::state::DataFolder, signals::Signals};

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
    let base = start(config, folder, prepared, tasks).await?;
    let outcome = match signals.unless_stopped(tasks, base.go_live(config, prepared)).await {
        Ok(Some(())) => {
            remember(&base, folder, prepared);
            tracing::info!("ready: etcd's API on https://{}", config.store_listen());
            footprint::release_when_settled(tasks);
            signals.stopped(tasks).await
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    base.stop().await;
    outcome
}

async fn start(
    config: &Server,
    folder: &DataFolder,
    prepared: &Prepared,
    tasks: &Tasks,
) -> Result<Foundation> {
    let token = token::derive(&prepared.secrets)?;
    files::write_private(&folder.path.join("server-token"), &format!("{token}\n"))?;
    let (base, listener) = Foundation::lay(config, folder, prepared, tasks).await?;
    let endpoint = Arc::new(Endpoint::new(base.operations(prepared), &token));
    let roots = prepared.secrets.cluster.roots();
    endpoint.serve(listener, &base.identities.api, &roots, &base.api_tasks)?;
    Ok(base)
}

/// Keeps the administrator's kubeconfig and the folder's memory up to date.
fn remember(base: &Foundation, folder: &DataFolder, prepared: &Prepared) {
    let (mut memory, store) = (base.memory(folder, prepared), base.store.clone());
    let shutdown = base.api_tasks.shutdown();
    base.api_tasks.spawn_infallible(TaskKind::logged("server list"), async move {
        loop {
            let servers = operations::servers(&store.members());
            if servers != memory.servers() {
                tracing::info!("servers are {}", servers.join(", "));
                if let Err(error) = memory.note(servers) {
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
