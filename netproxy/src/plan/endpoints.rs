//! Which endpoints of a service port may receive packets now.
//!
//! Ready ones; where there is none, those that are terminating but still serve, because a
//! connection they might finish is better than one refused for certain (upstream's
//! ProxyTerminatingEndpoints).

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::vocabulary::{Endpoint, Family};

/// An endpoint and what decides whether it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is.
    pub endpoint: Endpoint,
    /// On this node.
    pub is_local: bool,
    /// Takes new connections.
    pub is_ready: bool,
    /// On its way out, but still answering.
    pub is_serving_last: bool,
}

/// All endpoints of the port called `port` in `slices`, each address and port once.
pub fn candidates(
    slices: &[Arc<EndpointSlice>],
    port: Option<&str>,
    family: Family,
    node: &str,
) -> Vec<Candidate> {
    let mut found: BTreeMap<Endpoint, Candidate> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| is_family(slice, family)) {
        let ports = slice.ports.iter().flatten();
        let same_name = ports.filter(|p| p.name.as_deref().unwrap_or("") == port.unwrap_or(""));
        let numbers: Vec<u16> =
            same_name.filter_map(|p| u16::try_from(p.port?).ok()).filter(|n| *n > 0).collect();
        for entry in slice.endpoints.iter().flatten() {
            // The API defines every address of an entry to be the same endpoint.
            let Some(address) = entry.addresses.first().and_then(|text| text.parse().ok()) else {
                continue;
            };
            let conditions = entry.conditions.clone().unwrap_or_default();
            let is_ready = conditions.ready.unwrap_or(true);
            let is_serving = conditions.serving.unwrap_or(is_ready);
            let is_terminating = conditions.terminating.unwrap_or(false);
            let is_local = entry.node_name.as_deref() == Some(node);
            for port in &numbers {
                let endpoint = Endpoint { address, port: *port };
                let is_serving_last = is_serving && is_terminating;
                let new = Candidate { endpoint, is_local, is_ready, is_serving_last };
                // During a move between slices an endpoint may be in both: the better one counts.
                let known = found.entry(endpoint).or_insert(new);
                known.is_ready |= is_ready;
                known.is_serving_last |= is_serving_last;
            }
        }
    }
    found.into_values().collect()
}

fn is_family(slice: &EndpointSlice, family: Family) -> bool {
    match slice.address_type.as_str() {
        "IPv4" => family == Family::V4,
        "IPv6" => family == Family::V6,
        _ => false,
    }
}

/// The endpoints to use: of all, or of those on this node.
pub(super) fn select(candidates: &[Candidate], only_local: bool) -> Vec<Endpoint> {
    let eligible = || candidates.iter().filter(|c| c.is_local || !only_local);
    let ready: Vec<_> = eligible().filter(|c| c.is_ready).map(|c| c.endpoint).collect();
    if !ready.is_empty() {
        return ready;
    }
    eligible().filter(|c| c.is_serving_last).map(|c| c.endpoint).collect()
}

/// The addresses of endpoints on this node: whatever they send to themselves through a service
/// must come back as if from the node.
pub fn hairpins<'a>(
    slices: impl IntoIterator<Item = &'a Arc<EndpointSlice>>,
    node: &str,
) -> Vec<IpAddr> {
    let entries = slices.into_iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let local = entries.filter(|entry| entry.node_name.as_deref() == Some(node));
    let addresses = local.filter_map(|entry| entry.addresses.first()?.parse().ok());
    let mut addresses: Vec<IpAddr> = addresses.collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
