//! Pure Kubernetes vocabulary: no I/O, no clock, no threads.

pub mod typed;

pub use k8s_openapi;
pub use typed::Object;
