//! The leadership under which a component acts.
//!
//! A component that leads carries the identity of its leadership with every write. The store
//! compares it when the write is applied, so a deposed leader's late write is refused instead of
//! racing its successor.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Identity of one committed leadership of the store: who led, and in which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// Raft term of the leadership (Raft paper, section 5.1).
    pub term: u64,
    /// The member that leads in that term.
    pub member: u64,
}

impl std::fmt::Display for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "term {} of member {:x}", self.term, self.member)
    }
}

/// Asks for watch bookmarks as soon as the store's revision moves, instead of once a minute.
///
/// A request extension of in-process clients: their caches learn from it that they have passed a
/// revision even where nothing of their kind was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptBookmarks {
    /// While revisions go on moving, one bookmark in this time is enough.
    pub every: Duration,
}
