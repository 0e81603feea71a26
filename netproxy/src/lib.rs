//! Services on a node: packets to a Service's address reach one of its pods, names resolve, and
//! pods of other nodes are reachable.
//!
//! Everything is derived from three kinds of objects (Service, EndpointSlice, Node) by pure
//! functions: [`plan`] says what the services mean here, [`ruleset`] turns that into the shortest
//! nftables transaction, [`routes`] and [`dns`] likewise. [`service`] watches, applies and measures.
//! What was applied lives in the kernel: it outlives this process and the control plane.
//!
//! ```text
//! informers ─> observed ─┬─> plan ─> ruleset ─> nft          (conntrack for lost UDP endpoints)
//!                        ├─> routes ─────────> ip
//!                        └─> dns (looks up while it answers)
//! ```

pub mod command;
pub mod conntrack;
pub mod dns;
pub mod health;
mod metrics;
pub mod observed;
pub mod plan;
pub mod routes;
pub mod ruleset;
pub mod service;

pub use service::{Error, Options, Service};
