//! The newest entries in memory, so that replication and apply do not read what was just written.

use std::collections::VecDeque;

use openraft::{EntryPayload, entry::RaftEntry};

use crate::raft_types::Entry;

/// Entries kept at most; a follower farther behind reads from disk.
const ENTRIES_MAX: usize = 8_192;
/// Their payloads' bytes at most.
const BYTES_MAX: usize = 8 << 20;
/// Cost of an entry beside its payload.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// A gapless run of entries that ends with the log's last.
#[derive(Default)]
pub(super) struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Tail {
    /// Adds entries behind the last.
    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if let Some(last) = self.entries.back() {
                assert_eq!(last.index() + 1, entry.index(), "the log has no holes");
            }
            self.bytes += size(&entry);
            self.entries.push_back(entry);
        }
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            self.drop_front();
        }
    }

    /// Removes the entries from `first_gone` on.
    pub(super) fn truncate(&mut self, first_gone: u64) {
        while self.entries.back().is_some_and(|entry| entry.index() >= first_gone) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= size(&entry);
            }
        }
    }

    /// Removes the entries before `first_kept`.
    pub(super) fn purge(&mut self, first_kept: u64) {
        while self.entries.front().is_some_and(|entry| entry.index() < first_kept) {
            self.drop_front();
        }
    }

    /// The entries `start..end` if the tail covers them from `start` to the log's last or `end`.
    pub(super) fn read(&self, start: u64, end: u64) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.index();
        if start < first {
            return None;
        }
        let from = usize::try_from(start - first).ok()?.min(self.entries.len());
        let to = usize::try_from(end.saturating_sub(first)).unwrap_or(usize::MAX);
        let to = to.clamp(from, self.entries.len());
        Some(self.entries.range(from..to).cloned().collect())
    }

    fn drop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= size(&entry);
        }
    }
}

/// Bytes of an entry in memory and on the wire, roughly.
pub(super) fn size(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    ENTRY_OVERHEAD_BYTES + payload
}
