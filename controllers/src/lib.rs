//! The control loops: Deployments, ReplicaSets, EndpointSlices, nodes, namespaces, garbage.
//!
//! Every controller is a pure function from what was observed, and the time, to a [`action::Plan`]
//! ([`controller::Controller`]). Watches only say which keys to look at again. The [`runtime`] is
//! the one place that waits and writes:
//!
//! ```text
//!  informers ──> world ──────────> plan(world, key, now) ──> Plan ──> execute ──> API server
//!      │           │                       ^                             │
//!      └── wake ───┴──> queue (keys) ──────┘ <── once the caches passed ─┘
//!                                                 the plan's own writes
//! ```
//!
//! There is no expectations cache: a key is planned again only after the informers of the kinds
//! it wrote have passed its own last write. Informers run on every control node, so that a new
//! leader has a warm picture; plans are made only by the leader, under its fence.

pub mod action;
mod certificates;
mod clusterroleaggregation;
pub mod controller;
mod deployment;
mod disruption;
mod endpoints;
mod endpointslice;
mod garbagecollector;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod options;
mod podgc;
mod pods;
mod protection;
mod replicaset;
pub mod runtime;
mod selector;
mod service;
mod serviceaccount;
mod serviceaddresses;
#[cfg(test)]
mod testing;
mod tokencleaner;
mod ttlafterfinished;
pub mod world;

pub use options::Options;
pub use service::Service;
