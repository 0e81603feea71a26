//! The replicated store: a multi-version key-value store on RocksDB, replicated by Raft.
//!
//! It stores bytes under bytes and does not know that Kubernetes exists. [`types`] has the words,
//! [`Store`] is the handle. Inside, from the pure to the wet:
//!
//! ```text
//! mvcc       what commands mean: pure functions over a view of the state
//! state      that state on RocksDB, as openraft's state machine; snapshots of it
//! log        Raft's log on a RocksDB of its own, group commit
//! watch      changes as they are applied, and as they were
//! peer       members talking to each other over mutual TLS
//! store      the handle: proposing, reading, leading, leases, compaction, membership
//! backup     archives of the state, and new lives after a disaster
//! etcd       the handle, served to clients of etcd's
//! ```
//!
//! `Raft<..>` is instantiated here only, behind a handle without type parameters.

mod asking;
pub mod backup;
pub mod etcd;
#[doc(hidden)]
pub mod failpoints;
pub mod types;

mod codec;
mod command;
mod disk;
mod environment;
mod error;
mod lessor;
mod log;
mod metrics;
mod mvcc;
mod options;
mod peer;
mod proposals;
mod pulse;
mod raft_types;
#[cfg(test)]
mod sim;
mod state;
mod store;
mod watch;

pub use error::{Error, Refusal};
pub use kontiki_base::Fence;
pub use options::{Options, PeerTls, Retention, Start, Timing, Tuning};
pub use store::{Ailment, MemberStanding, MemberStatus, PROTOCOL_VERSION, Status, Store};
pub use types::*;
pub use watch::{ProgressRequest, Watch, WatchError};
