//! Endpoints: addresses behind a Service, as they were before EndpointSlices.

use kontiki_api::names;
use serde_json::Value;

use super::{
    check::Check,
    declared::{Declared, PLAIN},
    place::Place,
    value,
};

/// The strategy of `endpoints`.
pub(super) static STRATEGY: Declared =
    Declared { defaults, check, creates_on_update: true, ..PLAIN };

fn defaults(object: &mut Value) {
    for subset in value::items(object, "subsets") {
        for port in value::items(subset, "ports") {
            value::default(port, "protocol", "TCP");
        }
    }
}

fn check(check: &mut Check, endpoints: &Place<'_>) {
    for subset in endpoints.at("subsets").items() {
        let (ready, unready) = (subset.at("addresses"), subset.at("notReadyAddresses"));
        if ready.is_empty() && unready.is_empty() {
            let detail = "must specify `addresses` or `notReadyAddresses`";
            check.required(&subset.path, detail);
        }
        for address in ready.items().chain(unready.items()) {
            one_address(check, &address);
        }
        let named = subset.at("ports").len() > 1;
        for port in subset.at("ports").items() {
            one_port(check, &port, named);
        }
    }
}

fn one_address(check: &mut Check, address: &Place<'_>) {
    let ip = address.at("ip");
    let wrong = names::ip_address(ip.text());
    let malformed = !wrong.is_empty();
    check.errors.invalid_each(&ip.path, ip.text(), wrong);
    let hostname = address.at("hostname");
    check.optional_named(&hostname.path, Some(hostname.text()), names::dns1123_label);
    let node = address.at("nodeName");
    check.optional_named(&node.path, Some(node.text()), names::dns1123_subdomain);
    if malformed {
        return;
    }
    let Ok(parsed) = ip.text().parse::<std::net::IpAddr>() else { return };
    let refused = if parsed.is_unspecified() {
        Some(format!("may not be unspecified ({})", ip.text()))
    } else if parsed.is_loopback() {
        Some("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned())
    } else if link_local(parsed) {
        Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned())
    } else {
        None
    };
    if let Some(detail) = refused {
        check.invalid(&ip.path, ip.text(), &detail);
    }
}

fn link_local(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(four) => four.is_link_local(),
        std::net::IpAddr::V6(six) => (six.segments()[0] & 0xffc0) == 0xfe80,
    }
}

fn one_port(check: &mut Check, port: &Place<'_>, named: bool) {
    let name = port.at("name");
    if named && name.is_empty() {
        check.required(&name.path, "");
    } else {
        check.optional_named(&name.path, Some(name.text()), names::dns1123_label);
    }
    let number = port.at("port");
    for message in names::port_number(number.number().unwrap_or_default()) {
        check.invalid(&number.path, number.value.clone(), &message);
    }
    check.chosen(&port.at("protocol"), &["SCTP", "TCP", "UDP"]);
}
