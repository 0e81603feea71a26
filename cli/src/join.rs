//! How a machine comes into a cluster.
//!
//! The joiner holds a token. It dials a server, and shows the token only once the server has
//! proved itself: its chain holds the CA whose hash the token carries, and its certificate is an
//! API server's under that CA ([`pin`]). Then it asks for what its role needs ([`wire`]): a worker
//! for signatures under keys of its own making, a server for the cluster's secrets. What it gets
//! is written to its data folder; after that, the token is not needed again.

pub(crate) mod call;
pub(crate) mod pin;
pub(crate) mod state;
pub(crate) mod wire;
