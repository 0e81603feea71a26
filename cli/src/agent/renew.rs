//! Fresh certificates for a node, while the old ones are still good for asking.

use anyhow::{Context, Result};
use http::Method;
use kontiki_base::{pki::signing_request, tls::Identity};
use kontiki_client::Client;

use super::enroll::Node;
use crate::{
    join::wire::{AgentReply, AgentRequest, RENEW_PATH},
    pki,
};

/// Certificates older than this share of their life are renewed at start.
const RENEW_AFTER: f64 = 1.0 / 3.0;

/// Renews what is old, or does not name the node's addresses. A cluster that cannot be reached now
/// is no reason not to start: what is there is still valid.
pub(super) async fn renew_if_old(node: &mut Node, client: &Client) -> Result<bool> {
    if pki::age(&node.client.chain_pem)? < RENEW_AFTER && !node.moved {
        return Ok(false);
    }
    match renew(node, client).await {
        Ok(()) => {
            tracing::info!("the certificates of node {} are renewed", node.name);
            Ok(true)
        }
        Err(error) => {
            tracing::warn!("the certificates of node {} are not renewed: {error:#}", node.name);
            Ok(false)
        }
    }
}

async fn renew(node: &mut Node, client: &Client) -> Result<()> {
    let (client_request, client_key) = signing_request()?;
    let (serving_request, serving_key) = signing_request()?;
    let request = AgentRequest {
        node_name: node.name.clone(),
        addresses: node.addresses.clone(),
        client_request,
        serving_request,
    };
    let body = serde_json::to_vec(&request).context("cannot write the request")?;
    let answer = client.call(Method::POST, RENEW_PATH, Some(("application/json", body))).await?;
    let reply: AgentReply = serde_json::from_slice(&answer.body).context("the server's answer")?;
    node.client = Identity { chain_pem: reply.client_chain, key_pem: client_key };
    node.serving = Identity { chain_pem: reply.serving_chain, key_pem: serving_key };
    node.save()
}
