//! The API server on a real store: over real sockets, and in this process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod admission;
mod audit;
mod conformance;
mod deletes;
mod fairness;
mod fuzz;
mod kinds;
mod kubectl;
mod lists;
mod logs;
mod oidc;
mod ownership;
mod proxies;
mod questions;
mod quotas;
mod readouts;
mod sockets;
mod standing;
mod statuses;
mod stream_protocols;
mod streams;
mod support;
mod watches;
mod writes;
