//! Pods on a node: from the API (or a folder) to containerd and back.
//!
//! The kubelet runs the pods that are bound to its node. What to do for a pod is a pure function
//! ([`pod::lifecycle::plan`]); so is what to report of it ([`pod::status`]). Around them one worker
//! per pod waits for something to change, and thin shells speak to containerd ([`runtime`]), make
//! volumes, run probes, report the node, and serve logs.
//!
//! Invariants: losing the API server never stops a pod; an agent that stops, crashes or is
//! replaced touches no container; nothing is learnt by polling where there is an event, except a
//! slow look at all containers as a backstop.

pub mod environment;
pub mod folder_watch;
pub mod images;
pub mod logs;
pub mod metrics;
pub mod node;
pub mod options;
pub mod pod;
pub mod probes;
pub mod references;
pub mod resources;
pub mod runtime;
pub mod server;
pub mod service;
pub mod sources;
pub mod tokens;
pub mod volumes;

pub use options::Options;
pub use service::{Error, Service};
