//! Endpoints: what is behind each Service that has a selector, for clients that know no
//! EndpointSlices; and the other way round, slices for Endpoints that people write ([`mirror`]).
//!
//! Addresses that have the same ports stand together in a subset; all is sorted, so that the same
//! pods always make the same object.

mod mirror;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{core::v1::Service, discovery::v1::EndpointPort},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kontiki_api::Object;
use serde_json::{Value, json};

pub(crate) use self::mirror::EndpointSliceMirroring;
use crate::{
    action::{Action, Context, Plan, Target},
    controller::{Controller, Keys},
    endpointslice::{
        HEADLESS, address_types, endpoint, is_headless, ports, selector_of, wake_by_pod,
    },
    pods, selector,
    world::{Change, Endpoints, Key, World},
};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses in one object at most.
const ADDRESSES_MAX: usize = 1000;

/// The controller of Endpoints.
pub(crate) struct EndpointsController;

impl Controller for EndpointsController {
    fn name(&self) -> &'static str {
        "endpoints-controller"
    }

    fn queue_name(&self) -> &'static str {
        "endpoint"
    }

    fn event_source(&self) -> &'static str {
        "endpoint-controller"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::Service(delta) => keys.extend(delta.latest().map(Key::of)),
            // Those that people write before there is a Service wait for it.
            Change::Endpoints(delta) => {
                let all = delta.latest().map(|endpoints| (Key::of(endpoints), is_ours(endpoints)));
                let concerns = all.filter(|(key, ours)| *ours || world.services.contains(key));
                keys.extend(concerns.map(|(key, _)| key));
            }
            Change::Pod(delta) => wake_by_pod(world, delta, keys),
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.services.keys().cloned());
        let endpoints = world.endpoints.iter().filter(|endpoints| !elects(endpoints));
        keys.extend(endpoints.map(|endpoints| Key::of(&**endpoints)));
    }

    fn plan(&self, world: &World, key: &Key, _: Context<'_>) -> Plan {
        plan(world, key)
    }
}

/// Decides what one Service's Endpoints must say.
pub(crate) fn plan(world: &World, key: &Key) -> Plan {
    let known = world.endpoints.get(key).filter(|known| !known.is_deleting());
    let Some(service) = world.services.get(key) else {
        // As upstream: with a Service go its Endpoints, whoever wrote them.
        let mut plan = Plan::nothing("the Service is gone");
        plan.then(known.map(|known| Action::delete(Target::of(&**known))));
        return plan;
    };
    let namespace = world.namespaces.get(&Key::new("", key.namespace.as_str()));
    if namespace.is_some_and(|namespace| namespace.is_deleting()) {
        return Plan::nothing("its namespace is being deleted");
    }
    if service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        return Plan::nothing("the Service is a name only");
    }
    let Some(pairs) = selector_of(service) else {
        return Plan::nothing("the Service has no selector");
    };
    let (subsets, cut) = subsets(world, service, pairs);
    let mut plan = Plan::default();
    let mut wanted = known.map_or_else(|| fresh(key), |known| (**known).clone());
    wanted.metadata_mut().labels = Some(labels(service));
    let annotations = wanted.metadata_mut().annotations.get_or_insert_default();
    if cut {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    if annotations.is_empty() {
        wanted.metadata_mut().annotations = None;
    }
    if subsets.as_array().is_none_or(Vec::is_empty) {
        wanted.remove_field("subsets");
    } else {
        *wanted.field_mut("subsets") = subsets;
    }
    match known {
        Some(known) => plan.then(Action::update(&**known, &wanted)),
        None => plan.then([Action::create(&wanted)]),
    }
    plan
}

fn fresh(key: &Key) -> Endpoints {
    let metadata = ObjectMeta {
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        ..ObjectMeta::default()
    };
    Endpoints::new(metadata, json!({}))
}

fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata().labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|manager| manager == MANAGER)
}

/// Whether somebody is elected by them: such have never had a Service.
pub(super) fn elects(endpoints: &Endpoints) -> bool {
    endpoints.metadata().annotations.as_ref().is_some_and(|all| all.contains_key(LEADER))
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    labels
}

/// An address by what tells it from others.
type Address = (String, String);
/// A port by what tells it from others, or none.
type Port = Option<(String, i32, String, Option<String>)>;

