//! The addresses of Services as objects: the ranges they come from, and each that is taken.

use std::net::IpAddr;

use kontiki_api::{
    field::{Error, Path},
    meta,
};
use serde_json::Value;

use super::{
    declared::{Declared, PLAIN, WANTED},
    network_policy::cidr,
    service::address_claim,
};
use crate::registry::Claim;

/// The strategy of `servicecidrs`.
pub(super) static RANGES: Declared = Declared {
    check: |check, range| {
        let cidrs = range.at("spec").at("cidrs");
        match cidrs.len() {
            0 => check.required(&cidrs.path, "at least one CIDR required"),
            1 | 2 => {}
            _ => {
                let detail = "may only hold up to 2 values";
                check.invalid(&cidrs.path, cidrs.value.clone(), detail);
            }
        }
        let nets: Vec<_> = cidrs.items().filter_map(|place| cidr(check, &place)).collect();
        if let [one, other] = nets.as_slice()
            && one.addr().is_ipv4() == other.addr().is_ipv4()
        {
            let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 \
                          and 2001:db8::/64";
            check.invalid(&cidrs.path, cidrs.value.clone(), detail);
        }
    },
    check_update: |check, new, old| {
        check.fixed(&new.at("spec").at("cidrs"), &old.at("spec").at("cidrs"));
    },
    ..WANTED
};

/// The strategy of `ipaddresses`.
pub(super) static ADDRESSES: Declared = Declared {
    name: |name| match name.parse::<IpAddr>() {
        Ok(address) if address.to_string() == name => Vec::new(),
        Ok(address) => vec![format!("must be in canonical form ({address})")],
        Err(_) => kontiki_api::names::ip_address(name),
    },
    check: |check, address| {
        let parent = address.at("spec").at("parentRef");
        if !parent.is_set() {
            return check.required(&parent.path, "");
        }
        for field in ["resource", "name"] {
            if parent.at(field).is_empty() {
                check.required(&parent.at(field).path, "");
            }
        }
    },
    check_update: |check, new, old| {
        let (now, was) = (new.at("spec").at("parentRef"), old.at("spec").at("parentRef"));
        check.fixed(&now, &was);
    },
    has_generation: true,
    claims,
    ..PLAIN
};

/// Who writes an address by hand keeps Services from it. What is written beside a Service's own
/// claim takes none.
fn claims(address: &Value) -> Vec<Claim> {
    const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
    let name = meta::name(address);
    let Ok(ip) = name.parse() else { return Vec::new() };
    if address["metadata"]["labels"][MANAGED_BY] == "ipallocator.k8s.io" {
        return Vec::new();
    }
    let at = Path::new("metadata").child("name");
    let taken = Error::invalid(&at, name, "provided IP is already allocated");
    vec![Claim { key: address_claim(ip), taken }]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_written_by_hand_is_claimed() {
        let mut address = json!({"metadata": {"name": "10.43.0.9"}});
        assert_eq!(claims(&address)[0].key, "clusterips/10.43.0.9");
        address["metadata"]["labels"] =
            json!({"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
        assert!(claims(&address).is_empty());
    }
}
