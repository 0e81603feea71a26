//! NetworkPolicies: who may speak to which pods.

use ipnet::IpNet;
use kontiki_api::names;
use serde_json::{Value, json};

use super::{
    check::Check,
    declared::{Declared, PLAIN},
    place::Place,
    value,
};

/// The strategy of `networkpolicies`.
pub(super) static STRATEGY: Declared = Declared { defaults, check, has_generation: true, ..PLAIN };

fn defaults(object: &mut Value) {
    let spec = value::child_or_new(object, "spec");
    for direction in ["ingress", "egress"] {
        for rule in value::items(spec, direction) {
            for port in value::items(rule, "ports") {
                value::default(port, "protocol", "TCP");
            }
        }
    }
    if spec["policyTypes"].as_array().is_none_or(Vec::is_empty) {
        let leaves = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
        let types = if leaves { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        value::set(spec, "policyTypes", types);
    }
}

fn check(check: &mut Check, policy: &Place<'_>) {
    let spec = policy.at("spec");
    check.selects(&spec.at("podSelector"));
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.at(direction).items() {
            for port in rule.at("ports").items() {
                one_port(check, &port);
            }
            for peer in rule.at(peers).items() {
                one_peer(check, &peer);
            }
        }
    }
    let types = spec.at("policyTypes");
    if types.len() > 2 {
        let detail = "may not specify more than two policyTypes";
        check.invalid(&types.path, types.value.clone(), detail);
    } else {
        for kind in types.items() {
            check.one_of(&kind.path, kind.text(), &["Egress", "Ingress"]);
        }
    }
}

fn one_port(check: &mut Check, place: &Place<'_>) {
    let protocol = place.at("protocol");
    if !protocol.is_empty() {
        check.one_of(&protocol.path, protocol.text(), &["SCTP", "TCP", "UDP"]);
    }
    let (port, end) = (place.at("port"), place.at("endPort"));
    match (port.value, end.number()) {
        (Value::Number(_), end_number) => {
            let number = port.number().unwrap_or_default();
            for message in names::port_number(number) {
                check.invalid(&port.path, number, &message);
            }
            if let Some(last) = end_number {
                if last < number {
                    check.invalid(&end.path, last, "must be greater than or equal to `port`");
                }
                for message in names::port_number(last) {
                    check.invalid(&end.path, last, &message);
                }
            }
        }
        (Value::String(name), end_number) => {
            if end_number.is_some() {
                let detail = "may not be specified when `port` is non-numeric";
                check.invalid(&end.path, end.value.clone(), detail);
            }
            check.errors.invalid_each(&port.path, name, names::port_name(name));
        }
        (_, Some(_)) => {
            let detail = "may not be specified when `port` is not specified";
            check.invalid(&end.path, end.value.clone(), detail);
        }
        _ => {}
    }
}

fn one_peer(check: &mut Check, peer: &Place<'_>) {
    let mut peers = 0;
    for field in ["podSelector", "namespaceSelector"] {
        let selector = peer.at(field);
        if selector.is_set() {
            peers += 1;
            check.selects(&selector);
        }
    }
    let block = peer.at("ipBlock");
    if block.is_set() {
        if peers > 0 {
            check.forbidden(&peer.path, "may not specify both ipBlock and another peer");
        }
        peers += 1;
        ip_block(check, &block);
    }
    if peers == 0 {
        check.required(&peer.path, "must specify a peer");
    }
}

fn ip_block(check: &mut Check, block: &Place<'_>) {
    let range = block.at("cidr");
    if range.is_empty() {
        return check.required(&range.path, "");
    }
    let Some(whole) = cidr(check, &range) else { return };
    for except in block.at("except").items() {
        let Some(part) = cidr(check, &except) else { continue };
        if !whole.contains(&part) || part.prefix_len() == whole.prefix_len() {
            let detail = "must be a strict subset of `cidr`";
            check.invalid(&except.path, except.text(), detail);
        }
    }
}

/// A range of addresses.
pub(super) fn cidr(check: &mut Check, place: &Place<'_>) -> Option<IpNet> {
    let parsed = place.text().parse().ok();
    if parsed.is_none() {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        check.invalid(&place.path, place.text(), detail);
    }
    parsed
}
