//! Which addresses and ports a Service gets, keeps and gives back.

use std::{net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;
use kontiki_api::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::{
    registry::Allocator,
    strategy::value::{child, default, is_unset, items, set, text, unset},
};

/// How many random picks are tried before every number is.
const PICKS: u32 = 32;

/// The claim on an address.
pub(in crate::strategy) fn address_claim(address: IpAddr) -> String {
    format!("clusterips/{address}")
}

/// The claim on a node port.
pub(super) fn port_claim(port: u64) -> String {
    format!("nodeports/{port}")
}

/// The addresses that a Service holds.
pub(super) fn addresses(spec: &Value) -> Vec<IpAddr> {
    if text(spec, "type") == "ExternalName" {
        return Vec::new();
    }
    let listed = spec["clusterIPs"].as_array().into_iter().flatten();
    listed.filter_map(|address| address.as_str()?.parse().ok()).collect()
}

fn wants_address(spec: &Value) -> bool {
    matches!(text(spec, "type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn wants_ports(spec: &Value) -> bool {
    match text(spec, "type") {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Whether who is outside the cluster may reach the Service, so that a policy for them makes sense.
pub(super) fn is_reached_from_outside(spec: &Value) -> bool {
    let named = || spec["externalIPs"].as_array().is_some_and(|list| !list.is_empty());
    may_have_ports(spec) || (text(spec, "type") == "ClusterIP" && named())
}

/// Whether load balancers ask each node for the Service's health, at a port of its own.
pub(super) fn wants_health_port(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

/// The port that load balancers ask at.
pub(super) fn health_port(spec: &Value) -> Option<u64> {
    spec["healthCheckNodePort"].as_u64().filter(|port| *port != 0)
}

fn may_have_ports(spec: &Value) -> bool {
    matches!(text(spec, "type"), "NodePort" | "LoadBalancer")
}

/// What an update leaves out but the Service already has, it keeps.
pub(super) fn keep_given(object: &mut Value, old: &Value) {
    let before = &old["spec"];
    let Some(spec) = child(object, "spec") else { return };
    if wants_address(spec) && wants_address(before) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let missing = is_unset(spec, field) || spec[field] == json!([]);
            if missing && let Some(given) = before.get(field) {
                set(spec, field, given.clone());
            }
        }
    }
    if wants_health_port(spec)
        && wants_health_port(before)
        && health_port(spec).is_none()
        && let Some(given) = health_port(before)
    {
        set(spec, "healthCheckNodePort", given);
    }
    if wants_ports(spec) && may_have_ports(before) {
        let given: Vec<Value> = before["ports"].as_array().cloned().unwrap_or_default();
        let used: Vec<Value> = spec["ports"].as_array().cloned().unwrap_or_default();
        let used: Vec<&Value> = used.iter().map(|port| &port["nodePort"]).collect();
        for port in items(spec, "ports") {
            if !is_unset(port, "nodePort") {
                continue;
            }
            let same = given.iter().find(|known| {
                known["port"] == port["port"] && known["protocol"] == port["protocol"]
            });
            if let Some(number) = same.and_then(|known| known.get("nodePort"))
                && !used.contains(&number)
            {
                set(port, "nodePort", number.clone());
            }
        }
    }
}

/// What the new type cannot have and the update did not touch is given back.
pub(super) fn drop_unfit(object: &mut Value, old: &Value) {
    let before = old["spec"].clone();
    let Some(spec) = child(object, "spec") else { return };
    if wants_address(&before) && !wants_address(spec) && spec["clusterIPs"] == before["clusterIPs"]
    {
        for field in
            ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]
        {
            unset(spec, field);
        }
    }
    if may_have_ports(&before) && !may_have_ports(spec) {
        for port in items(spec, "ports") {
            let number = port["nodePort"].clone();
            let given = before["ports"].as_array().into_iter().flatten();
            if given.into_iter().any(|known| known["nodePort"] == number) {
                unset(port, "nodePort");
            }
        }
        if spec["externalTrafficPolicy"] == before["externalTrafficPolicy"]
            && !is_reached_from_outside(spec)
        {
            unset(spec, "externalTrafficPolicy");
        }
    }
    let untouched = |spec: &Value, field: &str| spec.get(field) == before.get(field);
    if wants_health_port(&before)
        && !wants_health_port(spec)
        && untouched(spec, "healthCheckNodePort")
    {
        unset(spec, "healthCheckNodePort");
    }
    if text(&before, "type") == "LoadBalancer" && text(spec, "type") != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if untouched(spec, field) {
                unset(spec, field);
            }
        }
    }
}

/// Fills in what the Service has not named.
pub(super) fn allocate(
    object: &mut Value,
    old: Option<&Value>,
    allocator: &dyn Allocator,
) -> Result<(), Errors> {
    let held = old.map(|old| addresses(&old["spec"])).unwrap_or_default();
    let held_ports: Vec<u64> = old.map(|old| node_ports(&old["spec"])).unwrap_or_default();
    let Some(spec) = child(object, "spec") else { return Ok(()) };
    if wants_address(spec) {
        families(spec, allocator.service_cidrs())?;
        if text(spec, "clusterIP") != "None" {
            give_addresses(spec, &held, allocator)?;
        }
    }
    if may_have_ports(spec) {
        give_ports(spec, &held_ports, allocator)?;
    }
    if wants_health_port(spec) {
        give_health_port(spec, &held_ports, allocator)?;
    }
    Ok(())
}

/// All ports of the nodes that a Service holds.
fn node_ports(spec: &Value) -> Vec<u64> {
    let ports = spec["ports"].as_array().into_iter().flatten();
    let named = ports.filter_map(|port| port["nodePort"].as_u64());
    named.chain(health_port(spec)).collect()
}

fn out_of_range(range: &RangeInclusive<u16>) -> String {
    let (first, last) = (range.start(), range.end());
    format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
}

fn give_health_port(
    spec: &mut Value,
    held: &[u64],
    allocator: &dyn Allocator,
) -> Result<(), Errors> {
    let range = allocator.node_ports();
    let at = Path::new("spec").child("healthCheckNodePort");
    let served: Vec<u64> = node_ports(&json!({ "ports": spec["ports"] }));
    let taken = |port: u64| served.contains(&port) || allocator.is_taken(&port_claim(port));
    match health_port(spec) {
        Some(port) if !range.contains(&u16::try_from(port).unwrap_or(0)) => {
            Err(Error::invalid(&at, port, out_of_range(&range)).into())
        }
        Some(port) if !held.contains(&port) && taken(port) => {
            Err(Error::invalid(&at, port, "provided port is already allocated").into())
        }
        Some(_) => Ok(()),
        None => {
            let free = |port: u64| (!taken(port)).then_some(port);
            let (first, last) = (u64::from(*range.start()), u64::from(*range.end()));
            let port = pick(first, last, allocator, free).ok_or_else(|| {
                internal(&at, "failed to allocate a HealthCheck NodePort: range is full")
            })?;
            set(spec, "healthCheckNodePort", port);
            Ok(())
        }
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Chooses the families: those asked for, those of the addresses given, or the cluster's first.
fn families(spec: &mut Value, cidrs: &[IpNet]) -> Result<(), Errors> {
    default(spec, "ipFamilyPolicy", "SingleStack");
    if text(spec, "ipFamilyPolicy") == "RequireDualStack" && cidrs.len() < 2 {
        let at = Path::new("spec").child("ipFamilyPolicy");
        let detail = "this cluster is not configured for dual-stack services";
        return Err(Error::invalid(&at, "RequireDualStack", detail).into());
    }
    let mut families: Vec<String> = spec["ipFamilies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|family| family.as_str().map(str::to_owned))
        .collect();
    if families.is_empty() {
        families = addresses(spec).into_iter().map(|ip| family(ip).to_owned()).collect();
    }
    let wanted = if text(spec, "ipFamilyPolicy") == "SingleStack" { 1 } else { cidrs.len() };
    for cidr in cidrs {
        let name = family(cidr.addr());
        if families.len() < wanted && !families.iter().any(|known| known == name) {
            families.push(name.to_owned());
        }
    }
    set(spec, "ipFamilies", families);
    Ok(())
}

fn give_addresses(
    spec: &mut Value,
    held: &[IpAddr],
    allocator: &dyn Allocator,
) -> Result<(), Errors> {
    let families: Vec<String> = spec["ipFamilies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|family| family.as_str().map(str::to_owned))
        .collect();
    let mut given = addresses(spec);
    let at = Path::new("spec").child("clusterIPs");
    for address in given.iter().filter(|address| !held.contains(address)) {
        if let Some(refused) = refusal(*address, allocator) {
            let detail = format!("failed to allocate IP {address}: {refused}");
            return Err(Error::invalid(&at, spec["clusterIPs"].clone(), detail).into());
        }
    }
    for name in families.iter().skip(given.len()) {
        let mut ranges = allocator.service_ranges();
        ranges.retain(|range| family(range.addr()) == *name);
        if ranges.is_empty() {
            let at = Path::new("spec").child("ipFamilies");
            let detail = "not configured on this cluster";
            return Err(Error::invalid(&at, families.clone(), detail).into());
        }
        let mut free = ranges.into_iter().filter_map(|range| free_address(range, allocator));
        let Some(address) = free.next() else {
            return Err(internal(&at, "failed to allocate a serviceIP: range is full"));
        };
        given.push(address);
    }
    if let Some(first) = given.first() {
        set(spec, "clusterIP", first.to_string());
        set(spec, "clusterIPs", given.iter().map(IpAddr::to_string).collect::<Vec<_>>());
    }
    Ok(())
}

fn internal(at: &Path, detail: &str) -> Errors {
    Error {
        kind: kontiki_api::field::ErrorType::Internal,
        field: at.clone(),
        value: Value::Null,
        detail: detail.to_owned(),
    }
    .into()
}

/// Why a named address cannot be had.
fn refusal(address: IpAddr, allocator: &dyn Allocator) -> Option<String> {
    let ranges = allocator.service_ranges();
    let fits = |range: &IpNet| range.contains(&address) && offset(*range, address) > 0;
    if !ranges.iter().any(fits) {
        return Some("the provided network does not match the current range".to_owned());
    }
    let taken = allocator.is_taken(&address_claim(address));
    taken.then(|| "provided IP is already allocated".to_owned())
}

fn offset(cidr: IpNet, address: IpAddr) -> u128 {
    number(address).saturating_sub(number(cidr.network()))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn at_offset(cidr: IpNet, offset: u64) -> Option<IpAddr> {
    let wanted = number(cidr.network()) + u128::from(offset);
    match cidr {
        IpNet::V4(_) => u32::try_from(wanted).ok().map(|bits| IpAddr::V4(bits.into())),
        IpNet::V6(_) => Some(IpAddr::V6(wanted.into())),
    }
}

/// A free address, at random from the upper band so that the lower one stays for addresses that
/// people name.
fn free_address(cidr: IpNet, allocator: &dyn Allocator) -> Option<IpAddr> {
    let host_bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len()).min(16);
    let size = 1_u64 << host_bits;
    // Neither the network's own address nor, for IPv4, the broadcast address.
    let last = if cidr.addr().is_ipv4() { size.saturating_sub(2) } else { size - 1 };
    let reserved = (size / 16).clamp(16, 256).min(last / 2);
    let free = |offset: u64| {
        let address = at_offset(cidr, offset)?;
        (!allocator.is_taken(&address_claim(address))).then_some(address)
    };
    pick(reserved + 1, last, allocator, free).or_else(|| (1..=reserved).find_map(free))
}

/// Something free between two bounds: a few random picks, then all in turn.
fn pick<T>(
    first: u64,
    last: u64,
    allocator: &dyn Allocator,
    free: impl Fn(u64) -> Option<T>,
) -> Option<T> {
    let size = (last + 1).checked_sub(first).filter(|size| *size > 0)?;
    let random = (0..PICKS).find_map(|_| free(first + allocator.random_below(size)));
    random.or_else(|| {
        let start = allocator.random_below(size);
        (0..size).find_map(|step| free(first + (start + step) % size))
    })
}

fn give_ports(spec: &mut Value, held: &[u64], allocator: &dyn Allocator) -> Result<(), Errors> {
    let range = allocator.node_ports();
    let (first, last) = (u64::from(*range.start()), u64::from(*range.end()));
    let wanted = wants_ports(spec);
    let mut own: Vec<(u64, Value)> = Vec::new();
    let at = Path::new("spec").child("ports");
    for (index, port) in items(spec, "ports").enumerate() {
        let at = at.index(index).child("nodePort");
        if let Some(number) = port["nodePort"].as_u64().filter(|number| *number != 0) {
            let fits = (first..=last).contains(&number);
            if !fits {
                return Err(Error::invalid(&at, number, out_of_range(&range)).into());
            }
            let mine = held.contains(&number) || own.iter().any(|(known, _)| *known == number);
            if !mine && allocator.is_taken(&port_claim(number)) {
                let detail = "provided port is already allocated";
                return Err(Error::invalid(&at, number, detail).into());
            }
            own.push((number, port["port"].clone()));
        }
    }
    if !wanted {
        return Ok(());
    }
    for port in items(spec, "ports") {
        if !is_unset(port, "nodePort") {
            continue;
        }
        // The other protocol of the same port shares its number.
        let shared = own.iter().find(|(_, known)| *known == port["port"]);
        let number = match shared {
            Some((number, _)) => *number,
            None => {
                let free = |number: u64| {
                    let taken = allocator.is_taken(&port_claim(number))
                        || own.iter().any(|(known, _)| *known == number);
                    (!taken).then_some(number)
                };
                pick(first, last, allocator, free)
                    .ok_or_else(|| internal(&at, "failed to allocate a nodePort: range is full"))?
            }
        };
        own.push((number, port["port"].clone()));
        set(port, "nodePort", number);
    }
    Ok(())
}
