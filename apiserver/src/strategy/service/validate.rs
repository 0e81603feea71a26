//! What a Service may look like, and what of it may change.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use kontiki_api::{
    field::{Error, Path},
    k8s_openapi::{
        api::core::v1::{Service, ServicePort, ServiceSpec},
        apimachinery::pkg::util::intstr::IntOrString,
    },
    names,
};

use crate::strategy::check::{self, Check};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// Checks a Service.
pub(super) fn service(service: &Service, check: &mut Check) {
    let at = Path::new("spec");
    let spec = check::or_default(service.spec.as_ref());
    let kind = spec.type_.as_deref().unwrap_or_default();
    let headless = spec.cluster_ip.as_deref() == Some("None");
    if kind.is_empty() {
        check.required(&at.child("type"), "");
    } else {
        check.one_of(&at.child("type"), kind, TYPES);
    }
    if kind == "ExternalName" {
        external_name(check, &at, &spec);
    }
    let listed = spec.ports.as_deref().unwrap_or_default();
    if listed.is_empty() && !headless && kind != "ExternalName" {
        check.required(&at.child("ports"), "");
    }
    ports(check, &at.child("ports"), listed, kind);
    check.labels(&at.child("selector"), spec.selector.as_ref());
    affinity(check, &at, &spec);
    if kind != "ExternalName" {
        addresses(check, &at, &spec);
    }
    for (index, address) in spec.external_ips.iter().flatten().enumerate() {
        let at = at.child("externalIPs").index(index);
        check.errors.invalid_each(&at, address, names::ip_address(address));
    }
    traffic(check, &at, &spec, kind);
    balancer(check, &at, &spec, kind == "LoadBalancer");
}

/// What only load balancers have.
fn balancer(check: &mut Check, at: &Path, spec: &ServiceSpec, is_one: bool) {
    let detail = "may only be used when `spec.type` is 'LoadBalancer'";
    if let Some(class) = spec.load_balancer_class.as_deref() {
        let at = at.child("loadBalancerClass");
        if is_one {
            check.errors.invalid_each(&at, class, names::qualified_name(class));
        } else {
            check.forbidden(&at, detail);
        }
    }
    let allocates = at.child("allocateLoadBalancerNodePorts");
    match (is_one, spec.allocate_load_balancer_node_ports) {
        (true, None) => check.required(&allocates, ""),
        (false, Some(_)) => check.forbidden(&allocates, detail),
        _ => {}
    }
    // Upstream spells this path as its field in Go.
    let ranges = at.child("LoadBalancerSourceRanges");
    for (index, range) in spec.load_balancer_source_ranges.iter().flatten().enumerate() {
        if index == 0 && !is_one {
            check.forbidden(&ranges, "may only be used when `type` is 'LoadBalancer'");
        }
        let range = range.trim();
        if range.parse::<IpNet>().is_err() {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            check.invalid(&ranges.index(index), range, detail);
        }
    }
}

fn external_name(check: &mut Check, at: &Path, spec: &ServiceSpec) {
    if spec.cluster_ip.as_deref().is_some_and(|address| !address.is_empty()) {
        let detail = "may not be set for ExternalName services";
        check.forbidden(&at.child("clusterIPs"), detail);
    }
    let name = spec.external_name.as_deref().unwrap_or_default();
    // Upper case and a final dot are fine in DNS.
    let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
    let wrong = names::dns1123_subdomain(&name);
    if name.is_empty() {
        check.required(&at.child("externalName"), "");
    } else {
        check.errors.invalid_each(&at.child("externalName"), &name, wrong);
    }
}

