//! Names of the table's chains and maps, and the spelling of their elements.

use std::{fmt, net::IpAddr};

use crate::plan::{Audience, Endpoint, Family, Frontend, Masquerade, Protocol};

/// Maps and chains come in groups, one per kind of key, audience and family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// Keys hold no address: the group is for ports on any address of the node.
    pub is_node_port: bool,
    /// Whose packets.
    pub audience: Audience,
    /// Addresses.
    pub family: Family,
}

impl Group {
    /// All eight.
    pub fn all() -> impl Iterator<Item = Group> {
        let audiences = [Audience::Everyone, Audience::Cluster];
        Family::ALL.into_iter().flat_map(move |family| {
            audiences.into_iter().flat_map(move |audience| {
                [false, true].map(|is_node_port| Group { is_node_port, audience, family })
            })
        })
    }

    /// The group that a frontend's elements are in.
    pub fn of(frontend: Frontend, audience: Audience) -> Group {
        let is_node_port = matches!(frontend, Frontend::NodePort { .. });
        Group { is_node_port, audience, family: frontend.family() }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audience = if self.audience == Audience::Cluster { "c" } else { "" };
        let kind = if self.is_node_port { "node" } else { "svc" };
        let family = if self.family == Family::V4 { "4" } else { "6" };
        write!(f, "{audience}{kind}{family}")
    }
}

/// A map or set whose elements this process keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Map {
    /// Frontend to the chain that picks an endpoint.
    Dispatch(Group),
    /// Frontend to the endpoint in one slot.
    Endpoint(Group, u16),
    /// Sticky frontend to the chain of one slot, if an endpoint is in it.
    Occupied(Group, u16),
    /// Frontend without endpoints to what happens instead.
    Refusal(Group),
    /// Endpoints of this node, each paired with itself.
    Hairpin(Family),
    /// Addresses of the cluster's nodes.
    Nodes(Family),
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |family: &Family| if *family == Family::V4 { '4' } else { '6' };
        match self {
            Map::Dispatch(group) => write!(f, "{group}"),
            Map::Endpoint(group, slot) => write!(f, "{group}_ep{slot}"),
            Map::Occupied(group, slot) => write!(f, "{group}_occupied{slot}"),
            Map::Refusal(group) => write!(f, "{group}_refusal"),
            Map::Hairpin(family) => write!(f, "hairpin{}", digit(family)),
            Map::Nodes(family) => write!(f, "nodes{}", digit(family)),
        }
    }
}

/// A chain that elements lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chain {
    /// Picks one of the first `count` slots.
    Pick {
        /// The group of the slots.
        group: Group,
        /// Whether the client's address is replaced.
        masquerade: Masquerade,
        /// Slots in use.
        count: u16,
    },
    /// Picks the client's own slot, or any occupied one of the first `span`.
    Sticky {
        /// The group of the slots.
        group: Group,
        /// Whether the client's address is replaced.
        masquerade: Masquerade,
        /// Slots to choose from; some are empty.
        span: u16,
    },
    /// Remembers the client for so long and goes to the endpoint in the slot.
    StickySlot {
        /// The group of the slot.
        group: Group,
        /// Seconds for which the client is remembered.
        timeout: u64,
        /// The slot.
        slot: u16,
    },
    /// Tells the sender that nobody is there.
    Reject,
    /// Says nothing.
    Drop,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |masquerade: &Masquerade| match masquerade {
            Masquerade::Always => 'm',
            Masquerade::OutsideCluster => 'o',
            Masquerade::Never => 'n',
        };
        match self {
            Chain::Pick { group, masquerade, count } => {
                write!(f, "{group}_{}_{count}", letter(masquerade))
            }
            Chain::Sticky { group, masquerade, span } => {
                write!(f, "{group}_sticky_{}_{span}", letter(masquerade))
            }
            Chain::StickySlot { group, timeout, slot } => {
                write!(f, "{group}_sticky{timeout}_slot{slot}")
            }
            Chain::Reject => f.write_str("refuse"),
            Chain::Drop => f.write_str("silence"),
        }
    }
}

/// The key of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Address, protocol and port; or the last two.
    Frontend(Frontend),
    /// One address.
    Address(IpAddr),
    /// An address as source and destination.
    Itself(IpAddr),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Frontend(Frontend::Address { address, protocol, port }) => {
                write!(f, "{address} . {} . {port}", protocol.name())
            }
            Key::Frontend(Frontend::NodePort { protocol, port, .. }) => {
                write!(f, "{} . {port}", protocol.name())
            }
            Key::Address(address) => write!(f, "{address}"),
            Key::Itself(address) => write!(f, "{address} . {address}"),
        }
    }
}

/// The value of an element; sets have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// A member of a set.
    Member,
    /// Where the packet goes on.
    Goto(Chain),
    /// What its destination becomes.
    Endpoint(Endpoint),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Member => Ok(()),
            Value::Goto(chain) => write!(f, " : goto {chain}"),
            Value::Endpoint(Endpoint { address, port }) => write!(f, " : {address} . {port}"),
        }
    }
}

/// Protocol names as a set, for rules that need to know that there are ports.
pub(super) fn all_protocols() -> String {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(Protocol::name).join(", ")
}
