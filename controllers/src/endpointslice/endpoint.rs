//! One pod as an endpoint.

use std::net::IpAddr;

use k8s_openapi::api::{
    core::v1::{Node, ObjectReference, Service},
    discovery::v1::{Endpoint, EndpointConditions},
};
use kontiki_api::{Object, slim::Pod};

use crate::{
    pods,
    world::{Key, World},
};

const ZONE: &str = "topology.kubernetes.io/zone";

/// The zone a node says it is in.
pub(super) fn zone_of(node: &Node) -> Option<&str> {
    node.metadata.labels.as_ref()?.get(ZONE).map(String::as_str)
}

/// The endpoint of a pod; `None` while it has no address of the family.
///
/// A pod leaves rotation the moment its deletion is requested, not when it is gone: it is
/// terminating and no longer ready, whatever its own condition says, but may still be serving.
pub(crate) fn of(
    world: &World,
    service: &Service,
    pod: &Pod,
    address_type: &str,
) -> Option<Endpoint> {
    let address = addresses(pod).find(|address| family(address) == Some(address_type))?;
    let spec = service.spec.as_ref()?;
    let serving = pods::is_ready(pod);
    let terminating = pod.is_deleting();
    let publish_not_ready = spec.publish_not_ready_addresses.unwrap_or(false);
    let node_name = pods::node_name(pod).map(str::to_owned);
    let node = node_name.as_ref().and_then(|name| world.nodes.get(&Key::new("", name.as_str())));
    Some(Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(publish_not_ready || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(service, pod),
        node_name,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.namespace().to_owned()),
            name: Some(pod.name().to_owned()),
            uid: Some(pod.uid().to_owned()),
            ..ObjectReference::default()
        }),
        zone: node.and_then(|node| zone_of(node)).map(str::to_owned),
        deprecated_topology: None,
        hints: None,
    })
}

/// The name under which a headless Service's pod is found.
fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let subdomain = spec.subdomain.as_deref()?;
    let ours = subdomain == service.name() && pod.namespace() == service.namespace();
    spec.hostname.clone().filter(|hostname| ours && !hostname.is_empty())
}

fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    let status = pod.status.as_ref();
    let all = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
    let first = status.and_then(|status| status.pod_ip.as_deref());
    first.into_iter().chain(all.map(|address| address.ip.as_str()))
}

fn family(address: &str) -> Option<&'static str> {
    match address.parse().ok()? {
        IpAddr::V4(_) => Some("IPv4"),
        IpAddr::V6(_) => Some("IPv6"),
    }
}

/// Whether two versions of a pod make different endpoints.
pub(crate) fn differs(old: &Pod, new: &Pod) -> bool {
    let essence = |pod: &Pod| {
        let ips: Vec<String> = addresses(pod).map(str::to_owned).collect();
        (
            ips,
            pods::is_ready(pod),
            pods::is_terminal(pod),
            pod.is_deleting(),
            pods::node_name(pod).map(str::to_owned),
        )
    };
    essence(old) != essence(new)
        || old.metadata.labels != new.metadata.labels
        || old.uid() != new.uid()
}
