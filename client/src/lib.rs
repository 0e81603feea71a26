//! Speaking to the API server.
//!
//! [`Client`] is typed access over a [`kube::Client`], whose transport is either mutual TLS with
//! fail-over between the servers of a cluster ([`transport`]) or the API server's own service in
//! the same process. [`informer`] keeps a local copy of a kind that is fed by a watch, [`events`]
//! tells users what happened to an object, and [`leadership`] lets a component act only while its
//! member leads.

pub mod client;
pub mod error;
pub mod events;
pub mod informer;
pub mod leadership;
pub mod store;
pub mod transport;

pub use client::{Client, DeleteOptions, List, ListOptions, Patch, Propagation, Written};
pub use error::Error;
pub use events::{EventRecorder, EventType, Regarding};
pub use informer::Informer;
pub use leadership::{FenceReceiver, Leadership, Turn};
pub use store::{Change, ObjectKey, Store};
pub use transport::{ConnectOptions, ServerList};
