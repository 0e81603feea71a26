//! One pod on this node: what its specification means ([`spec`]), what the runtime has of it
//! ([`observed`]), what to do next ([`lifecycle`]), what to report ([`status`]) and the loop that
//! brings them together ([`worker`]).
//!
//! ```text
//!   API, files ──> pod ─┐
//!   runtime events ─────┼─> worker: observe ─> lifecycle::plan ─> operations ─┐
//!   probes, volumes ────┘        ^                 status ─> API              │
//!                                └───────────── wakes when one ends ──────────┘
//! ```

pub mod announcer;
pub mod backoff;
pub mod create;
pub mod inbox;
pub mod labels;
pub mod lifecycle;
pub mod memory;
pub mod observe;
pub mod observed;
pub mod operations;
pub mod prober;
pub mod reporter;
pub mod spec;
pub mod status;
pub mod worker;
