//! EndpointSlices: the addresses behind each Service that has a selector.
//!
//! A plan computes the endpoints that ought to be ([`endpoint`], [`ports`]) and distributes them
//! over slices ([`pack`]) so that few slices are written: endpoints stay in the slice they are in.

pub(crate) mod endpoint;
pub(crate) mod pack;
pub(crate) mod ports;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        core::v1::Service,
        discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kontiki_api::{Object, slim::Pod};

use crate::{
    action::{Action, Context, Plan, Target, controller_reference},
    controller::{Controller, Keys},
    pods, selector,
    world::{Change, Delta, Key, World},
};

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
/// Endpoints in one slice at most.
const ENDPOINTS_MAX: usize = 100;

/// The controller of EndpointSlices.
pub(crate) struct EndpointSliceController;

impl Controller for EndpointSliceController {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn event_source(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn queue_name(&self) -> &'static str {
        "endpoint_slice"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::Service(delta) => keys.extend(delta.sides().map(Key::of)),
            Change::EndpointSlice(delta) => {
                for slice in delta.sides().filter(|slice| is_ours(slice)) {
                    let service = service_name(slice).unwrap_or_default();
                    keys.insert(Key::new(slice.namespace(), service));
                }
            }
            Change::Pod(delta) => wake_by_pod(world, delta, keys),
            Change::Node(delta)
                if delta.old.and_then(endpoint::zone_of)
                    != delta.new.and_then(endpoint::zone_of) =>
            {
                self.all(world, keys);
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.services.keys().cloned());
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        plan(world, key, context)
    }
}

/// Services that select the pod, if what endpoints tell of it changed.
pub(crate) fn wake_by_pod(world: &World, delta: &Delta<'_, Pod>, keys: &mut Keys) {
    if let (Some(old), Some(new)) = (delta.old, delta.new)
        && !endpoint::differs(old, new)
    {
        return;
    }
    for pod in delta.sides() {
        for service in world.services.in_namespace(pod.namespace()) {
            let pairs = selector_of(service);
            if pairs
                .is_some_and(|pairs| selector::matches_pairs(pairs, pod.metadata.labels.as_ref()))
            {
                keys.insert(Key::of(&**service));
            }
        }
    }
}

/// What a Service selects its pods by, if it does.
pub(crate) fn selector_of(service: &Service) -> Option<&BTreeMap<String, String>> {
    service.spec.as_ref()?.selector.as_ref().filter(|pairs| !pairs.is_empty())
}

fn label<'a>(slice: &'a EndpointSlice, name: &str) -> Option<&'a str> {
    slice.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

fn is_ours(slice: &EndpointSlice) -> bool {
    label(slice, MANAGED_BY) == Some(MANAGER)
}

pub(crate) fn service_name(slice: &EndpointSlice) -> Option<&str> {
    label(slice, SERVICE_NAME)
}

/// What makes endpoints share a slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) address_type: &'static str,
    pub(crate) ports: Vec<EndpointPort>,
}

/// Decides which slices one Service needs.
pub(crate) fn plan(world: &World, key: &Key, _context: Context<'_>) -> Plan {
    let existing: Vec<&EndpointSlice> = world
        .endpoint_slices
        .in_namespace(&key.namespace)
        .map(|slice| &**slice)
        .filter(|slice| is_ours(slice) && service_name(slice) == Some(key.name.as_str()))
        .filter(|slice| !slice.is_deleting())
        .collect();
    let service = world.services.get(key).filter(|service| !service.is_deleting());
    let Some(service) = service else {
        let mut plan = Plan::nothing("the Service is gone");
        plan.then(existing.into_iter().map(|slice| Action::delete(Target::of(slice))));
        return plan;
    };
    let namespace = world.namespaces.get(&Key::new("", key.namespace.as_str()));
    if namespace.is_some_and(|namespace| namespace.is_deleting()) {
        return Plan::nothing("its namespace is being deleted");
    }
    let Some(pairs) = selector_of(service) else {
        return Plan::nothing("the Service has no selector");
    };
    if service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        return Plan::nothing("the Service is a name only");
    }
    let groups = wanted(world, service, pairs);
    let mut plan = Plan::default();
    plan.then(pack::plan(&metadata(service), &existing, groups));
    plan
}

/// What slices of a Service are called and labelled.
fn metadata(service: &Service) -> ObjectMeta {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    labels.insert(SERVICE_NAME.to_owned(), service.name().to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    ObjectMeta {
        generate_name: Some(format!("{}-", service.name())),
        namespace: Some(service.namespace().to_owned()),
        labels: Some(labels),
        owner_references: Some(vec![controller_reference(service)]),
        ..ObjectMeta::default()
    }
}

/// Whether a Service has no address of its own.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The endpoints of a Service by what they share.
fn wanted(
    world: &World,
    service: &Service,
    pairs: &BTreeMap<String, String>,
) -> Vec<(Group, Vec<Endpoint>)> {
    let mut groups: Vec<(Group, Vec<Endpoint>)> = Vec::new();
    let families = address_types(service);
    for pod in world.pods.in_namespace(service.namespace()) {
        let selected = selector::matches_pairs(pairs, pod.metadata.labels.as_ref());
        if !selected || pods::is_terminal(pod) {
            continue;
        }
        for address_type in &families {
            let Some(endpoint) = endpoint::of(world, service, pod, address_type) else { continue };
            let group = Group { address_type, ports: ports::resolve(service, pod) };
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, endpoints)) => endpoints.push(endpoint),
                None => groups.push((group, vec![endpoint])),
            }
        }
    }
    // A Service without endpoints still has a slice per family, so that others can tell "none"
    // from "not known yet".
    for address_type in families {
        if !groups.iter().any(|(group, _)| group.address_type == address_type) {
            groups.push((Group { address_type, ports: Vec::new() }, Vec::new()));
        }
    }
    groups
}

/// The families of a Service, its first one first.
pub(crate) fn address_types(service: &Service) -> Vec<&'static str> {
    let spec = service.spec.as_ref();
    let families: Vec<&'static str> = spec
        .and_then(|spec| spec.ip_families.as_ref())
        .into_iter()
        .flatten()
        .map(|family| if family == "IPv6" { "IPv6" } else { "IPv4" })
        .collect();
    if families.is_empty() { vec!["IPv4"] } else { families }
}

#[cfg(test)]
mod tests;
