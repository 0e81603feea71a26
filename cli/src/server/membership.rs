//! Becoming a member of the store: a joined server asks until a leader has added it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use http::Method;
use kontiki_base::{backoff::Backoff, tls::Identity};
use kontiki_client::{Client, ConnectOptions, ServerList};
use kontiki_raft::Store;

use crate::{
    config::Server,
    join::{
        state::State,
        wire::{MEMBERS_PATH, Member},
    },
    pki::Secrets,
};

/// This server as a member that asks to be added.
pub(super) fn this(store: &Store, config: &Server, advertised: IpAddr) -> Member {
    let at = |port| SocketAddr::new(advertised, port).to_string();
    Member {
        id: store.id().to_string(),
        name: config.common.node_name.clone(),
        peer_address: at(config.peer_port),
        api_address: at(config.api_port),
        client_address: at(config.store_port),
        voter: false,
    }
}

/// Asks the servers that the folder remembers, until this member is one. Returns at once where it
/// is one already: the folder knows.
pub(super) async fn ensure(
    store: &Store,
    this: Member,
    state: &State,
    secrets: &Secrets,
    admin: &Identity,
) -> Result<()> {
    let is_member = || store.members().iter().any(|member| member.id == store.id());
    if is_member() {
        return Ok(());
    }
    if state.servers.is_empty() {
        bail!("no server is known that could add this member; give --join HOST");
    }
    let client = Client::remote(ConnectOptions {
        servers: ServerList::new(state.servers.clone()),
        roots: secrets.cluster.roots(),
        identity: Some(admin.clone()),
    })?;
    let body = serde_json::to_vec(&this).context("cannot write the request")?;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    loop {
        let request =
            client.call(Method::POST, MEMBERS_PATH, Some(("application/json", body.clone())));
        match request.await {
            Ok(_) => return Ok(()),
            Err(error) if !error.is_transient() => {
                return Err(error).context("the cluster did not take this server in");
            }
            Err(error) => {
                if backoff.failures() == 3 {
                    tracing::info!("still asking to become a member: {error}");
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}
