//! The `kontiki` binary: composition root of the product, and the operator's verbs.
//!
//! Everything that needs a decision lives in the rooms that this crate puts together; what is
//! here is configuration, identity, joining, starting and stopping ([`server`], [`agent`]), and
//! one file per verb ([`commands`]).

mod agent;
mod commands;
mod config;
mod files;
mod join;
mod kubeconfig;
mod output;
mod pki;
mod render;
mod server;
mod servers;
mod session;
mod signals;
mod token;
mod vault;

use std::process::ExitCode;

/// RocksDB's allocations too: many threads make and free small things at once, and what a burst
/// needed goes back to the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    commands::run()
}
