//! Services: stable addresses and ports, given out once in the cluster.

mod allocate;
mod status;
mod validate;

use kontiki_api::{
    field::{Error, Errors, Path},
    k8s_openapi::api::core::v1::Service,
    names,
};
use serde_json::{Value, json};

pub(super) use self::allocate::address_claim;
use super::{check, place::Place, value};
use crate::registry::{self, Allocator, Claim, Context, Strategy};

/// Sticky sessions last three hours by default.
const AFFINITY_SECONDS: i64 = 10_800;

/// What Go has for no time. Conditions may come without one, and who reads them as structs must not
/// stumble.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// The strategy of `services`.
pub(super) struct Services;

impl Strategy for Services {
    fn set_defaults(&self, object: &mut Value) {
        let spec = value::child_or_new(object, "spec");
        value::default(spec, "sessionAffinity", "None");
        match value::text(spec, "sessionAffinity") {
            "None" => value::unset(spec, "sessionAffinityConfig"),
            "ClientIP" => {
                let config = value::child_or_new(spec, "sessionAffinityConfig");
                let client = value::child_or_new(config, "clientIP");
                value::default(client, "timeoutSeconds", AFFINITY_SECONDS);
            }
            _ => {}
        }
        value::default(spec, "type", "ClusterIP");
        for port in value::items(spec, "ports") {
            value::default(port, "protocol", "TCP");
            let unset = value::is_unset(port, "targetPort") || port["targetPort"] == 0;
            if unset {
                let same = port["port"].clone();
                value::set(port, "targetPort", same);
            }
            if port["nodePort"] == 0 {
                value::unset(port, "nodePort");
            }
        }
        if allocate::is_reached_from_outside(spec) {
            value::default(spec, "externalTrafficPolicy", "Cluster");
        }
        let kind = value::text(spec, "type").to_owned();
        if kind != "ExternalName" {
            value::default(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            value::default(spec, "allocateLoadBalancerNodePorts", true);
        }
        one_and_all(spec);
        if let Some(status) = value::child(object, "status") {
            for condition in value::items(status, "conditions") {
                value::default(condition, "lastTransitionTime", NO_TIME);
            }
            if kind == "LoadBalancer" {
                balanced_at_addresses(status);
            }
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _: &Context<'_>) {
        value::set(object, "status", json!({"loadBalancer": {}}));
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _: &Context<'_>) {
        registry::restore(object, old, "status");
        allocate::keep_given(object, old);
        allocate::drop_unfit(object, old);
    }

    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, validate::service)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        check::typed_pair(object, old, |new: &Service, old: &Service, check| {
            validate::update(new, old, check);
            validate::service(new, check);
        })
    }

    fn validate_status_update(&self, object: &Value, _: &Value) -> Errors {
        let mut check = check::Check::default();
        status::validate(&mut check, &Place::root(object));
        check.errors
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1035_label, name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn allocates(&self) -> bool {
        true
    }

    fn allocate(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        allocator: &dyn Allocator,
    ) -> Result<(), Errors> {
        allocate::allocate(object, old, allocator)
    }

    fn claims(&self, object: &Value) -> Vec<Claim> {
        let spec = &object["spec"];
        let mut claims = Vec::new();
        for (index, address) in allocate::addresses(spec).into_iter().enumerate() {
            let at = Path::new("spec").child("clusterIPs").index(index);
            let detail =
                format!("failed to allocate IP {address}: provided IP is already allocated");
            let all = spec["clusterIPs"].clone();
            claims.push(Claim {
                key: address_claim(address),
                taken: Error::invalid(&at, all, detail),
            });
        }
        let ports = spec["ports"].as_array().into_iter().flatten();
        for (index, port) in ports.enumerate() {
            let Some(number) = port["nodePort"].as_u64().filter(|number| *number != 0) else {
                continue;
            };
            let key = allocate::port_claim(number);
            // One Service may use one number for TCP and for UDP.
            if claims.iter().any(|claim| claim.key == key) {
                continue;
            }
            let at = Path::new("spec").child("ports").index(index).child("nodePort");
            let detail = "provided port is already allocated";
            claims.push(Claim { key, taken: Error::invalid(&at, number, detail) });
        }
        if let Some(port) = allocate::health_port(spec) {
            let at = Path::new("spec").child("healthCheckNodePort");
            let taken = Error::invalid(&at, port, "provided port is already allocated");
            claims.push(Claim { key: allocate::port_claim(port), taken });
        }
        claims
    }
}

/// Load balancers are reached at their addresses, unless they say that they pass packets on.
fn balanced_at_addresses(status: &mut Value) {
    let Some(balancer) = value::child(status, "loadBalancer") else { return };
    for ingress in value::items(balancer, "ingress") {
        if !value::is_unset(ingress, "ip") {
            value::default(ingress, "ipMode", "VIP");
        }
    }
}

/// The address has two names: alone, and as the first of a list.
fn one_and_all(spec: &mut Value) {
    let alone = value::text(spec, "clusterIP").to_owned();
    let first = spec["clusterIPs"][0].as_str().unwrap_or_default().to_owned();
    match (alone.is_empty(), first.is_empty()) {
        (false, true) => value::set(spec, "clusterIPs", json!([alone])),
        (true, false) => value::set(spec, "clusterIP", first),
        _ => {}
    }
}
