//! The addresses of Services as objects: an IPAddress for each that a Service has, and ServiceCIDRs
//! that stay as long as addresses come from them.
//!
//! What counts is the claim that a Service takes in the write that gives it its address; objects
//! follow behind. One that names a Service without that address goes, one that is missing comes.

mod ranges;

use std::{net::IpAddr, time::Duration};

use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kontiki_api::Object;
use serde_json::{Value, json};

pub(crate) use self::ranges::ServiceCidrController;
use crate::{
    action::{Action, Context, Pace, Plan, Target},
    controller::{Controller, Keys},
    world::{Change, IPAddress, Key, World},
};

const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
/// An address that still names another Service is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Keeps IPAddresses beside the addresses of Services.
pub(crate) struct AddressController;

/// Keys are Services, and addresses: those have no namespace.
fn address_key(address: &str) -> Key {
    Key::new("", address)
}

impl Controller for AddressController {
    fn name(&self) -> &'static str {
        "service-ipaddress-controller"
    }

    fn queue_name(&self) -> &'static str {
        "service_ipaddress"
    }

    fn event_source(&self) -> &'static str {
        "ipallocator-repair-controller"
    }

    fn wake(&self, _: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::Service(delta) => {
                let (old, new) = (delta.old.map(addresses), delta.new.map(addresses));
                if old == new {
                    return;
                }
                keys.extend(delta.new.map(Key::of));
                keys.extend(old.into_iter().flatten().map(|address| address_key(&address)));
            }
            Change::IPAddress(delta) => {
                for address in delta.sides() {
                    keys.insert(address_key(address.name()));
                    keys.insert(parent(address));
                }
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.services.keys().cloned());
        keys.extend(world.addresses.keys().cloned());
    }

    fn plan(&self, world: &World, key: &Key, _: Context<'_>) -> Plan {
        if key.namespace.is_empty() { plan_address(world, key) } else { plan_service(world, key) }
    }
}

/// The addresses that a Service has.
fn addresses(service: &Service) -> Vec<String> {
    let Some(spec) = &service.spec else { return Vec::new() };
    if spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let listed = spec.cluster_ips.iter().flatten();
    listed.filter_map(|text| text.parse::<IpAddr>().ok()).map(|ip| ip.to_string()).collect()
}

/// The Service that an address says it belongs to.
fn parent(address: &IPAddress) -> Key {
    let text = |field: &str| address.spec()["parentRef"][field].as_str().unwrap_or_default();
    Key::new(text("namespace"), text("name"))
}

fn is_ours(address: &IPAddress) -> bool {
    let labels = address.metadata().labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|manager| manager == MANAGER)
}

/// Decides which addresses one Service lacks.
fn plan_service(world: &World, key: &Key) -> Plan {
    let Some(service) = world.services.get(key) else { return Plan::nothing("it is gone") };
    let mut plan = Plan::default();
    let mut missing = Vec::new();
    for address in addresses(service) {
        match world.addresses.get(&address_key(&address)) {
            None => missing.push(Action::create(&object(&address, service))),
            Some(known) if parent(known) == *key => {}
            Some(known) => {
                plan.because(format!("{address} still names {}", parent(known)));
                plan.recheck(LOOK_AGAIN);
            }
        }
    }
    plan.step(missing, Pace::Together);
    plan
}

/// Decides whether one address is still somebody's.
fn plan_address(world: &World, key: &Key) -> Plan {
    let Some(address) = world.addresses.get(key) else { return Plan::nothing("it is gone") };
    if !is_ours(address) {
        return Plan::nothing("it is somebody else's");
    }
    if address.is_deleting() {
        return Plan::nothing("it is being deleted");
    }
    let parent = parent(address);
    let reference = &address.spec()["parentRef"];
    let is_service = reference["resource"] == "services"
        && reference["group"].as_str().unwrap_or_default().is_empty();
    let service = world.services.get(&parent).filter(|_| is_service);
    if service.is_some_and(|service| addresses(service).contains(&key.name)) {
        return Plan::nothing("its Service has it");
    }
    // The Service may be younger than what was seen of it.
    let version = address.metadata().resource_version.as_deref();
    let version = version.and_then(|text| text.parse().ok()).unwrap_or(0);
    if world.passed(crate::world::Kind::Service) < version {
        let awaits = vec![(crate::world::Kind::Service, version)];
        return Plan { awaits, ..Plan::nothing("its Service may not have been seen yet") };
    }
    let mut plan = Plan::default();
    plan.then([Action::delete(Target::of(&**address))]);
    plan
}

fn object(address: &str, service: &Service) -> IPAddress {
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let labels = [(FAMILY, family), (MANAGED_BY, MANAGER)];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let metadata = ObjectMeta {
        name: Some(address.to_owned()),
        labels: Some(labels.into()),
        ..ObjectMeta::default()
    };
    let spec: Value = json!({"parentRef": {
        "group": "", "resource": "services", "namespace": service.namespace(),
        "name": service.name(),
    }});
    IPAddress::new(metadata, json!({ "spec": spec }))
}

#[cfg(test)]
mod tests;
