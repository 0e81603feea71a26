//! The replicated store: a multi-version key-value store on RocksDB, replicated by Raft.
//!
//! It stores bytes under bytes and does not know that Kubernetes exists. [`types`] has the words.

pub mod types;

pub use types::*;
