//! An ordered map of objects with stable snapshots: two levels of chunks behind `Arc`s.
//!
//! A snapshot is a clone of one `Arc`. A write copies the chunk it touches and the list of chunks,
//! and only if a snapshot holds them: readers never wait for writers, writers never for readers.

use std::sync::Arc;

use super::object::Object;

/// Most objects in a chunk; at 100,000 objects both levels stay under a thousand pointers.
const CHUNK_MAX: usize = 256;

type Chunk = Arc<Vec<Arc<Object>>>;

/// Objects in the order of their keys. Cloning is cheap and gives a stable snapshot.
#[derive(Clone, Default)]
pub struct Index {
    chunks: Arc<Vec<Chunk>>,
    len: usize,
}

impl Index {
    /// Number of objects.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes of JSON an object has: the average of a few from all over.
    pub fn bytes_each(&self) -> usize {
        let step = self.chunks.len().div_ceil(16).max(1);
        let sample = self.chunks.iter().step_by(step).filter_map(|chunk| chunk.first());
        let (bytes, count) =
            sample.fold((0, 0), |(bytes, count), object| (bytes + object.json.len(), count + 1));
        bytes.checked_div(count).unwrap_or(0)
    }

    /// The object of a key.
    pub fn get(&self, key: &str) -> Option<&Arc<Object>> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk.binary_search_by(|object| object.key.as_ref().cmp(key)).ok()?;
        chunk.get(at)
    }

    /// Puts an object under its key; returns the one it replaces.
    pub fn insert(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let at = self.chunk_of(&object.key);
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::default());
        }
        let at = at.min(chunks.len() - 1);
        let chunk = Arc::make_mut(&mut chunks[at]);
        match chunk.binary_search_by(|other| other.key.cmp(&object.key)) {
            Ok(place) => Some(std::mem::replace(&mut chunk[place], object)),
            Err(place) => {
                chunk.insert(place, object);
                self.len += 1;
                if chunk.len() > CHUNK_MAX {
                    let tail = chunk.split_off(CHUNK_MAX / 2);
                    chunks.insert(at + 1, Arc::new(tail));
                }
                None
            }
        }
    }

    /// Removes a key's object.
    pub fn remove(&mut self, key: &str) -> Option<Arc<Object>> {
        let at = self.chunk_of(key);
        let place =
            self.chunks.get(at)?.binary_search_by(|object| object.key.as_ref().cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[at]);
        let removed = chunk.remove(place);
        if chunk.is_empty() {
            chunks.remove(at);
        }
        self.len -= 1;
        Some(removed)
    }

    /// Walks a stable snapshot from the first key that is not below `start`, as long as keys
    /// begin with `prefix`.
    pub fn walk(&self, prefix: &str, start: &str) -> Walk {
        let first = if start > prefix { start } else { prefix };
        let chunk = self.chunk_of(first);
        let place = self
            .chunks
            .get(chunk)
            .map_or(0, |objects| objects.partition_point(|object| object.key.as_ref() < first));
        Walk { index: self.clone(), prefix: prefix.to_owned(), chunk, place }
    }

    /// The last chunk that begins at or below `key`.
    fn chunk_of(&self, key: &str) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.first().is_some_and(|object| object.key.as_ref() <= key))
            .saturating_sub(1)
    }
}

/// A walk over a snapshot.
pub struct Walk {
    index: Index,
    prefix: String,
    chunk: usize,
    place: usize,
}

impl Iterator for Walk {
    type Item = Arc<Object>;

    fn next(&mut self) -> Option<Arc<Object>> {
        loop {
            let chunk = self.index.chunks.get(self.chunk)?;
            if let Some(object) = chunk.get(self.place) {
                self.place += 1;
                return object.key.starts_with(self.prefix.as_str()).then(|| object.clone());
            }
            self.chunk += 1;
            self.place = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn object(key: &str, revision: u64) -> Arc<Object> {
        Arc::new(Object::for_tests(key, revision))
    }

    fn keys(index: &Index, prefix: &str, start: &str) -> Vec<String> {
        index.walk(prefix, start).map(|object| object.key.to_string()).collect()
    }

    #[test]
    fn it_agrees_with_a_map_and_snapshots_stay() {
        let mut index = Index::default();
        let mut model = BTreeMap::new();
        // A fixed walk through keys, long enough to split and to empty chunks.
        for step in 0..6000_u64 {
            let key = format!("ns{}/p{:04}", step % 3, (step * 7919) % 1500);
            if step % 3 == 2 {
                let removed = index.remove(&key).map(|object| object.revision.0);
                assert_eq!(removed, model.remove(&key));
            } else {
                let replaced = index.insert(object(&key, step)).map(|object| object.revision.0);
                assert_eq!(replaced, model.insert(key, step));
            }
            assert_eq!(index.len(), model.len());
        }
        let expected: Vec<String> = model.keys().cloned().collect();
        assert_eq!(keys(&index, "", ""), expected);
        let snapshot = index.clone();
        for key in &expected {
            assert!(index.get(key).is_some());
            index.remove(key);
        }
        assert!(index.is_empty());
        assert_eq!(keys(&snapshot, "", ""), expected);
    }

    #[test]
    fn a_walk_keeps_to_its_namespace() {
        let mut index = Index::default();
        for key in ["a/x", "a/y", "ab/x", "b/x"] {
            index.insert(object(key, 1));
        }
        assert_eq!(keys(&index, "a/", ""), ["a/x", "a/y"]);
        assert_eq!(keys(&index, "a/", "a/x\0"), ["a/y"]);
        assert_eq!(keys(&index, "c/", ""), Vec::<String>::new());
        assert_eq!(keys(&index, "", "ab/x"), ["ab/x", "b/x"]);
    }
}
