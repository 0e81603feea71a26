//! Routes to the pods of other nodes: their range, by way of their node's address.
//!
//! Ours carry a protocol number of their own, so that a node that left, or an older process of
//! ours, leaves no route that nobody would ever remove.

use std::{collections::BTreeMap, fmt::Write, net::IpAddr};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use serde::Deserialize;

use crate::{
    command::{self, Error},
    plan::Family,
};

/// Marks a route as ours (`ip route show proto 107`). The number is used by no routing daemon.
const PROTOCOL: &str = "107";

/// Where each range of pods is.
pub type Routes = BTreeMap<IpNet, IpAddr>;

/// The routes that node `own` needs.
pub fn desired<'a>(nodes: impl IntoIterator<Item = &'a Node>, own: &str) -> Routes {
    let others = nodes.into_iter().filter(|node| node.metadata.name.as_deref() != Some(own));
    let routes = others.flat_map(|node| {
        let addresses = internal_addresses(node);
        pod_ranges(node).into_iter().filter_map(move |range| {
            let family = Family::of(range.addr());
            let via = addresses.iter().find(|address| Family::of(**address) == family)?;
            Some((range, *via))
        })
    });
    routes.collect()
}

/// The addresses by which other nodes reach a node.
pub fn internal_addresses(node: &Node) -> Vec<IpAddr> {
    let status = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal = status.filter(|address| address.type_ == "InternalIP");
    internal.filter_map(|address| address.address.parse().ok()).collect()
}

/// The ranges of a node's pods.
pub fn pod_ranges(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let many = spec.pod_cidrs.iter().flatten();
    let one = spec.pod_cidr.iter().filter(|_| spec.pod_cidrs.as_ref().is_none_or(Vec::is_empty));
    many.chain(one).filter_map(|text| text.parse().ok()).collect()
}

/// The lines for `ip -batch` that lead from `current` to `desired`.
fn batch(current: &Routes, desired: &Routes, family: Family) -> String {
    let is_ours = |range: &&IpNet| Family::of(range.addr()) == family;
    let mut text = String::new();
    for range in current.keys().filter(is_ours).filter(|range| !desired.contains_key(range)) {
        let _ = writeln!(text, "route del {range} proto {PROTOCOL}");
    }
    for range in desired.keys().filter(is_ours) {
        let via = desired[range];
        if current.get(range) != Some(&via) {
            let _ = writeln!(text, "route replace {range} via {via} proto {PROTOCOL}");
        }
    }
    text
}

#[derive(Deserialize)]
struct KernelRoute {
    dst: String,
    gateway: Option<IpAddr>,
}

fn parse(json: &str) -> Routes {
    let routes: Vec<KernelRoute> = serde_json::from_str(json).unwrap_or_default();
    let route = |route: KernelRoute| {
        // A single address is printed without its length.
        let range =
            route.dst.parse().ok().or_else(|| Some(IpNet::from(route.dst.parse::<IpAddr>().ok()?)));
        Some((range?, route.gateway?))
    };
    routes.into_iter().filter_map(route).collect()
}

/// Makes the kernel's routes of ours the desired ones.
pub async fn apply(desired: &Routes) -> Result<(), Error> {
    for (family, flag) in [(Family::V4, "-4"), (Family::V6, "-6")] {
        let listed =
            command::run("ip", &[flag, "-j", "route", "show", "proto", PROTOCOL], "").await?;
        let text = batch(&parse(&listed), desired, family);
        if !text.is_empty() {
            command::run("ip", &[flag, "-force", "-batch", "-"], &text).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kontiki_api::typed::Object;

    use super::*;

    fn node(name: &str, ranges: &[&str], addresses: &[&str]) -> Node {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|address| serde_json::json!({"type": "InternalIP", "address": address}))
            .collect();
        Node::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "spec": {"podCIDR": ranges.first(), "podCIDRs": ranges},
            "status": {"addresses": addresses},
        }))
        .expect("a Node")
    }

    #[test]
    fn other_nodes_ranges_go_by_way_of_their_addresses() {
        let nodes = [
            node("n1", &["10.42.0.0/24"], &["10.99.0.11"]),
            node("n2", &["10.42.1.0/24", "fd42:1::/64"], &["10.99.0.12", "fd99::12"]),
            node("n3", &["10.42.2.0/24"], &[]),
            node("n4", &[], &["10.99.0.14"]),
        ];
        let expected: Vec<(IpNet, IpAddr)> = vec![
            ("10.42.1.0/24".parse().unwrap(), "10.99.0.12".parse().unwrap()),
            ("fd42:1::/64".parse().unwrap(), "fd99::12".parse().unwrap()),
        ];
        assert_eq!(desired(&nodes, "n1").into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_differences_are_written() {
        let current = parse(
            r#"[{"dst":"10.42.1.0/24","gateway":"10.99.0.12","dev":"eth0","flags":[]},
                {"dst":"10.42.3.0/24","gateway":"10.99.0.13","dev":"eth0","flags":[]},
                {"dst":"10.42.4.1","gateway":"10.99.0.13","dev":"eth0","flags":[]}]"#,
        );
        let desired: Routes = [
            ("10.42.1.0/24".parse().unwrap(), "10.99.0.12".parse().unwrap()),
            ("10.42.2.0/24".parse().unwrap(), "10.99.0.13".parse().unwrap()),
            ("10.42.3.0/24".parse().unwrap(), "10.99.0.14".parse().unwrap()),
        ]
        .into();
        let text = batch(&current, &desired, Family::V4);
        assert_eq!(
            text,
            "route del 10.42.4.1/32 proto 107\n\
             route replace 10.42.2.0/24 via 10.99.0.13 proto 107\n\
             route replace 10.42.3.0/24 via 10.99.0.14 proto 107\n"
        );
        assert_eq!(batch(&desired, &desired, Family::V4), "");
        assert_eq!(batch(&desired, &desired, Family::V6), "");
    }
}
