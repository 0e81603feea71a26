//! Becoming a server: found a cluster, join one, or be what the folder says this server is.

use anyhow::{Context, Result, bail};

use crate::{
    config::Server,
    join::{
        call,
        state::{DataFolder, Origin, State},
        wire::{JOIN_SERVER_PATH, ServerReply, ServerRequest},
    },
    pki::{Folder, Secrets},
};

/// Who this server is.
pub(crate) struct Prepared {
    pub(crate) secrets: Secrets,
    pub(crate) state: State,
    pub(crate) pki: Folder,
}

/// Reads the folder, or fills it. A crash on the way leaves a folder that starts over.
pub(crate) async fn prepare(config: &Server, folder: &DataFolder) -> Result<Prepared> {
    let pki = Folder::of(&folder.path);
    let (secrets, state) = match (folder.state()?, pki.load()?) {
        (Some(state), _) if state.origin == Origin::Agent => bail!(
            "the data folder {} belongs to the agent {}; choose another --data-dir",
            folder.path.display(),
            state.node_name
        ),
        (Some(state), Some(secrets)) => {
            folder.check_cluster(&secrets.fingerprint()?, config.common.token.as_deref())?;
            (secrets, state)
        }
        (Some(_), None) => bail!(
            "{} is missing; restore the pki folder from another server",
            pki.file("ca.crt").display()
        ),
        (None, saved) => {
            let (secrets, state) = match &config.common.join {
                None => found(config, saved)?,
                Some(host) => join(config, host, folder, saved).await?,
            };
            pki.save(&secrets)?;
            folder.remember(&state)?;
            (secrets, state)
        }
    };
    check_kind(config.cluster.store_only, state.cluster.store_only)?;
    Ok(Prepared { secrets, state, pki })
}

/// A cluster is a store for other software or a Kubernetes, never both: what an API server keeps
/// in its store, nobody else may write.
fn check_kind(asked: bool, is: bool) -> Result<()> {
    match (asked, is) {
        (false, true) => bail!("this cluster is a store only; start its servers with --store-only"),
        (true, false) => bail!("this cluster is a Kubernetes; --store-only is not for its servers"),
        _ => Ok(()),
    }
}

fn found(config: &Server, saved: Option<Secrets>) -> Result<(Secrets, State)> {
    let secrets = match saved {
        Some(secrets) => secrets,
        None => Secrets::generate()?,
    };
    tracing::info!("founding a new cluster");
    let state = State {
        origin: Origin::Founder,
        node_name: config.common.node_name.clone(),
        cluster: config.cluster.clone(),
        servers: Vec::new(),
    };
    Ok((secrets, state))
}

async fn join(
    config: &Server,
    host: &str,
    folder: &DataFolder,
    saved: Option<Secrets>,
) -> Result<(Secrets, State)> {
    let token = call::required_token(config.common.token.as_deref())?;
    if let Some(secrets) = saved {
        folder.check_cluster(&secrets.fingerprint()?, config.common.token.as_deref())?;
    }
    let request = ServerRequest { name: config.common.node_name.clone() };
    let reply: ServerReply = call::post(host, &token, JOIN_SERVER_PATH, &request).await?;
    let fingerprint = reply.secrets.fingerprint().context("the cluster's CA")?;
    if fingerprint != token.ca_fingerprint {
        bail!("{host} handed out another CA than the token's");
    }
    check_kind(config.cluster.store_only, reply.cluster.store_only)?;
    tracing::info!("joining the cluster of {host}");
    let state = State {
        origin: Origin::Server,
        node_name: config.common.node_name.clone(),
        cluster: reply.cluster,
        servers: reply.servers,
    };
    Ok((reply.secrets, state))
}
