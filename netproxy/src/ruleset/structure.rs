//! The parts of the table that do not depend on any one service: its frame, and the chains and maps
//! that come into being when the first service needs them.

use std::{collections::BTreeSet, fmt::Write};

use ipnet::IpNet;

use super::names::{Chain, Group, Map, all_protocols};
use crate::plan::{Audience, Family, Masquerade};

/// The name of the table, with its family.
pub const TABLE: &str = "inet kontiki";

/// The one bit of the packet mark that is ours: this connection's source is to be replaced. It is
/// the bit that kube-proxy uses, so that rules which spare kube-proxy's spare ours.
pub const MASQUERADE_BIT: u32 = 0x4000;

/// Elements of a dynamic set that clients can make the kernel keep.
const AFFINITY_MAX: u32 = 65_535;

/// The address ranges of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    /// Of pods.
    pub pods: Vec<IpNet>,
}

/// A named thing in the table that is made once and then stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Map(Map),
    /// Which clients are at home in a slot.
    Affinity(Group, u16),
    /// Goes to the endpoint in a slot.
    Slot(Group, u16),
    /// Goes to a sticky slot if an endpoint is in it.
    TrySlot(Group, u16),
    Chain(Chain),
}

/// The parts that are in the table already.
#[derive(Clone, Debug, Default)]
pub(super) struct Built(BTreeSet<Part>);

impl Built {
    /// Writes definitions of `chain` and everything it needs that is not there yet.
    pub(super) fn chain(&mut self, text: &mut String, chain: Chain) {
        self.part(text, Part::Chain(chain));
    }

    /// Writes the definition of `map` if it is not there yet.
    pub(super) fn map(&mut self, text: &mut String, map: Map) {
        self.part(text, Part::Map(map));
    }

    fn part(&mut self, text: &mut String, part: Part) {
        if !self.0.insert(part) {
            return;
        }
        for needed in needs(part) {
            self.part(text, needed);
        }
        let _ = writeln!(text, "{}", definition(part));
    }
}

fn needs(part: Part) -> Vec<Part> {
    match part {
        Part::Map(_) | Part::Affinity(..) => Vec::new(),
        Part::Slot(group, slot) => vec![Part::Map(Map::Endpoint(group, slot))],
        Part::TrySlot(group, slot) => vec![Part::Map(Map::Occupied(group, slot))],
        Part::Chain(Chain::Pick { group, count, .. }) => {
            (0..count).map(|slot| Part::Slot(group, slot)).collect()
        }
        Part::Chain(Chain::Sticky { group, span, .. }) => {
            let slots = 0..span;
            slots.flat_map(|s| [Part::Affinity(group, s), Part::TrySlot(group, s)]).collect()
        }
        Part::Chain(Chain::StickySlot { group, slot, .. }) => {
            vec![Part::Affinity(group, slot), Part::Slot(group, slot)]
        }
        Part::Chain(Chain::Reject | Chain::Drop) => Vec::new(),
    }
}

fn definition(part: Part) -> String {
    match part {
        Part::Map(map) => map_definition(map),
        Part::Affinity(group, slot) => {
            let (key, address) = (key_type(group), address_type(group.family));
            format!(
                "add set {TABLE} {group}_affinity{slot} {{ type {address} . {key}; \
                 flags dynamic,timeout; timeout 3h; size {AFFINITY_MAX}; }}"
            )
        }
        Part::Slot(group, slot) => {
            let (ip, key, protocols) = (ip(group.family), key(group), all_protocols());
            let rule =
                format!("meta l4proto {{ {protocols} }} dnat {ip} to {key} map @{group}_ep{slot}");
            chain(&format!("{group}_slot{slot}"), &[rule])
        }
        Part::TrySlot(group, slot) => {
            chain(&format!("{group}_try{slot}"), &[try_slot(group, slot)])
        }
        Part::Chain(name) => chain(&name.to_string(), &rules(name)),
    }
}

