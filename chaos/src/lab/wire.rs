//! The network between the hosts: one bridge, one cable per host, and what can go wrong with them.
//!
//! Cuts are by bridge port and not by address, so that they hold for whatever crosses the wire:
//! pod addresses, ARP, addresses that nobody has thought of yet.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, bail};

use super::host::Host;

/// The bridge, and the outside world's own port on it.
const BRIDGE: &str = "br0";

/// One direction in which nothing may pass.
#[derive(Clone, Copy, Debug)]
pub enum Cut<'a> {
    /// From one host to another.
    Between(&'a str, &'a str),
    /// From a host to the outside world.
    FromHost(&'a str),
    /// From the outside world to a host.
    ToHost(&'a str),
}

const FAULTS: &str = "
table bridge faults {
  set between { type ifname . ifname; }
  set from { type ifname; }
  set to { type ifname; }
  chain forward { type filter hook forward priority 0; iifname . oifname @between drop; }
  chain input { type filter hook input priority 0; iifname @from drop; }
  chain output { type filter hook output priority 0; oifname @to drop; }
}
";

/// Makes the bridge in the outside world.
pub(super) fn build(lan: &Host) -> anyhow::Result<()> {
    lan.plumb(&["ip", "link", "set", "lo", "up"])?;
    lan.plumb(&["ip", "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0"])?;
    lan.plumb(&["ip", "addr", "add", &format!("{}/24", lan.address()), "dev", BRIDGE])?;
    lan.plumb(&["ip", "link", "set", BRIDGE, "up"])?;
    lan.plumb(&["nft", FAULTS]).map(drop).context("prepare the fault rules")
}

/// Plugs a freshly booted host in.
pub(super) fn connect(lan: &Host, host: &Host) -> anyhow::Result<()> {
    let (port, pid) = (host.name(), host.init_pid()?.to_string());
    // The process id is the machine's: plumbing runs outside the process namespaces.
    let pair = ["ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", &pid];
    lan.plumb(&pair)?;
    lan.plumb(&["ip", "link", "set", port, "master", BRIDGE, "up"])?;
    let address = format!("{}/24", host.address());
    host.plumb(&["ip", "link", "set", "lo", "up"])?;
    host.plumb(&["ip", "addr", "add", &address, "dev", "eth0"])?;
    host.plumb(&["sysctl", "-qw", "net.ipv4.conf.eth0.arp_notify=1"])?;
    host.plumb(&["ip", "link", "set", "eth0", "up"])?;
    until_forwarding(lan, port)?;
    // A machine keeps its hardware address over a power cut, and its peers have it in their caches,
    // or remember that nobody had it. Setting it announces it to all of them.
    host.plumb(&["ip", "link", "set", "eth0", "address", &hardware_address(host.address())])?;
    host.plumb(&["ip", "route", "add", "default", "via", &lan.address().to_string()]).map(drop)
}

/// The kernel opens a bridge port some time after its cable has come up, and tells nobody.
fn until_forwarding(lan: &Host, port: &str) -> anyhow::Result<()> {
    for _ in 0..200 {
        let link = lan.plumb(&["ip", "-d", "link", "show", "dev", port])?;
        if link.contains("state forwarding") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("the bridge does not forward to {port}")
}

/// A locally administered hardware address that follows from the host's.
fn hardware_address(address: IpAddr) -> String {
    let bytes = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [a, b, c, d]
        }
    };
    format!("02:00:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2], bytes[3])
}

/// Removes a host's cable, on both ends, at once.
pub(super) fn disconnect(lan: &Host, host: &Host) -> anyhow::Result<()> {
    // A dead host's cable is on its way out by itself: only its presence would be wrong.
    match lan.plumb(&["ip", "link", "del", host.name()]) {
        Err(error) if !error.to_string().contains("Cannot find device") => Err(error),
        _ => Ok(()),
    }
}

/// Takes a cable's carrier away, or gives it back; addresses and routes in the host stay.
pub(super) fn set_link(lan: &Host, host: &Host, up: bool) -> anyhow::Result<()> {
    let state = if up { "up" } else { "down" };
    lan.plumb(&["ip", "link", "set", host.name(), state]).map(drop)
}

pub(super) fn cut(lan: &Host, cut: Cut<'_>) -> anyhow::Result<()> {
    let (set, element) = match cut {
        Cut::Between(from, to) => ("between", format!("\"{from}\" . \"{to}\"")),
        Cut::FromHost(host) => ("from", format!("\"{host}\"")),
        Cut::ToHost(host) => ("to", format!("\"{host}\"")),
    };
    lan.plumb(&["nft", &format!("add element bridge faults {set} {{ {element} }}")]).map(drop)
}

pub(super) fn heal(lan: &Host) -> anyhow::Result<()> {
    let flush = ["between", "from", "to"].map(|set| format!("flush set bridge faults {set}\n"));
    lan.plumb(&["nft", &flush.concat()]).map(drop)
}
