//! Members talking to each other: gRPC over mutual TLS.
//!
//! Who is who is told by cluster, generation and member id in every call ([`handshake`]), below
//! certificates of the store's own authority ([`tls`]); addresses are only where one dials. Each
//! kind of traffic has a connection of its own, so that a snapshot or a burst of forwarded writes
//! never stands before a heartbeat. A member that cannot be reached is asked by way of another
//! ([`route`], [`relay`]).

mod addresses;
mod campaign;
mod client;
mod dial;
mod forward;
mod greeting;
mod grpc;
mod handshake;
mod relay;
mod route;
mod server;
mod service;
mod snapshot;
mod tls;
mod transport;

/// Generated from `proto/peer.proto`.
#[expect(
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod proto {
    tonic::include_proto!("kontiki.peer.v1");
}

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tonic::Status;

#[cfg(test)]
pub(crate) use self::proto::Frame;
#[cfg(not(test))]
use self::proto::Frame;
pub(crate) use self::{
    dial::Peers,
    greeting::{Greeting, Standing},
    grpc::grpc,
    server::listen,
    service::Service,
    transport::Transport,
};
#[cfg(test)]
pub(crate) use self::{
    service::Caller,
    transport::{Call, Frames, Method, Outgoing, Pipe, Upload},
};
use crate::{
    codec,
    types::{LeaseId, Member, MemberId},
};

/// Bytes of one message at most; a batch of entries is bounded far below.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// What is read from a connection at once: the TLS below would take 4 KiB.
const READ_BYTES: usize = 64 << 10;

/// What the leader is asked to do with the membership.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Administration {
    /// Adds a learner, or updates what is known of a member.
    Add(Member),
    /// Removes a member.
    Remove(MemberId),
    /// Makes a learner a voter.
    Promote(MemberId),
    /// Removes a member and makes a learner a voter in its place, in one step.
    Replace {
        /// Who goes.
        lost: MemberId,
        /// Who comes.
        with: MemberId,
    },
    /// Moves leadership to another voter.
    TransferLeadership {
        /// Who led when it was asked for: done if it leads no more.
        from: MemberId,
        /// To whom; to the one with most of the log if that does not matter.
        to: Option<MemberId>,
    },
}

/// What the leader is asked about a lease.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum LeaseQuery {
    /// Lets it live for its full time again.
    KeepAlive(LeaseId),
    /// How long it still lives.
    TimeToLive {
        /// Which one.
        lease: LeaseId,
        /// Whether to name its keys.
        keys: bool,
    },
}

/// What a leader's answer to a forwarded request is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Forwarded<T> {
    /// Done.
    Done(T),
    /// Not done, or not known to be: ask again.
    Again(String),
    /// Will not be done.
    Refused(String),
}

fn frame<T: Serialize>(value: &T) -> Frame {
    Frame { payload: Bytes::from(codec::encode(value)) }
}

fn open<T: serde::de::DeserializeOwned>(frame: &Frame) -> Result<T, Status> {
    codec::decode("a peer's message", &frame.payload)
        .map_err(|error| Status::invalid_argument(error.to_string()))
}
