//! How many bytes the log holds, and where.
//!
//! Openraft counts entries when it decides what to drop, and an entry may be a thousand times as
//! large as another. These marks tell bytes, to about a MiB. Only what was appended since the start is
//! known: before that the bound held.

use std::collections::VecDeque;

/// What one mark stands for, at least.
const MARK_BYTES: u64 = 1 << 20;

/// Bytes by runs of entries.
#[derive(Debug, Default)]
pub(super) struct Volume(VecDeque<Mark>);

/// A run of entries.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    /// Its last entry.
    last: u64,
    bytes: u64,
}

impl Volume {
    /// Entries up to `last` were appended.
    pub(super) fn append(&mut self, last: u64, bytes: u64) {
        match self.0.back_mut() {
            Some(mark) if mark.bytes < MARK_BYTES => {
                *mark = Mark { last, bytes: mark.bytes + bytes };
            }
            _ => self.0.push_back(Mark { last, bytes }),
        }
    }

    /// Entries from `first_gone` on are gone.
    pub(super) fn truncate(&mut self, first_gone: u64) {
        while let Some(mark) = self.0.pop_back() {
            let before = self.0.back().map(|mark| mark.last);
            if mark.last < first_gone {
                self.0.push_back(mark);
                return;
            }
            if before.is_none_or(|before| before + 1 < first_gone) && first_gone > 0 {
                self.0.push_back(Mark { last: first_gone - 1, ..mark });
                return;
            }
        }
    }

    /// Entries before `first_kept` are gone.
    pub(super) fn purge(&mut self, first_kept: u64) {
        while self.0.front().is_some_and(|mark| mark.last < first_kept) {
            self.0.pop_front();
        }
    }

    /// Bytes of the entries behind `index`, roughly.
    pub(super) fn behind(&self, index: u64) -> u64 {
        self.0.iter().rev().take_while(|mark| mark.last > index).map(|mark| mark.bytes).sum()
    }

    /// The last entry that has to go so that what is behind it has `bytes` at most.
    pub(super) fn excess(&self, bytes: u64) -> Option<u64> {
        let mut kept = 0;
        for mark in self.0.iter().rev() {
            kept += mark.bytes;
            if kept > bytes {
                return Some(mark.last);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(marks: &[(u64, u64)]) -> Volume {
        let mut volume = Volume::default();
        for (last, mib) in marks {
            volume.append(*last, mib << 20);
        }
        volume
    }

    #[test]
    fn it_tells_what_lies_behind_an_entry_and_what_is_too_much() {
        let volume = of(&[(10, 4), (20, 4), (30, 4)]);
        assert_eq!(volume.behind(0), 12 << 20);
        assert_eq!(volume.behind(20), 4 << 20);
        assert_eq!(volume.behind(30), 0);
        assert_eq!(volume.excess(12 << 20), None);
        assert_eq!(volume.excess(9 << 20), Some(10));
        assert_eq!(volume.excess(4 << 20), Some(20));
        assert_eq!(volume.excess(0), Some(30));
    }

    #[test]
    fn small_appends_share_a_mark() {
        let mut volume = Volume::default();
        for last in 0..10_000 {
            volume.append(last, 1 << 10);
        }
        assert_eq!(volume.0.len(), 10);
        assert_eq!(volume.behind(0), 10_000 << 10);
    }

    #[test]
    fn what_is_gone_at_either_end_counts_no_more() {
        let mut volume = of(&[(10, 4), (20, 4), (30, 4)]);
        volume.purge(11);
        assert_eq!(volume.behind(0), 8 << 20);
        volume.truncate(21);
        assert_eq!(volume.behind(0), 4 << 20);
        volume.truncate(16);
        assert_eq!(volume.0.back().map(|mark| mark.last), Some(15));
        volume.truncate(0);
        assert_eq!(volume.behind(0), 0);
    }
}