fn ports(check: &mut Check, at: &Path, ports: &[ServicePort], kind: &str) {
    let mut seen_names = BTreeSet::new();
    let mut seen_ports = BTreeSet::new();
    let mut seen_node_ports = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = at.index(index);
        one_port(check, &at, port, ports.len() > 1);
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty())
            && !seen_names.insert(name)
        {
            check.push(Error::duplicate(&at.child("name"), name));
        }
        if !seen_ports.insert((protocol, port.port)) {
            let value = serde_json::json!({"protocol": protocol, "port": port.port});
            check.push(Error::duplicate(&at, value));
        }
        if let Some(number) = port.node_port.filter(|number| *number != 0) {
            if matches!(kind, "ClusterIP" | "ExternalName") {
                let detail = format!("may not be used when `type` is '{kind}'");
                check.forbidden(&at.child("nodePort"), &detail);
            }
            if !seen_node_ports.insert((protocol, number)) {
                check.push(Error::duplicate(&at.child("nodePort"), number));
            }
        }
    }
}

fn one_port(check: &mut Check, at: &Path, port: &ServicePort, named: bool) {
    let name = port.name.as_deref().unwrap_or_default();
    if named && name.is_empty() {
        check.required(&at.child("name"), "");
    }
    check.optional_named(&at.child("name"), Some(name), names::dns1123_label);
    check.port(&at.child("port"), port.port);
    let protocol = port.protocol.as_deref().unwrap_or_default();
    if protocol.is_empty() {
        check.required(&at.child("protocol"), "");
    } else {
        check.one_of(&at.child("protocol"), protocol, PROTOCOLS);
    }
    let target_at = at.child("targetPort");
    match &port.target_port {
        Some(IntOrString::Int(number)) => {
            check.port(&target_at, *number);
        }
        Some(IntOrString::String(name)) => {
            check.errors.invalid_each(&target_at, name, names::port_name(name));
        }
        None => {}
    }
    check.optional_named(
        &at.child("appProtocol"),
        port.app_protocol.as_deref(),
        names::qualified_name,
    );
}

fn affinity(check: &mut Check, at: &Path, spec: &ServiceSpec) {
    let affinity = spec.session_affinity.as_deref().unwrap_or_default();
    if affinity.is_empty() {
        check.required(&at.child("sessionAffinity"), "");
    } else {
        check.one_of(&at.child("sessionAffinity"), affinity, &["ClientIP", "None"]);
    }
    let config = spec.session_affinity_config.clone().unwrap_or_default();
    let seconds = config.client_ip.and_then(|client| client.timeout_seconds);
    if let Some(seconds) = seconds.filter(|seconds| !(1..=86_400).contains(seconds)) {
        let at = at.child("sessionAffinityConfig").child("clientIP").child("timeoutSeconds");
        let detail = "must be greater than 0 and less than 86400";
        check.invalid(&at, seconds, detail);
    }
}

fn addresses(check: &mut Check, at: &Path, spec: &ServiceSpec) {
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    let first = spec.cluster_ip.as_deref().unwrap_or_default();
    if let Some(listed) = all.first()
        && listed != first
    {
        let detail = "element [0] must match clusterIP";
        check.invalid(&at.child("clusterIPs"), all.to_vec(), detail);
    }
    let headless = first == "None";
    for (index, address) in all.iter().enumerate() {
        if headless && index == 0 {
            if all.len() > 1 {
                let detail = "must not contain any other value when 'None' is set";
                check.invalid(&at.child("clusterIPs"), all.to_vec(), detail);
            }
            continue;
        }
        let at = at.child("clusterIPs").index(index);
        check.errors.invalid_each(&at, address, names::ip_address(address));
    }
    families(check, at, spec, all);
}

fn families(check: &mut Check, at: &Path, spec: &ServiceSpec, addresses: &[String]) {
    let families = spec.ip_families.as_deref().unwrap_or_default();
    let at_families = at.child("ipFamilies");
    let mut seen = BTreeSet::new();
    for (index, family) in families.iter().enumerate() {
        check.one_of(&at_families.index(index), family, &["IPv4", "IPv6"]);
        if !seen.insert(family) {
            check.push(Error::duplicate(&at_families.index(index), family.as_str()));
        }
        let address = addresses.get(index).and_then(|address| address.parse::<IpAddr>().ok());
        if let Some(address) = address
            && (family == "IPv4") != address.is_ipv4()
        {
            let at = at.child("clusterIPs").index(index);
            let detail =
                format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            check.invalid(&at, address.to_string(), &detail);
        }
    }
    if let Some(policy) = spec.ip_family_policy.as_deref() {
        let known = &["PreferDualStack", "RequireDualStack", "SingleStack"];
        check.one_of(&at.child("ipFamilyPolicy"), policy, known);
    }
}

