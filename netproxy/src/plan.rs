//! What the services of the cluster mean on this node. Pure: no socket, no clock.
//!
//! A Service becomes [`Route`]s: an address and port that packets are sent to, and what becomes of
//! them. Traffic policies, endpoint conditions and address families are resolved here, so that what
//! follows (the ruleset) only translates.

mod endpoints;
mod slots;
mod vocabulary;

use std::{net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{Service, ServicePort, ServiceSpec},
    discovery::v1::EndpointSlice,
};

pub use self::{
    endpoints::{Candidate, candidates, hairpins},
    slots::{Slots, SlotsPolicy},
    vocabulary::{Audience, Backend, Endpoint, Family, Frontend, Masquerade, Protocol, Route},
};

/// Upstream's default of `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10_800);

/// Services that another proxy looks after carry this label.
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// The routes of one service on the node called `node`.
pub fn routes(service: &Service, slices: &[Arc<EndpointSlice>], node: &str) -> Vec<Route> {
    let Some(spec) = proxied(service) else { return Vec::new() };
    let mut routes = Vec::new();
    for port in spec.ports.iter().flatten() {
        for family in Family::ALL {
            let candidates = candidates(slices, port.name.as_deref(), family, node);
            port_routes(&mut routes, service, spec, port, family, &candidates);
        }
    }
    routes
}

/// The spec of a service that has a cluster address and is ours to proxy.
fn proxied(service: &Service) -> Option<&ServiceSpec> {
    let spec = service.spec.as_ref()?;
    let is_others = service.metadata.labels.iter().flatten().any(|(k, _)| k == PROXY_NAME_LABEL);
    let is_name = spec.type_.as_deref() == Some("ExternalName");
    (!is_others && !is_name && cluster_addresses(spec).next().is_some()).then_some(spec)
}

/// The cluster addresses of a service; none if it is headless.
pub fn cluster_addresses(spec: &ServiceSpec) -> impl Iterator<Item = IpAddr> {
    let many = spec.cluster_ips.iter().flatten();
    let one =
        spec.cluster_ip.iter().filter(|_| spec.cluster_ips.as_ref().is_none_or(Vec::is_empty));
    many.chain(one).filter_map(|address| address.parse().ok())
}

fn port_routes(
    routes: &mut Vec<Route>,
    service: &Service,
    spec: &ServiceSpec,
    port: &ServicePort,
    family: Family,
    candidates: &[Candidate],
) {
    let protocol = Protocol::parse(port.protocol.as_deref());
    let (Some(protocol), Ok(number)) = (protocol, u16::try_from(port.port)) else { return };
    let affinity = affinity(spec);
    let everywhere = endpoints::select(candidates, false);
    let here = endpoints::select(candidates, true);
    let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let address_route = |address, audience, backend| Route {
        frontend: Frontend::Address { address, protocol, port: number },
        audience,
        backend,
    };

    let internal = if is_local(&spec.internal_traffic_policy) { &here } else { &everywhere };
    let any_at_all = !everywhere.is_empty();
    let from_inside = backend(internal, any_at_all, Masquerade::OutsideCluster, affinity);
    for address in cluster_addresses(spec).filter(|address| Family::of(*address) == family) {
        routes.push(address_route(address, Audience::Everyone, from_inside.clone()));
    }

    // Who asks for an external address from inside the cluster is not what the policy is about.
    let is_external_local = is_local(&spec.external_traffic_policy);
    let from_outside = if is_external_local {
        backend(&here, any_at_all, Masquerade::Never, affinity)
    } else {
        backend(&everywhere, any_at_all, Masquerade::Always, affinity)
    };
    let for_cluster = backend(&everywhere, any_at_all, Masquerade::Never, affinity);
    let mut external = |frontend: Frontend| {
        let audience = Audience::Everyone;
        routes.push(Route { frontend, audience, backend: from_outside.clone() });
        if is_external_local {
            let audience = Audience::Cluster;
            routes.push(Route { frontend, audience, backend: for_cluster.clone() });
        }
    };
    for address in external_addresses(service, spec).filter(|a| Family::of(*a) == family) {
        external(Frontend::Address { address, protocol, port: number });
    }
    let node_port =
        port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let has_family = cluster_addresses(spec).any(|address| Family::of(address) == family);
    if let Some(port) = node_port.filter(|_| has_family) {
        external(Frontend::NodePort { family, protocol, port });
    }
}

/// External addresses: those the user wrote, and a load balancer's that keeps the destination.
fn external_addresses<'a>(
    service: &'a Service,
    spec: &'a ServiceSpec,
) -> impl Iterator<Item = IpAddr> {
    let balancer = service.status.iter().flat_map(|status| &status.load_balancer);
    // Source ranges are not resolved yet; without them such an address would be open to everyone.
    let is_open = spec.load_balancer_source_ranges.as_ref().is_none_or(Vec::is_empty);
    let ingress = balancer.flat_map(|status| status.ingress.iter().flatten());
    let ingress = ingress.filter(move |entry| is_open && entry.ip_mode.as_deref() != Some("Proxy"));
    let addresses = ingress.filter_map(|entry| entry.ip.as_ref());
    spec.external_ips.iter().flatten().chain(addresses).filter_map(|text| text.parse().ok())
}

fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let client = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = client.and_then(|client| client.timeout_seconds);
    let timeout = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    Some(timeout.unwrap_or(AFFINITY_TIMEOUT_DEFAULT))
}

/// Where to send packets; refusing tells the client at once when nobody serves it anywhere, and
/// silence leaves it to a balancer in front to find a node that does.
fn backend(
    endpoints: &[Endpoint],
    any_at_all: bool,
    masquerade: Masquerade,
    affinity: Option<Duration>,
) -> Backend {
    match (endpoints.is_empty(), any_at_all) {
        (false, _) => Backend::Endpoints { endpoints: endpoints.to_vec(), masquerade, affinity },
        (true, true) => Backend::Drop,
        (true, false) => Backend::Reject,
    }
}

#[cfg(test)]
mod tests;
