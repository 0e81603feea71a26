//! Placing pods on nodes.
//!
//! ```text
//! watch --> [snapshot] --------------------------+
//!   |                                            v
//!   +-----> [queue: active | back-off | waiting] --> cycle (pure) --> assume --> bind (async)
//!                ^                                     |
//!                +---------- unschedulable <-----------+
//! ```
//!
//! [`cycle`] decides over a [`snapshot`] with the [`plugins`], [`preemption`] whether others must
//! make room; the [`queue`] says which pod is next and what is worth another attempt; [`service`] is the only part that waits: it feeds both
//! from watches, assumes what was decided and binds concurrently. Names of plugins, reasons,
//! Events and metrics are upstream's.

pub mod cluster;
pub mod cycle;
mod metrics;
pub mod node;
pub mod plugins;
pub mod pod;
pub mod preemption;
pub mod query;
pub mod queue;
pub mod resources;
pub mod selector;
pub mod service;
pub mod snapshot;
pub mod verdict;

pub use service::{Options, Service};