/// Who is behind a Service, and whether not all of them fit.
fn subsets(world: &World, service: &Service, pairs: &BTreeMap<String, String>) -> (Value, bool) {
    let mut addresses: BTreeMap<Address, Value> = BTreeMap::new();
    let mut by_port: BTreeMap<Port, BTreeMap<Address, bool>> = BTreeMap::new();
    let spec = service.spec.as_ref();
    let unready_too = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let family = address_types(service)[0];
    for pod in world.pods.in_namespace(service.namespace()) {
        let selected = selector::matches_pairs(pairs, pod.metadata.labels.as_ref());
        let counts = !pods::is_terminal(pod) && (unready_too || !pod.is_deleting());
        if !selected || !counts {
            continue;
        }
        let Some(endpoint) = endpoint::of(world, service, pod, family) else { continue };
        let ip = endpoint.addresses[0].clone();
        let address = (ip.clone(), pod.uid().to_owned());
        let mut value = json!({
            "ip": ip,
            "targetRef": {
                "kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid(),
            },
        });
        if let Some(node) = endpoint.node_name {
            value["nodeName"] = node.into();
        }
        if let Some(hostname) = endpoint.hostname {
            value["hostname"] = hostname.into();
        }
        let ready = unready_too || pods::is_ready(pod);
        for port in ports_of(service, ports::resolve(service, pod)) {
            let known = by_port.entry(port).or_default().entry(address.clone()).or_default();
            *known |= ready;
        }
        addresses.insert(address, value);
    }
    pack(&addresses, by_port)
}

fn ports_of(service: &Service, ports: Vec<EndpointPort>) -> Vec<Port> {
    let none_wanted =
        service.spec.as_ref().is_none_or(|spec| spec.ports.as_ref().is_none_or(Vec::is_empty));
    if none_wanted {
        return if is_headless(service) { vec![None] } else { Vec::new() };
    }
    let port = |port: EndpointPort| {
        let (name, protocol) = (port.name.unwrap_or_default(), port.protocol.unwrap_or_default());
        Some((name, port.port.unwrap_or_default(), protocol, port.app_protocol))
    };
    ports.into_iter().map(port).collect()
}

/// Ports that are at the same addresses in the same state share a subset. Of too many addresses
/// the ready ones stay.
fn pack(
    addresses: &BTreeMap<Address, Value>,
    by_port: BTreeMap<Port, BTreeMap<Address, bool>>,
) -> (Value, bool) {
    let mut groups: BTreeMap<BTreeMap<Address, bool>, BTreeSet<Port>> = BTreeMap::new();
    for (port, at) in by_port {
        groups.entry(at).or_default().insert(port);
    }
    let total: usize = groups.keys().map(BTreeMap::len).sum();
    let ready: usize = groups.keys().map(|at| at.values().filter(|ready| **ready).count()).sum();
    let mut room =
        [ready.min(ADDRESSES_MAX), (total - ready).min(ADDRESSES_MAX.saturating_sub(ready))];
    let mut by_ports: Vec<_> = groups.into_iter().map(|(at, ports)| (ports, at)).collect();
    by_ports.sort();
    let mut subsets = Vec::new();
    for (ports, at) in by_ports {
        let mut subset = json!({});
        for (index, (field, state)) in
            [("addresses", true), ("notReadyAddresses", false)].into_iter().enumerate()
        {
            let in_state = at.iter().filter(|(_, ready)| **ready == state);
            let found: Vec<Value> = in_state
                .filter_map(|(address, _)| addresses.get(address).cloned())
                .take(room[index])
                .collect();
            room[index] -= found.len();
            if !found.is_empty() {
                subset[field] = Value::Array(found);
            }
        }
        if subset.as_object().is_none_or(serde_json::Map::is_empty) {
            continue;
        }
        let ports: Vec<Value> = ports.into_iter().flatten().map(port_value).collect();
        if !ports.is_empty() {
            subset["ports"] = Value::Array(ports);
        }
        subsets.push(subset);
    }
    (Value::Array(subsets), total > ADDRESSES_MAX)
}

fn port_value((name, number, protocol, app): (String, i32, String, Option<String>)) -> Value {
    let mut port = json!({"port": number, "protocol": protocol});
    if !name.is_empty() {
        port["name"] = name.into();
    }
    if let Some(app) = app {
        port["appProtocol"] = app.into();
    }
    port
}

#[cfg(test)]
mod tests;