fn rules(chain: Chain) -> Vec<String> {
    match chain {
        Chain::Pick { group, masquerade, count } => {
            let mut rules = mark(group.family, masquerade);
            rules.push(random(count, |slot| format!("goto {group}_slot{slot}")));
            rules
        }
        Chain::Sticky { group, masquerade, span } => {
            let mut rules = mark(group.family, masquerade);
            let (ip, key) = (ip(group.family), key(group));
            rules.extend((0..span).map(|slot| {
                format!("{ip} saddr . {key} @{group}_affinity{slot} {}", try_slot(group, slot))
            }));
            // An empty slot is a miss: some throws of the dice, then whoever is there.
            let throw = random(span, |slot| format!("jump {group}_try{slot}"));
            rules.extend([throw.clone(), throw.clone(), throw]);
            rules.extend((0..span).map(|slot| try_slot(group, slot)));
            rules
        }
        Chain::StickySlot { group, timeout, slot } => {
            let (ip, key) = (ip(group.family), key(group));
            let home = format!("{group}_affinity{slot}");
            vec![
                format!("update @{home} {{ {ip} saddr . {key} timeout {timeout}s }}"),
                format!("goto {group}_slot{slot}"),
            ]
        }
        Chain::Reject => vec![
            "meta l4proto tcp reject with tcp reset".to_owned(),
            "reject with icmpx type port-unreachable".to_owned(),
        ],
        Chain::Drop => vec!["drop".to_owned()],
    }
}

fn try_slot(group: Group, slot: u16) -> String {
    format!("{} vmap @{group}_occupied{slot}", key(group))
}

fn random(count: u16, verdict: impl Fn(u16) -> String) -> String {
    if count == 1 {
        return verdict(0);
    }
    let entries: Vec<_> = (0..count).map(|slot| format!("{slot} : {}", verdict(slot))).collect();
    format!("numgen random mod {count} vmap {{ {} }}", entries.join(", "))
}

/// Marks a connection for masquerade. The node's own need none: their answers come to it anyway.
fn mark(family: Family, masquerade: Masquerade) -> Vec<String> {
    let from = match masquerade {
        Masquerade::Always => String::new(),
        Masquerade::OutsideCluster => format!("{} saddr != @pods{} ", ip(family), digit(family)),
        Masquerade::Never => return Vec::new(),
    };
    let set = format!("meta mark set meta mark | {MASQUERADE_BIT:#x}");
    vec![format!("{from}fib saddr type != local {set}")]
}

fn map_definition(map: Map) -> String {
    let of = match map {
        Map::Dispatch(group) | Map::Refusal(group) | Map::Occupied(group, _) => {
            format!("map {TABLE} {map} {{ type {} : verdict; }}", key_type(group))
        }
        Map::Endpoint(group, _) => {
            let (key, address) = (key_type(group), address_type(group.family));
            format!("map {TABLE} {map} {{ type {key} : {address} . inet_service; }}")
        }
        Map::Hairpin(family) => {
            let address = address_type(family);
            format!("set {TABLE} {map} {{ type {address} . {address}; }}")
        }
        Map::Nodes(family) => format!("set {TABLE} {map} {{ type {}; }}", address_type(family)),
    };
    format!("add {of}")
}

fn chain(name: &str, rules: &[String]) -> String {
    format!("add chain {TABLE} {name} {{\n  {}\n}}", rules.join("\n  "))
}

fn base_chain(name: &str, kind: &str, hook: &str, priority: &str, rules: &[String]) -> String {
    let head = format!("type {kind} hook {hook} priority {priority}; policy accept;");
    format!("add chain {TABLE} {name} {{\n  {head}\n  {}\n}}", rules.join("\n  "))
}

