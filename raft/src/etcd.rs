//! etcd's v3 API: what tools, clients and test harnesses of the field speak.
//!
//! ```text
//! server     TLS, connections, and which service a path belongs to; health, version, metrics
//!   kv, lease, cluster, maintenance, auth, watch,
//!   lock, election            one file per service; these two on `queue`
//!     requests   what clients send, checked and in the store's words: pure
//!     answers    what the store said, in etcd's words: pure
//!     errors     etcd's codes and texts
//!     api        what all services share: the store, headers, who may write what
//! ```
//!
//! The services run on the caller's runtime, never on Raft's. Keys and values are not copied
//! between the wire and the store: messages hold slices of the buffer that was received.

mod answers;
mod api;
mod auth;
mod cluster;
mod election;
mod errors;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod plain;
mod queue;
mod requests;
mod server;
#[cfg(test)]
mod tests;
mod watch;

use std::time::Duration;

use bytes::Bytes;
use kontiki_base::tls::{Identity, Roots};

pub use self::server::serve;

/// The version of etcd whose API this is: clients decide by it which features they may use.
pub const API_VERSION: &str = "3.6.0";

/// How the API is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// What clients are shown.
    pub identity: Identity,
    /// Who signs clients: a certificate is all that they need, and without one there is nothing.
    pub roots: Roots,
    /// Keys below this prefix are somebody's who writes them in another way: they can be read
    /// and watched here, not written.
    pub read_only: Option<Bytes>,
    /// How often watches that ask for progress hear of it while nothing happens to them.
    pub progress_notify_interval: Duration,
}

/// Generated from `proto/etcd/`.
#[expect(
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod proto {
    pub(super) mod authpb {
        tonic::include_proto!("authpb");
    }
    pub(super) mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    pub(super) mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    pub(super) mod v3electionpb {
        tonic::include_proto!("v3electionpb");
    }
    pub(super) mod v3lockpb {
        tonic::include_proto!("v3lockpb");
    }

    /// What reflection tells.
    pub(super) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd.bin"));
}
