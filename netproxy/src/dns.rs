//! Cluster DNS on the node itself, as the Kubernetes DNS specification 1.1 has it.
//!
//! [`zone`] answers from what is observed and is pure; [`server`] reads and writes packets; names
//! outside the cluster's domain go to the node's own resolvers ([`upstream`]).

pub mod server;
pub mod upstream;
pub mod zone;
