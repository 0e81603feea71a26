//! Becoming a worker: keys of one's own, signed by the cluster, kept in the data folder.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use kontiki_base::{
    pki::{fingerprint, signing_request},
    tls::{Identity, Roots, certificates},
};

use crate::{
    config::{Common, own_address},
    files,
    join::{
        call,
        state::{DataFolder, Origin, State},
        wire::{AgentReply, AgentRequest, JOIN_AGENT_PATH},
    },
    pki::{self, Folder},
};

const CLIENT: &str = "kubelet-client";
const SERVING: &str = "kubelet";
const CA: &str = "ca.crt";

const NEEDS_CLUSTER: &str = "an agent needs a cluster: give --join HOST --token TOKEN, with the \
                             token from `agent-token` in a server's data folder";

/// What is wrong with the command line is said before what is wrong with the machine.
pub(super) fn check_arguments(config: &Common) -> Result<()> {
    let is_new = !config.data_dir.join("cluster.json").exists();
    if is_new && config.join.is_none() {
        bail!(NEEDS_CLUSTER);
    }
    if is_new {
        call::required_token(config.token.as_deref())?;
    }
    Ok(())
}

/// Who this worker is.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) client: Identity,
    pub(crate) serving: Identity,
    pub(crate) roots: Roots,
    pub(crate) state: State,
    /// Whether its addresses are not those it was signed for.
    pub(crate) moved: bool,
    pki: Folder,
}

impl Node {
    /// Writes its identities.
    pub(super) fn save(&self) -> Result<()> {
        self.pki.save_identity(CLIENT, &self.client)?;
        self.pki.save_identity(SERVING, &self.serving)
    }
}

/// Reads the folder, or fills it with the help of a token.
pub(crate) async fn enroll(config: &Common, folder: &DataFolder) -> Result<Node> {
    let pki = Folder::of(&folder.path);
    let addresses = match config.node_ip {
        Some(address) => vec![address],
        None => vec![own_address(config.join.as_deref())?],
    };
    let state = match folder.state()? {
        Some(state) if state.origin != Origin::Agent => bail!(
            "the data folder {} belongs to the server {}; choose another --data-dir",
            folder.path.display(),
            state.node_name
        ),
        Some(state) => {
            check(config, folder, &pki, &state)?;
            state
        }
        None => join(config, folder, &pki, &addresses).await?,
    };
    let identity = |name: &str| -> Result<Identity> {
        pki.identity(name)?.with_context(|| {
            format!(
                "{} or its key is missing; remove the data folder and join again with a token",
                pki.file(&format!("{name}.crt")).display()
            )
        })
    };
    let (client, serving) = (identity(CLIENT)?, identity(SERVING)?);
    pki::check_validity(&format!("the certificate of node {}", state.node_name), &client.chain_pem)
        .context("remove the data folder and join again with a token")?;
    Ok(Node {
        moved: !pki::names_all(&serving.chain_pem, &addresses)?,
        name: state.node_name.clone(),
        addresses,
        client,
        serving,
        roots: Roots::load(&pki.file(CA))?,
        state,
        pki,
    })
}

/// What was asked for must be what this folder is.
fn check(config: &Common, folder: &DataFolder, pki: &Folder, state: &State) -> Result<()> {
    let roots = Roots::load(&pki.file(CA))?;
    let ca = certificates(&roots.pem)?;
    folder.check_cluster(&fingerprint(&ca[0]), config.token.as_deref())?;
    if config.node_name != state.node_name {
        bail!(
            "the data folder {} is that of node {}, not of {}; choose another --data-dir or \
             --node-name {}",
            folder.path.display(),
            state.node_name,
            config.node_name,
            state.node_name
        );
    }
    Ok(())
}

async fn join(
    config: &Common,
    folder: &DataFolder,
    pki: &Folder,
    addresses: &[IpAddr],
) -> Result<State> {
    let host = config.join.as_deref().context(NEEDS_CLUSTER)?;
    let token = call::required_token(config.token.as_deref())?;
    let (client_request, client_key) = signing_request()?;
    let (serving_request, serving_key) = signing_request()?;
    let request = AgentRequest {
        node_name: config.node_name.clone(),
        addresses: addresses.to_vec(),
        client_request,
        serving_request,
    };
    let reply: AgentReply = call::post(host, &token, JOIN_AGENT_PATH, &request).await?;
    let ca = certificates(&reply.ca).context("the cluster's CA")?;
    if fingerprint(&ca[0]) != token.ca_fingerprint {
        bail!("{host} handed out another CA than the token's");
    }
    files::create_private_folder(&pki.file(""))?;
    let pair = |chain_pem, key_pem| Identity { chain_pem, key_pem };
    pki.save_identity(CLIENT, &pair(reply.client_chain, client_key))?;
    pki.save_identity(SERVING, &pair(reply.serving_chain, serving_key))?;
    files::write_private(&pki.file(CA), &reply.ca)?;
    let state = State {
        origin: Origin::Agent,
        node_name: config.node_name.clone(),
        cluster: reply.cluster,
        servers: reply.servers,
    };
    folder.remember(&state)?;
    tracing::info!("joined the cluster of {host} as node {}", config.node_name);
    Ok(state)
}