fn traffic(check: &mut Check, at: &Path, spec: &ServiceSpec, kind: &str) {
    let external = spec.external_traffic_policy.as_deref().unwrap_or_default();
    let at_external = at.child("externalTrafficPolicy");
    let outside = matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && spec.external_ips.iter().flatten().next().is_some());
    match (outside, external.is_empty()) {
        (true, true) => check.required(&at_external, ""),
        (true, false) => check.one_of(&at_external, external, &["Cluster", "Local"]),
        (false, false) => {
            let detail = "may only be set for externally-accessible services";
            check.invalid(&at_external, external, detail);
        }
        (false, true) => {}
    }
    let health = spec.health_check_node_port.unwrap_or_default();
    let at_health = at.child("healthCheckNodePort");
    match (has_health_port(spec), health) {
        (false, 0) => {}
        (false, port) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and \
                          `externalTrafficPolicy` is 'Local'";
            check.invalid(&at_health, port, detail);
        }
        (true, 0) => check.required(&at_health, ""),
        (true, port) => {
            check.port(&at_health, port);
        }
    }
    let internal = spec.internal_traffic_policy.as_deref().unwrap_or_default();
    if kind != "ExternalName" && !kind.is_empty() {
        let at = at.child("internalTrafficPolicy");
        if internal.is_empty() {
            check.required(&at, "");
        } else {
            check.one_of(&at, internal, &["Cluster", "Local"]);
        }
    }
}

fn has_health_port(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("LoadBalancer")
        && spec.external_traffic_policy.as_deref() == Some("Local")
}

/// Checks what of a load balancer may not change.
fn balancer_update(check: &mut Check, at: &Path, new: &ServiceSpec, old: &ServiceSpec) {
    let is_one = |spec: &ServiceSpec| spec.type_.as_deref() == Some("LoadBalancer");
    if is_one(new) && is_one(old) && new.load_balancer_class != old.load_balancer_class {
        let class = new.load_balancer_class.as_deref().unwrap_or_default();
        check.invalid(&at.child("loadBalancerClass"), class, "may not change once set");
    }
    let moved = new.health_check_node_port != old.health_check_node_port;
    if has_health_port(new) && has_health_port(old) && moved {
        check.forbidden(&at.child("healthCheckNodePort"), "field is immutable");
    }
}

/// Checks what may not change.
pub(super) fn update(new: &Service, old: &Service, check: &mut Check) {
    let at = Path::new("spec");
    let new = check::or_default(new.spec.as_ref());
    let old = check::or_default(old.spec.as_ref());
    balancer_update(check, &at, &new, &old);
    let external = |spec: &ServiceSpec| spec.type_.as_deref() == Some("ExternalName");
    if external(&new) || external(&old) {
        return;
    }
    let before = old.cluster_ips.as_deref().unwrap_or_default();
    let after = new.cluster_ips.as_deref().unwrap_or_default();
    match (before.first(), after.first()) {
        (Some(_), None) => {
            let detail = "primary clusterIP can not be unset";
            check.invalid(&at.child("clusterIPs").index(0), after.to_vec(), detail);
        }
        (Some(before), Some(first)) if before != first => {
            let detail = "may not change once set";
            check.invalid(&at.child("clusterIPs").index(0), after.to_vec(), detail);
        }
        _ => {}
    }
    let (before, after) = (
        old.ip_families.as_deref().unwrap_or_default(),
        new.ip_families.as_deref().unwrap_or_default(),
    );
    if let (Some(before), Some(first)) = (before.first(), after.first())
        && before != first
    {
        let detail = "may not change once set";
        check.invalid(&at.child("ipFamilies").index(0), check::as_value(&after), detail);
    }
}
