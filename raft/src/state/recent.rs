//! What was written lately, in memory: every write of a key first reads what the key holds.
//!
//! Two generations stand for an order of use: what is wanted moves into the young one, and when that
//! is full it becomes the old one and what was in the old one is forgotten. Only whoever applies
//! entries reads here, so it is always as new as the state.

use std::{cell::RefCell, collections::HashMap, io};

use bytes::Bytes;

use crate::mvcc::{Space, View, Writes, view::Visit};

/// Keys and records of one generation, with what keeping each costs.
const GENERATION_BYTES_MAX: usize = 24 << 20;
/// What an entry costs beside its bytes, roughly.
const ENTRY_BYTES: usize = 96;

/// Records of the current keys that were written last.
#[derive(Default)]
pub(super) struct Recent {
    young: HashMap<Box<[u8]>, Bytes>,
    old: HashMap<Box<[u8]>, Bytes>,
    young_bytes: usize,
}

impl Recent {
    fn get(&mut self, key: &[u8]) -> Option<Bytes> {
        if let Some(record) = self.young.get(key) {
            return Some(record.clone());
        }
        let (key, record) = self.old.remove_entry(key)?;
        self.insert(key, record.clone());
        Some(record)
    }

    fn insert(&mut self, key: Box<[u8]>, record: Bytes) {
        let size = |key: usize, record: &Bytes| key + record.len() + ENTRY_BYTES;
        let length = key.len();
        self.young_bytes += size(length, &record);
        if let Some(before) = self.young.insert(key, record) {
            self.young_bytes = self.young_bytes.saturating_sub(size(length, &before));
        }
        if self.young_bytes > GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }

    fn remove(&mut self, key: &[u8]) {
        self.old.remove(key);
        if let Some(before) = self.young.remove(key) {
            let size = key.len() + before.len() + ENTRY_BYTES;
            self.young_bytes = self.young_bytes.saturating_sub(size);
        }
    }

    /// Takes note of what is about to be written.
    pub(super) fn note(&mut self, writes: &Writes) {
        for (key, record) in writes.of(Space::Current) {
            match record {
                Some(record) => {
                    self.old.remove(key);
                    self.insert(key.into(), record.clone());
                }
                None => self.remove(key),
            }
        }
    }

    /// Forgets everything: the state is another one.
    pub(super) fn clear(&mut self) {
        *self = Recent::default();
    }
}

/// A view that looks into memory first.
pub(super) struct Remembering<'a, V: View> {
    below: V,
    recent: RefCell<&'a mut Recent>,
}

impl<'a, V: View> Remembering<'a, V> {
    pub(super) fn new(below: V, recent: &'a mut Recent) -> Remembering<'a, V> {
        Remembering { below, recent: RefCell::new(recent) }
    }
}

impl<V: View> View for Remembering<'_, V> {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Bytes>> {
        if space == Space::Current
            && let Some(record) = self.recent.borrow_mut().get(key)
        {
            return Ok(Some(record));
        }
        self.below.get(space, key)
    }

    fn walk(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> io::Result<()> {
        self.below.walk(space, start, end, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvcc::{Overlay, view::Memory};

    fn written(recent: &mut Recent, key: &[u8], record: Option<Vec<u8>>) {
        let below = Memory::default();
        let mut overlay = Overlay::new(&below);
        match record {
            Some(record) => overlay.put(Space::Current, key.to_vec(), record),
            None => overlay.remove(Space::Current, key.to_vec()),
        }
        recent.note(&overlay.into_writes());
    }

    #[test]
    fn the_last_write_counts_and_a_removal_is_not_remembered_as_a_record() {
        let mut recent = Recent::default();
        written(&mut recent, b"a", Some(b"1".to_vec()));
        written(&mut recent, b"a", Some(b"2".to_vec()));
        assert_eq!(recent.get(b"a").as_deref(), Some(&b"2"[..]));
        written(&mut recent, b"a", None);
        assert_eq!(recent.get(b"a"), None);
    }

    #[test]
    fn what_is_wanted_stays_and_the_rest_goes_within_two_generations() {
        let mut recent = Recent::default();
        written(&mut recent, b"wanted", Some(b"1".to_vec()));
        written(&mut recent, b"forgotten", Some(b"1".to_vec()));
        let large = vec![0; 1 << 20];
        for n in 0..100u8 {
            written(&mut recent, &[n], Some(large.clone()));
            assert!(recent.get(b"wanted").is_some(), "after {n} others");
            assert!(recent.young_bytes <= GENERATION_BYTES_MAX);
        }
        assert!(recent.get(b"forgotten").is_none());
        let held = recent.young.len() + recent.old.len();
        assert!(held < 52, "{held} records of a MiB are held");
    }

    #[test]
    fn an_older_record_does_not_come_back_from_the_old_generation() {
        let mut recent = Recent::default();
        written(&mut recent, b"a", Some(b"old".to_vec()));
        for n in 0..30u8 {
            written(&mut recent, &[n], Some(vec![0; 1 << 20]));
        }
        written(&mut recent, b"a", Some(b"new".to_vec()));
        written(&mut recent, b"a", None);
        assert_eq!(recent.get(b"a"), None);
    }
}
