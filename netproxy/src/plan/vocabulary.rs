//! The words that the plan and the ruleset share.

use std::{net::IpAddr, time::Duration};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// A transport protocol of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// As a Service spells it; `None` for one we do not know.
    pub fn parse(text: Option<&str>) -> Option<Protocol> {
        match text {
            None | Some("TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(_) => None,
        }
    }

    /// As nftables and conntrack spell it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// What packets are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Frontend {
    /// One address, wherever it may be.
    Address {
        /// The address.
        address: IpAddr,
        /// Its protocol.
        protocol: Protocol,
        /// Its port.
        port: u16,
    },
    /// A port on every address of the node.
    NodePort {
        /// Of the node's addresses, those of this family.
        family: Family,
        /// Its protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
}

impl Frontend {
    /// Its address family.
    pub fn family(self) -> Family {
        match self {
            Frontend::Address { address, .. } => Family::of(address),
            Frontend::NodePort { family, .. } => family,
        }
    }

    /// Its protocol.
    pub fn protocol(self) -> Protocol {
        match self {
            Frontend::Address { protocol, .. } | Frontend::NodePort { protocol, .. } => protocol,
        }
    }
}

/// Whose packets a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Audience {
    /// Everyone's for whom there is nothing more special.
    Everyone,
    /// Those of pods and of the node itself: they take precedence.
    Cluster,
}

/// Whether the endpoint sees the node's address instead of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Masquerade {
    /// Always: the answer must come back through this node.
    Always,
    /// Only for clients outside the cluster, who would not recognise a pod's own answer.
    OutsideCluster,
    /// Never: the client's address is part of the promise.
    Never,
}

/// A pod's address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
}

/// What becomes of packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// They go to one of the endpoints.
    Endpoints {
        /// At least one, in order, each once.
        endpoints: Vec<Endpoint>,
        /// Whether their source is replaced.
        masquerade: Masquerade,
        /// How long a client stays with its endpoint after its last connection.
        affinity: Option<Duration>,
    },
    /// The sender is told that nobody is there.
    Reject,
    /// They vanish.
    Drop,
}

/// One row of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What packets are sent to.
    pub frontend: Frontend,
    /// Whose packets.
    pub audience: Audience,
    /// What becomes of them.
    pub backend: Backend,
}
