//! The multi-version key-value model: what a transaction, a range and a compaction mean.
//!
//! Three spaces hold the data, a fourth the bookkeeping:
//!
//! ```text
//! current   key                      -> create, mod, version, lease, value
//! history   key . inverted revision  -> the versions before (newest first), and deletions
//! changes   revision . position      -> key, kind: from here watches resume
//! meta      revision and floor, leases and their keys, remembered replies, applied entry
//! ```
//!
//! Everything here is pure: it reads a [`View`] and writes into an [`Overlay`]. No clock, no
//! randomness, no disk: equal inputs give equal bytes on every member.

pub(crate) mod apply;
pub(crate) mod compact;
pub(crate) mod duplicates;
pub(crate) mod hash;
pub(crate) mod keys;
pub(crate) mod lease;
mod merge;
pub(crate) mod range;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod sessions;
pub(crate) mod txn;
pub(crate) mod view;

#[cfg(test)]
mod tests;

pub(crate) use view::{Overlay, Space, View, Writes};
