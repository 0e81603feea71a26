//! EndpointSlices: the addresses behind a Service, of one family each.

use std::{collections::BTreeSet, net::IpAddr};

use kontiki_api::{
    field::{Error, Errors, Path},
    k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    names,
};
use serde_json::Value;

use super::{
    check::{self, Check},
    value,
};
use crate::registry::{Context, Strategy};

const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const ENDPOINTS_MAX: usize = 1000;
const PORTS_MAX: usize = 20_000;
const ADDRESSES_MAX: usize = 100;

/// The strategy of `endpointslices`.
pub(super) struct EndpointSlices;

impl Strategy for EndpointSlices {
    fn set_defaults(&self, object: &mut Value) {
        for port in value::items(object, "ports") {
            value::default(port, "name", "");
            value::default(port, "protocol", "TCP");
        }
    }

    fn prepare_for_update(&self, _: &mut Value, _: &Value, _: &Context<'_>) {}

    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, validate)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        check::typed_pair(object, old, |new: &EndpointSlice, old: &EndpointSlice, check| {
            validate(new, check);
            check.immutable(&Path::new("addressType"), &new.address_type, &old.address_type);
        })
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_subdomain, name, prefix)
    }

    fn generation_changes(&self, object: &Value, old: &Value) -> bool {
        let content = ["addressType", "endpoints", "ports"];
        content.iter().any(|field| object.get(field) != old.get(field))
            || object["metadata"]["labels"] != old["metadata"]["labels"]
    }
}

fn validate(slice: &EndpointSlice, check: &mut Check) {
    let at = Path::new("addressType");
    if slice.address_type.is_empty() {
        check.required(&at, "");
    } else {
        check.one_of(&at, &slice.address_type, ADDRESS_TYPES);
    }
    let at = Path::new("endpoints");
    let endpoints = slice.endpoints.as_deref().unwrap_or_default();
    if endpoints.len() > ENDPOINTS_MAX {
        check.push(Error::too_many(&at, endpoints.len(), ENDPOINTS_MAX));
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        one_endpoint(check, &at.index(index), endpoint, &slice.address_type);
    }
    ports(check, &Path::new("ports"), slice.ports.as_deref().unwrap_or_default());
}

fn one_endpoint(check: &mut Check, at: &Path, endpoint: &Endpoint, address_type: &str) {
    let addresses = at.child("addresses");
    if endpoint.addresses.is_empty() {
        check.required(&addresses, "must contain at least 1 address");
    } else if endpoint.addresses.len() > ADDRESSES_MAX {
        check.push(Error::too_many(&addresses, endpoint.addresses.len(), ADDRESSES_MAX));
    }
    for (index, address) in endpoint.addresses.iter().enumerate() {
        one_address(check, &addresses.index(index), address, address_type);
    }
    check.optional_named(
        &at.child("nodeName"),
        endpoint.node_name.as_deref(),
        names::dns1123_subdomain,
    );
    check.optional_named(&at.child("hostname"), endpoint.hostname.as_deref(), names::dns1123_label);
}

fn one_address(check: &mut Check, at: &Path, address: &str, address_type: &str) {
    let parsed = address.parse::<IpAddr>();
    match (address_type, parsed) {
        ("IPv4", Ok(IpAddr::V4(ip))) => {
            let local = if ip.is_unspecified() {
                Some("may not be unspecified (0.0.0.0 or ::)")
            } else if ip.is_loopback() {
                Some("may not be in the loopback range (127.0.0.0/8, ::1/128)")
            } else if ip.is_link_local() {
                Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
            } else if ip.is_multicast() {
                Some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
            } else {
                None
            };
            if let Some(detail) = local {
                check.invalid(at, address, detail);
            }
        }
        ("IPv6", Ok(IpAddr::V6(_))) => {}
        ("IPv4", _) => check.invalid(at, address, "must be an IPv4 address"),
        ("IPv6", _) => check.invalid(at, address, "must be an IPv6 address"),
        _ => check.errors.invalid_each(at, address, names::dns1123_subdomain(address)),
    }
}

fn ports(check: &mut Check, at: &Path, ports: &[EndpointPort]) {
    if ports.len() > PORTS_MAX {
        check.push(Error::too_many(at, ports.len(), PORTS_MAX));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = at.index(index);
        let name = port.name.as_deref().unwrap_or_default();
        check.optional_named(&at.child("name"), Some(name), names::dns1123_label);
        if !seen.insert(name) {
            check.push(Error::duplicate(&at.child("name"), name));
        }
        check.one_of(
            &at.child("protocol"),
            port.protocol.as_deref().unwrap_or_default(),
            PROTOCOLS,
        );
        check.optional_named(
            &at.child("appProtocol"),
            port.app_protocol.as_deref(),
            names::qualified_name,
        );
    }
}
