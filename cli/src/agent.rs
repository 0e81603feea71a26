//! A worker: the kubelet and the service proxy, with the credentials of its node.

mod enroll;
pub(crate) mod node;
pub(crate) mod preflight;
mod renew;

use std::time::Duration;

use anyhow::Result;
use kontiki_base::{footprint, tasks::Tasks};
use kontiki_client::{Client, ConnectOptions, ServerList};

use self::enroll::Node;
use crate::{config::Common, join::state::DataFolder, servers, signals::Signals};

/// How long the worker's parts may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Runs an agent until it is told to stop. Its pods go on.
pub(crate) async fn run(config: Common) -> Result<()> {
    let tasks = Tasks::new();
    let mut signals = Signals::listen()?;
    enroll::check_arguments(&config)?;
    preflight::check(config.container_runtime_endpoint.as_deref())?;
    let folder = DataFolder::open(&config.data_dir)?;
    let enrolling = enroll::enroll(&config, &folder);
    let Some(mut node) = signals.unless_stopped(&tasks, enrolling).await? else { return Ok(()) };
    let servers = ServerList::new(node.state.servers.clone());
    let mut client = connect(&node, &servers)?;
    if renew::renew_if_old(&mut node, &client).await? {
        client = connect(&node, &servers)?;
    }
    let mut state = node.state.clone();
    servers::follow(client.clone(), &tasks, move |found| {
        servers.update(found.clone());
        state.servers = found;
        folder.remember(&state)
    });
    let parts = node::Parts {
        name: node.name,
        addresses: node.addresses,
        serving: node.serving,
        roots: node.roots,
        cluster: node.state.cluster,
    };
    node::start(&config, &parts, &client, &tasks);
    footprint::release_when_settled(&tasks);
    let outcome = signals.stopped(&tasks).await;
    if tokio::time::timeout(DRAIN_MAX, tasks.stop()).await.is_err() {
        tracing::warn!("not everything ended within {DRAIN_MAX:?}");
    }
    tracing::info!("stopped");
    outcome
}

fn connect(node: &Node, servers: &ServerList) -> Result<Client> {
    Ok(Client::remote(ConnectOptions {
        servers: servers.clone(),
        roots: node.roots.clone(),
        identity: Some(node.client.clone()),
    })?)
}
