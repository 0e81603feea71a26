//! Addresses, ranges and names of hosts.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket},
    str::FromStr,
};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PortRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl Default for PortRange {
    fn default() -> PortRange {
        PortRange { first: 30000, last: 32767 }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<PortRange, String> {
        let ends = text.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match ends {
            Some((first, last)) if 0 < first && first <= last => Ok(PortRange { first, last }),
            _ => Err(format!("{text:?} is no range of ports as in 30000-32767")),
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<PortRange, String> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> String {
        range.to_string()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A list of ranges has one per family, at most two.
pub(super) fn check_families(flag: &str, cidrs: &[IpNet]) -> Result<()> {
    for (family, of_family) in [
        ("IPv4", cidrs.iter().filter(|cidr| cidr.addr().is_ipv4()).count()),
        ("IPv6", cidrs.iter().filter(|cidr| cidr.addr().is_ipv6()).count()),
    ] {
        ensure!(of_family < 2, "{flag} has two ranges of {family}; give one per family");
    }
    Ok(())
}

/// The n-th address of a range, counting from its network address. Ranges too small for it give
/// their last.
pub(crate) fn nth_address(cidr: &IpNet, n: u32) -> IpAddr {
    match cidr {
        IpNet::V4(cidr) => {
            let last = u32::from(cidr.broadcast());
            IpAddr::V4(u32::from(cidr.network()).saturating_add(n).min(last).into())
        }
        IpNet::V6(cidr) => {
            let last = u128::from(cidr.broadcast());
            IpAddr::V6(u128::from(cidr.network()).saturating_add(n.into()).min(last).into())
        }
    }
}

/// This host's address on the way to `peer`, or on its default route. No packet is sent.
pub(crate) fn own_address(peer: Option<&str>) -> Result<IpAddr> {
    // A documentation address (RFC 5737): routed by default routes only.
    const ELSEWHERE: &str = "198.51.100.1:9";
    let target = match peer {
        Some(peer) => resolve(peer, super::API_PORT)?,
        None => ELSEWHERE.parse().expect("an address"),
    };
    let any: SocketAddr =
        if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let address = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(target)?;
        socket.local_addr()
    });
    address.map(|address| address.ip()).context(
        "cannot find this host's own address, it has no default route; name it with \
         --advertise-address (a server) or --node-ip (an agent)",
    )
}

/// The first address of `HOST[:PORT]`.
pub(crate) fn resolve(host: &str, default_port: u16) -> Result<SocketAddr> {
    let with_port = with_port(host, default_port);
    with_port
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .with_context(|| format!("cannot resolve {host:?}"))
}

/// `HOST:PORT` of what may lack the port or come as a URL.
pub(crate) fn with_port(host: &str, default_port: u16) -> String {
    let host = host.strip_prefix("https://").unwrap_or(host).trim_end_matches('/');
    if let Ok(address) = host.parse::<IpAddr>() {
        return SocketAddr::new(address, default_port).to_string();
    }
    match host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        _ => format!("{host}:{default_port}"),
    }
}

/// The host's name in lower case.
pub(super) fn hostname() -> Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("cannot read the hostname; name this node with --node-name")?;
    Ok(name.trim().to_ascii_lowercase())
}

/// RFC 1123 subdomains, which names of nodes are.
pub(crate) fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric());
        edge(label.bytes().next())
            && edge(label.bytes().last())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_get_the_default_port_when_they_have_none() {
        let cases = [
            ("10.0.0.1", "10.0.0.1:6443"),
            ("10.0.0.1:7", "10.0.0.1:7"),
            ("https://a.example:7/", "a.example:7"),
            ("a.example", "a.example:6443"),
            ("fd00::1", "[fd00::1]:6443"),
            ("[fd00::1]:7", "[fd00::1]:7"),
        ];
        for (host, expected) in cases {
            assert_eq!(with_port(host, 6443), expected);
        }
    }

    #[test]
    fn addresses_are_counted_within_their_range() {
        let nth = |cidr: &str, n| nth_address(&cidr.parse().unwrap(), n).to_string();
        assert_eq!(nth("10.43.0.0/16", 10), "10.43.0.10");
        assert_eq!(nth("10.43.0.0/30", 10), "10.43.0.3");
        assert_eq!(nth("fd00::/108", 1), "fd00::1");
    }

    #[test]
    fn names_of_nodes_are_subdomains() {
        for name in ["a", "n1.example", "0-a"] {
            assert!(is_subdomain(name), "{name}");
        }
        for name in ["", "A", "-a", "a-", "a..b", "a_b"] {
            assert!(!is_subdomain(name), "{name}");
        }
    }

    #[test]
    fn a_range_of_ports_is_ordered() {
        assert_eq!("1-2".parse(), Ok(PortRange { first: 1, last: 2 }));
        for text in ["2-1", "0-1", "1", "a-b", "1-70000"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