/// The text that puts a fresh frame in the place of whatever table was there, in one transaction
/// with what follows it.
pub(super) fn frame(networks: &Networks) -> (String, Built) {
    let (mut text, mut built) = (String::new(), Built::default());
    let _ = writeln!(text, "add table {TABLE}\ndelete table {TABLE}\nadd table {TABLE}");
    for family in Family::ALL {
        let pods = networks.pods.iter().filter(|range| Family::of(range.addr()) == family);
        let pods: Vec<_> = pods.map(|range| range.trunc().to_string()).collect();
        let elements = if pods.is_empty() {
            String::new()
        } else {
            format!(" elements = {{ {} }};", pods.join(", "))
        };
        let (digit, address) = (digit(family), address_type(family));
        let _ = writeln!(
            text,
            "add set {TABLE} pods{digit} {{ type {address}; flags interval;{elements} }}"
        );
        built.map(&mut text, Map::Hairpin(family));
        built.map(&mut text, Map::Nodes(family));
    }
    for group in Group::all() {
        built.map(&mut text, Map::Dispatch(group));
        built.map(&mut text, Map::Refusal(group));
    }
    built.chain(&mut text, Chain::Reject);
    built.chain(&mut text, Chain::Drop);
    hooks(&mut text);
    (text, built)
}

fn hooks(text: &mut String) {
    let look_up = |audience: Audience, suffix: &str| {
        let groups = Group::all().filter(move |group| group.audience == audience);
        groups.map(|group| match_rule(group, suffix)).collect::<Vec<_>>()
    };
    let for_cluster = look_up(Audience::Cluster, "");
    let mut dispatch = Vec::new();
    for family in Family::ALL {
        let (ip, digit) = (ip(family), digit(family));
        dispatch.push(format!("{ip} saddr @pods{digit} jump dispatch-cluster"));
    }
    dispatch.push("fib saddr type local jump dispatch-cluster".to_owned());
    dispatch.extend(look_up(Audience::Everyone, ""));
    let mut refuse = look_up(Audience::Cluster, "_refusal");
    // Not meant for those inside the cluster who have a route of their own: theirs was taken in nat.
    refuse.extend(look_up(Audience::Everyone, "_refusal"));
    let new = ["ct state new ct status ! dnat jump refusal".to_owned()];
    let jump = ["jump dispatch".to_owned()];
    let parts = [
        chain("dispatch-cluster", &for_cluster),
        chain("dispatch", &dispatch),
        chain("refusal", &refuse),
        base_chain("nat-prerouting", "nat", "prerouting", "dstnat", &jump),
        base_chain("nat-output", "nat", "output", "-100", &jump),
        base_chain("nat-postrouting", "nat", "postrouting", "srcnat", &masquerades()),
        base_chain("filter-input", "filter", "input", "-110", &new),
        base_chain("filter-forward", "filter", "forward", "-110", &new),
        base_chain("filter-output", "filter", "output", "-110", &new),
    ];
    let _ = writeln!(text, "{}", parts.join("\n"));
}

fn match_rule(group: Group, suffix: &str) -> String {
    let local = match (group.is_node_port, group.family) {
        (false, _) => "",
        (true, Family::V4) => "fib daddr type local ip daddr != 127.0.0.0/8 ",
        (true, Family::V6) => "meta nfproto ipv6 fib daddr type local ip6 daddr != ::1 ",
    };
    format!("{local}{} vmap @{group}{suffix}", key(group))
}

fn masquerades() -> Vec<String> {
    let mut rules = vec![format!(
        "meta mark & {MASQUERADE_BIT:#x} != 0 meta mark set meta mark & {:#x} \
         masquerade fully-random",
        !MASQUERADE_BIT
    )];
    for family in Family::ALL {
        let (ip, digit) = (ip(family), digit(family));
        rules.push(format!(
            "ct status dnat {ip} saddr . {ip} daddr @hairpin{digit} masquerade fully-random"
        ));
        rules.push(format!(
            "{ip} saddr @pods{digit} {ip} daddr != @pods{digit} {ip} daddr != @nodes{digit} \
             fib daddr type unicast masquerade fully-random"
        ));
    }
    rules
}

fn key(group: Group) -> String {
    let ports = "meta l4proto . th dport";
    if group.is_node_port {
        ports.to_owned()
    } else {
        format!("{} daddr . {ports}", ip(group.family))
    }
}

fn key_type(group: Group) -> String {
    let ports = "inet_proto . inet_service";
    if group.is_node_port {
        ports.to_owned()
    } else {
        format!("{} . {ports}", address_type(group.family))
    }
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn address_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

fn digit(family: Family) -> char {
    match family {
        Family::V4 => '4',
        Family::V6 => '6',
    }
}
