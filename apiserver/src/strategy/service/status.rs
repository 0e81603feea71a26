//! Where a Service's load balancer is reached.

use std::net::IpAddr;

use kontiki_api::names;

use crate::strategy::{check::Check, place::Place};

/// Checks what is written as the status.
pub(super) fn validate(check: &mut Check, service: &Place<'_>) {
    let ingress = service.at("status").at("loadBalancer").at("ingress");
    if ingress.is_empty() {
        return;
    }
    if service.at("spec").at("type").text() != "LoadBalancer" {
        let detail = "may only be used when `spec.type` is 'LoadBalancer'";
        return check.forbidden(&ingress.path, detail);
    }
    for one in ingress.items() {
        point(check, &one);
    }
}

fn point(check: &mut Check, point: &Place<'_>) {
    let (ip, mode, name) = (point.at("ip"), point.at("ipMode"), point.at("hostname"));
    if !ip.is_empty() {
        check.errors.invalid_each(&ip.path, ip.text(), names::ip_address(ip.text()));
    }
    match (ip.is_empty(), mode.is_empty()) {
        (false, true) => check.required(&mode.path, "must be specified when `ip` is set"),
        (true, false) => check.forbidden(&mode.path, "may not be specified when `ip` is not set"),
        (false, false) => check.one_of(&mode.path, mode.text(), &["Proxy", "VIP"]),
        (true, true) => {}
    }
    if !name.is_empty() {
        check.errors.invalid_each(&name.path, name.text(), names::dns1123_subdomain(name.text()));
        if name.text().parse::<IpAddr>().is_ok() {
            let detail = "must be a DNS name, not an IP address";
            check.invalid(&name.path, name.text(), detail);
        }
    }
}
