//! Which transactions write a key twice, told from their text alone.
//!
//! The rule is etcd's: a put must not meet another put of its key, nor a delete over it, at the
//! same place or in a transaction within. What can never happen together, the two branches of one
//! transaction, may write the same keys. Deletes may overlap: the second finds nothing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::types::{KeyRange, Op, Txn};

/// The first key that is written twice.
pub(crate) fn find(txn: &Txn) -> Option<Bytes> {
    match (txn.success.as_slice(), txn.failure.as_slice()) {
        ([Op::Put(_) | Op::Delete(_) | Op::Range(_)] | [], []) => None,
        (success, failure) => writes(success).and_then(|_| writes(failure)).err(),
    }
}

/// What a list of operations may write.
#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Intervals,
}

impl Writes {
    fn put(&mut self, key: &Bytes) -> Result<(), Bytes> {
        if self.deletes.contain(key) || !self.puts.insert(key.clone()) {
            return Err(key.clone());
        }
        Ok(())
    }
}

fn writes(operations: &[Op]) -> Result<Writes, Bytes> {
    let mut found = Writes::default();
    for operation in operations {
        if let Op::Delete(delete) = operation {
            found.deletes.insert(&delete.range);
        }
    }
    for operation in operations {
        if let Op::Txn(inner) = operation {
            let (then, otherwise) = (writes(&inner.success)?, writes(&inner.failure)?);
            for key in &then.puts {
                found.put(key)?;
            }
            for key in otherwise.puts.difference(&then.puts) {
                found.put(key)?;
            }
            found.deletes.extend(then.deletes);
            found.deletes.extend(otherwise.deletes);
        }
    }
    for operation in operations {
        if let Op::Put(put) = operation {
            found.put(&put.key)?;
        }
    }
    Ok(found)
}

/// Disjoint ranges of keys, by their start.
#[derive(Default)]
struct Intervals(BTreeMap<Bytes, Option<Bytes>>);

impl Intervals {
    fn insert(&mut self, range: &KeyRange) {
        let (mut start, mut end) = (range.start.clone(), range.end.clone());
        if end.as_ref().is_some_and(|end| *end <= start) {
            return;
        }
        // Takes in everything it touches, from the last one that could.
        while let Some((other_start, other_end)) = self.last_from(end.as_ref()) {
            if other_end.as_ref().is_some_and(|other_end| *other_end < start) {
                break;
            }
            self.0.remove(&other_start);
            start = start.min(other_start);
            end = match (end, other_end) {
                (Some(end), Some(other_end)) => Some(end.max(other_end)),
                _ => None,
            };
        }
        self.0.insert(start, end);
    }

    fn extend(&mut self, others: Intervals) {
        for (start, end) in others.0 {
            self.insert(&KeyRange { start, end });
        }
    }

    /// The last range that starts at or before `end`.
    fn last_from(&self, end: Option<&Bytes>) -> Option<(Bytes, Option<Bytes>)> {
        let last = match end {
            Some(end) => self.0.range::<Bytes, _>(..=end).next_back(),
            None => self.0.last_key_value(),
        };
        last.map(|(start, end)| (start.clone(), end.clone()))
    }

    fn contain(&self, key: &Bytes) -> bool {
        let last = self.0.range::<Bytes, _>(..=key).next_back();
        last.is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Delete, Put};

    fn put(key: &'static str) -> Op {
        Op::Put(Put::new(key, ""))
    }

    fn delete(from: &'static str, to: &'static str) -> Op {
        let end = (!to.is_empty()).then(|| to.into());
        Op::Delete(Delete::new(KeyRange { start: from.into(), end }))
    }

    fn branch(success: Vec<Op>, failure: Vec<Op>) -> Op {
        Op::Txn(Box::new(Txn { success, failure, ..Txn::default() }))
    }

    #[test]
    fn a_key_is_written_once() {
        let cases: Vec<(&str, Vec<Op>, Option<&str>)> = vec![
            ("nothing", vec![], None),
            ("two keys", vec![put("a"), put("b")], None),
            ("the same twice", vec![put("a"), put("a")], Some("a")),
            ("deletes may overlap", vec![delete("a", "c"), delete("b", "d")], None),
            ("a put beside a delete", vec![put("d"), delete("a", "c"), delete("b", "d")], None),
            ("a put in a delete", vec![put("c"), delete("a", "b"), delete("b", "d")], Some("c")),
            ("a put in all that follows", vec![delete("a", ""), put("z")], Some("z")),
            ("an empty delete", vec![delete("b", "a"), put("a"), put("b")], None),
            ("either branch", vec![branch(vec![put("a")], vec![put("a")])], None),
            (
                "one within and one without",
                vec![branch(vec![], vec![put("a")]), put("a")],
                Some("a"),
            ),
            (
                "two within",
                vec![branch(vec![put("a")], vec![]), branch(vec![], vec![put("a")])],
                Some("a"),
            ),
            ("deleted within", vec![put("b"), branch(vec![delete("a", "c")], vec![])], Some("b")),
            ("deleted round it", vec![branch(vec![put("b")], vec![]), delete("a", "c")], Some("b")),
            (
                "deep down",
                vec![branch(vec![branch(vec![], vec![put("b"), put("b")])], vec![])],
                Some("b"),
            ),
        ];
        for (name, operations, expected) in cases {
            let found = find(&Txn::of(operations.clone()));
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{name}");
            let otherwise = Txn { failure: operations, ..Txn::default() };
            assert_eq!(find(&otherwise).as_deref(), expected.map(str::as_bytes), "{name}, else");
        }
    }

    #[test]
    fn intervals_join_what_they_touch() {
        let mut intervals = Intervals::default();
        for (start, end) in [("d", Some("f")), ("a", Some("b")), ("h", None), ("b", Some("d"))] {
            intervals.insert(&KeyRange { start: start.into(), end: end.map(Into::into) });
        }
        let joined: Vec<_> = intervals.0.iter().map(|(s, e)| (s.as_ref(), e.as_deref())).collect();
        assert_eq!(joined, [(b"a".as_ref(), Some(b"f".as_ref())), (b"h".as_ref(), None)]);
        assert!(intervals.contain(&"c".into()) && intervals.contain(&"z".into()));
        assert!(!intervals.contain(&"f".into()) && !intervals.contain(&"g".into()));
    }
}
