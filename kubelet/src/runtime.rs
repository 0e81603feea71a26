//! containerd: supervised, spoken to by CRI v1, its events listened to, its built-in images
//! imported.
//!
//! Everything here is a thin shell: what should happen is decided elsewhere.

pub mod builtin;
pub mod client;
pub mod config;
pub mod containerd;
pub mod events;
pub mod import;

pub use client::{Error, Runtime};

/// containerd's namespace of everything that CRI made.
pub const NAMESPACE: &str = "k8s.io";
