//! Load generators that speak only public protocols, so that any peer is measured by the same
//! tool: a server is its address and credentials, and perhaps the process ids whose CPU time and
//! memory are read beside the run.
//!
//! [`api`] measures requests, lists and watches; [`schedule`] measures a scheduler with nodes
//! that exist only as objects. Both speak through [`connection`]s of their own, one per simulated
//! client, and report rows ([`report`]). [`store`] measures a store by etcd's API.

pub mod api;
pub mod connection;
pub mod latency;
pub mod load;
pub mod objects;
pub mod process;
pub mod report;
pub mod schedule;
pub mod store;
pub mod target;
pub mod watch;
