//! Whole clusters in one process, on one thread, on simulated disks, network and clock: a seed
//! determines everything, and a run with the same seed leaves the same trace, byte for byte.
//!
//! ```text
//! run      a cluster comes up, lives through trouble, heals, is judged
//! world    hosts and the lives of their processes     gate     pausing and ending those
//! disk     loses what was not synced                  network  delays, reorders, loses, parts
//! clients  what is done to the store                  faults   what is done to its hosts
//! history  what clients and watchers saw              check    whether that may be
//! entropy  the kernel's randomness, determined        trace    everything that happened
//! ```
//!
//! The members are the product's own code, down to openraft: only what [`crate::environment`]
//! offers is replaced. `KONTIKI_SIM_SEEDS=from..to` runs other seeds than CI does, and a seed that
//! is printed by a failure shows the same failure again.

mod action;
mod check;
mod clients;
mod dice;
mod disk;
mod entropy;
mod faults;
mod gate;
mod history;
mod model;
mod network;
mod run;
mod runtime;
mod tests;
mod trace;
mod world;

use self::runtime::mutation;
pub(crate) use self::{
    gate::start_worker,
    runtime::{SimRuntime, is_mutated, is_running},
};

/// A mistake that is built in to see it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The disk says that it has synced before it has.
    LyingSync,
    /// Linearizable reads ask no leader.
    StaleReads,
    /// A proposal's identity is forgotten.
    Forgetful,
}
