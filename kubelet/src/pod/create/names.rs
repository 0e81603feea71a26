//! How a pod finds names: its `/etc/hosts` and `/etc/resolv.conf`.

use std::net::IpAddr;

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::Pod;
use kontiki_api::Object;

use super::hostname;
use crate::{options::Options, pod::spec::PodExt};

/// The pod's `/etc/hosts`.
pub fn hosts_file(
    pod: &Pod,
    addresses: &[IpAddr],
    cluster_domain: &str,
    node_hosts: &str,
) -> String {
    let mut text = if pod.is_host_network() {
        format!("# Kubernetes-managed hosts file (host network).\n{node_hosts}")
    } else {
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n"
            .to_owned()
    };
    if !pod.is_host_network() {
        let host = hostname(pod);
        let subdomain = pod.pod_spec().subdomain.as_deref().filter(|domain| !domain.is_empty());
        for address in addresses {
            match subdomain {
                Some(subdomain) => text.push_str(&format!(
                    "{address}\t{host}.{subdomain}.{}.svc.{cluster_domain}\t{host}\n",
                    pod.namespace()
                )),
                None => text.push_str(&format!("{address}\t{host}\n")),
            }
        }
    }
    let aliases = pod.pod_spec().host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

/// What a pod's `/etc/resolv.conf` says. `node` is the node's own.
pub fn dns_config(options: &Options, pod: &Pod, node: &cri::DnsConfig) -> cri::DnsConfig {
    let spec = pod.pod_spec();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster_first = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pod.is_host_network(),
        _ => false,
    };
    let mut dns = if policy == "None" {
        cri::DnsConfig::default()
    } else if cluster_first && !options.cluster_dns.is_empty() {
        let domain = &options.cluster_domain;
        let mut searches = vec![
            format!("{}.svc.{domain}", pod.namespace()),
            format!("svc.{domain}"),
            domain.clone(),
        ];
        searches.extend(node.searches.clone());
        cri::DnsConfig {
            servers: options.cluster_dns.iter().map(IpAddr::to_string).collect(),
            searches,
            options: vec!["ndots:5".to_owned()],
        }
    } else {
        node.clone()
    };
    let more = spec.dns_config.clone().unwrap_or_default();
    dns.servers.extend(more.nameservers.into_iter().flatten());
    dns.searches.extend(more.searches.into_iter().flatten());
    for option in more.options.into_iter().flatten() {
        let name = option.name.unwrap_or_default();
        dns.options.retain(|known| known.split(':').next() != Some(name.as_str()));
        dns.options
            .push(option.value.map_or_else(|| name.clone(), |value| format!("{name}:{value}")));
    }
    dns
}

/// Reads a `resolv.conf`.
pub fn read_resolv_conf(text: &str) -> cri::DnsConfig {
    let mut dns = cri::DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => dns.searches = words.map(str::to_owned).collect(),
            Some("options") => dns.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use kontiki_base::tls::{Identity, Roots};

    fn pod(spec: &str) -> Pod {
        let json = format!(r#"{{"metadata":{{"name":"web-1","namespace":"shop"}},"spec":{spec}}}"#);
        Pod::decode(json.as_bytes()).unwrap()
    }

    fn resolv_conf(spec: &str) -> String {
        let serving = Identity { chain_pem: String::new(), key_pem: String::new() };
        let roots = Roots { pem: String::new() };
        let mut options = Options::new("n1", Vec::new(), "/data".into(), serving, roots);
        options.cluster_dns = vec!["10.43.0.10".parse().unwrap()];
        let node = read_resolv_conf("# the node's\nnameserver 192.0.2.53\nsearch example.org\n");
        let dns = dns_config(&options, &pod(spec), &node);
        format!(
            "{} | {} | {}",
            dns.servers.join(" "),
            dns.searches.join(" "),
            dns.options.join(" ")
        )
    }

    #[test]
    fn policies_choose_the_name_servers() {
        let cluster = "10.43.0.10 | shop.svc.cluster.local svc.cluster.local cluster.local example.org | ndots:5";
        let node = "192.0.2.53 | example.org | ";
        for (spec, expected) in [
            (r#"{"containers":[]}"#, cluster),
            (r#"{"containers":[],"hostNetwork":true}"#, node),
            (
                r#"{"containers":[],"hostNetwork":true,"dnsPolicy":"ClusterFirstWithHostNet"}"#,
                cluster,
            ),
            (r#"{"containers":[],"dnsPolicy":"Default"}"#, node),
            (
                r#"{"containers":[],"dnsPolicy":"None","dnsConfig":{"nameservers":["1.1.1.1"],"searches":["x"],"options":[{"name":"ndots","value":"2"}]}}"#,
                "1.1.1.1 | x | ndots:2",
            ),
        ] {
            assert_eq!(resolv_conf(spec), expected, "{spec}");
        }
    }

    #[test]
    fn a_pod_knows_itself_by_name() {
        let addresses = ["10.42.0.7".parse().unwrap()];
        let pod = pod(
            r#"{"containers":[],"subdomain":"db","hostAliases":[{"ip":"192.0.2.9","hostnames":["a","b"]}]}"#,
        );
        let text = hosts_file(&pod, &addresses, "cluster.local", "");
        expect![[r#"
            10.42.0.7	web-1.db.shop.svc.cluster.local	web-1

            # Entries added by HostAliases.
            192.0.2.9	a	b
        "#]]
        .assert_eq(text.split_once("ip6-allrouters\n").unwrap().1);
    }
}
