//! What every crate may use, and nothing that belongs to one of them.
//!
//! `base` knows neither Kubernetes nor Raft. It holds the things that must be alike in every
//! process: how tasks are named, supervised and stopped ([`tasks`]), how a process tells what it
//! does ([`telemetry`]), who is who on the wire ([`tls`], [`pki`]), how two connections become one
//! ([`splice`]), what of a program stays in memory ([`footprint`]) and the identity of a
//! leadership under which a write is valid ([`fence`]).

pub mod backoff;
pub mod fence;
pub mod footprint;
pub mod pki;
pub mod splice;
pub mod tasks;
pub mod telemetry;
pub mod tls;

pub use fence::Fence;
pub use tokio_util::sync::CancellationToken;
