//! EndpointSlices for Endpoints that people write for Services without a selector: proxies read
//! slices only.

use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kontiki_api::Object;
use serde_json::Value;

use super::elects;
use crate::{
    action::{Action, Context, Plan, Target, controller_reference},
    controller::{Controller, Keys},
    endpointslice::{Group, MANAGED_BY, SERVICE_NAME, pack, selector_of, service_name},
    world::{Change, Endpoints, Key, World},
};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotations that are about the Endpoints themselves.
const OWN_ANNOTATIONS: [&str; 2] = [
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
];
/// Addresses of one subset at most.
const ADDRESSES_MAX: usize = 1000;

/// The controller that mirrors Endpoints.
pub(crate) struct EndpointSliceMirroring;

impl Controller for EndpointSliceMirroring {
    fn name(&self) -> &'static str {
        "endpointslice-mirroring-controller"
    }

    fn queue_name(&self) -> &'static str {
        "endpoint_slice_mirroring"
    }

    fn event_source(&self) -> &'static str {
        "endpoint-slice-mirroring-controller"
    }

    fn wake(&self, _: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::Endpoints(delta) => keys.extend(delta.latest().map(Key::of)),
            Change::Service(delta) => keys.extend(delta.latest().map(Key::of)),
            Change::EndpointSlice(delta) => {
                for slice in delta.sides().filter(|slice| is_mirror(slice)) {
                    let service = service_name(slice).unwrap_or_default();
                    keys.insert(Key::new(slice.namespace(), service));
                }
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.endpoints.keys().cloned());
        let mirrors = world.endpoint_slices.iter().filter(|slice| is_mirror(slice));
        keys.extend(
            mirrors
                .map(|slice| Key::new(slice.namespace(), service_name(slice).unwrap_or_default())),
        );
    }

    fn plan(&self, world: &World, key: &Key, _: Context<'_>) -> Plan {
        plan(world, key)
    }
}

fn is_mirror(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|manager| manager == MANAGER)
}

/// Whether Endpoints are to be mirrored.
fn wants_mirror(world: &World, endpoints: &Endpoints, key: &Key) -> bool {
    let metadata = endpoints.metadata();
    let skips = metadata.labels.as_ref().and_then(|labels| labels.get(SKIP));
    let service = world.services.get(key).filter(|service| !service.is_deleting());
    skips.is_none_or(|skips| skips != "true")
        && !elects(endpoints)
        && !endpoints.is_deleting()
        && service.is_some_and(|service| selector_of(service).is_none())
}

/// Decides which slices mirror one object.
pub(super) fn plan(world: &World, key: &Key) -> Plan {
    let slices = world.endpoint_slices.in_namespace(&key.namespace).map(|slice| &**slice);
    let existing: Vec<&EndpointSlice> = slices
        .filter(|slice| is_mirror(slice) && service_name(slice) == Some(key.name.as_str()))
        .filter(|slice| !slice.is_deleting())
        .collect();
    let endpoints = world.endpoints.get(key);
    let Some(endpoints) = endpoints.filter(|endpoints| wants_mirror(world, endpoints, key)) else {
        let mut plan = Plan::nothing("there is nothing to mirror");
        plan.then(existing.into_iter().map(|slice| Action::delete(Target::of(slice))));
        return plan;
    };
    let namespace = world.namespaces.get(&Key::new("", key.namespace.as_str()));
    if namespace.is_some_and(|namespace| namespace.is_deleting()) {
        return Plan::nothing("its namespace is being deleted");
    }
    let mut plan = Plan::default();
    plan.then(pack::plan(&metadata(endpoints), &existing, wanted(endpoints)));
    plan
}

fn metadata(endpoints: &Endpoints) -> ObjectMeta {
    let mut labels = endpoints.metadata().labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), endpoints.name().to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut annotations = endpoints.metadata().annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !OWN_ANNOTATIONS.contains(&name.as_str()));
    ObjectMeta {
        generate_name: Some(format!("{}-", endpoints.name())),
        namespace: Some(endpoints.namespace().to_owned()),
        labels: Some(labels),
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: Some(vec![controller_reference(endpoints)]),
        ..ObjectMeta::default()
    }
}

/// The endpoints by family and ports.
fn wanted(endpoints: &Endpoints) -> Vec<(Group, Vec<Endpoint>)> {
    let mut groups: Vec<(Group, Vec<Endpoint>)> = Vec::new();
    for subset in endpoints.field("subsets").as_array().into_iter().flatten() {
        let ports: Vec<EndpointPort> =
            subset["ports"].as_array().into_iter().flatten().map(port).collect();
        let list = |field: &str| subset[field].as_array().cloned().unwrap_or_default();
        let ready = list("addresses").into_iter().map(|address| (address, true));
        let others = list("notReadyAddresses").into_iter().map(|address| (address, false));
        for (address, ready) in ready.chain(others).take(ADDRESSES_MAX) {
            let Some((address_type, endpoint)) = endpoint(&address, ready) else { continue };
            let group = Group { address_type, ports: ports.clone() };
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, all)) => all.push(endpoint),
                None => groups.push((group, vec![endpoint])),
            }
        }
    }
    groups
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn port(port: &Value) -> EndpointPort {
    EndpointPort {
        name: Some(text(&port["name"]).unwrap_or_default()),
        port: port["port"].as_i64().and_then(|number| i32::try_from(number).ok()),
        protocol: Some(text(&port["protocol"]).unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: text(&port["appProtocol"]),
    }
}

fn endpoint(address: &Value, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip = address["ip"].as_str()?;
    let parsed: std::net::IpAddr = ip.parse().ok()?;
    let target = &address["targetRef"];
    let target_ref = target.is_object().then(|| ObjectReference {
        api_version: text(&target["apiVersion"]),
        field_path: text(&target["fieldPath"]),
        kind: text(&target["kind"]),
        name: text(&target["name"]),
        namespace: text(&target["namespace"]),
        resource_version: text(&target["resourceVersion"]),
        uid: text(&target["uid"]),
    });
    let endpoint = Endpoint {
        addresses: vec![ip.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: text(&address["hostname"]),
        node_name: text(&address["nodeName"]),
        target_ref,
        ..Endpoint::default()
    };
    Some((if parsed.is_ipv6() { "IPv6" } else { "IPv4" }, endpoint))
}
