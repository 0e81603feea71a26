//! Which watchers want a key, without asking each.
//!
//! Watchers of exactly one key are found by its hash. All others are held in a treap of intervals,
//! ordered by start and annotated with the furthest end below each node: what a key stabs is found
//! in logarithmic time plus the hits. Watchers of equal ranges share a node.

use std::{cmp::Ordering, collections::HashMap};

use bytes::Bytes;

use crate::types::KeyRange;

/// Values by the keys they are interested in.
pub(crate) struct Index<T> {
    exact: HashMap<Bytes, Vec<Entry<T>>>,
    ranges: Link<T>,
    len: usize,
    drawn: u64,
}

struct Entry<T> {
    id: u64,
    value: T,
}

type Link<T> = Option<Box<Node<T>>>;

struct Node<T> {
    range: KeyRange,
    /// The greatest end of this node and those below it.
    furthest: Option<Bytes>,
    priority: u64,
    entries: Vec<Entry<T>>,
    left: Link<T>,
    right: Link<T>,
}

impl<T> Default for Index<T> {
    fn default() -> Index<T> {
        Index { exact: HashMap::new(), ranges: None, len: 0, drawn: 0 }
    }
}

impl<T> Index<T> {
    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a value under an id of its own.
    pub(crate) fn insert(&mut self, id: u64, range: &KeyRange, value: T) {
        self.len += 1;
        let entry = Entry { id, value };
        if is_single(range) {
            self.exact.entry(range.start.clone()).or_default().push(entry);
            return;
        }
        // Any well-spread sequence keeps the treap shallow.
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let priority = (self.drawn ^ (self.drawn >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.ranges = Some(insert(self.ranges.take(), range, entry, priority));
    }

    /// Removes the value with this id and range.
    pub(crate) fn remove(&mut self, id: u64, range: &KeyRange) -> Option<T> {
        let removed = if is_single(range) {
            let entries = self.exact.get_mut(&range.start)?;
            let removed = take(entries, id);
            if entries.is_empty() {
                self.exact.remove(&range.start);
            }
            removed
        } else {
            let (link, removed) = remove(self.ranges.take(), range, id);
            self.ranges = link;
            removed
        };
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Visits every value that is interested in `key`.
    pub(crate) fn visit(&self, key: &[u8], visit: &mut impl FnMut(u64, &T)) {
        for entry in self.exact.get(key).into_iter().flatten() {
            visit(entry.id, &entry.value);
        }
        stab(&self.ranges, key, visit);
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let mut all: Vec<T> = self.exact.drain().flat_map(|(_, list)| values(list)).collect();
        let mut rest: Vec<Box<Node<T>>> = self.ranges.take().into_iter().collect();
        while let Some(mut node) = rest.pop() {
            rest.extend(node.left.take());
            rest.extend(node.right.take());
            all.extend(values(node.entries));
        }
        self.len = 0;
        all
    }
}

fn values<T>(entries: Vec<Entry<T>>) -> impl Iterator<Item = T> {
    entries.into_iter().map(|entry| entry.value)
}

fn take<T>(entries: &mut Vec<Entry<T>>, id: u64) -> Option<T> {
    let at = entries.iter().position(|entry| entry.id == id)?;
    Some(entries.swap_remove(at).value)
}

/// Whether a range holds exactly one key.
fn is_single(range: &KeyRange) -> bool {
    range.end.as_ref().is_some_and(|end| {
        end.len() == range.start.len() + 1 && end.ends_with(&[0]) && end.starts_with(&range.start)
    })
}

/// Orders ends: none is behind all.
fn by_end(a: Option<&Bytes>, b: Option<&Bytes>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => a.cmp(b),
    }
}

fn by_range(a: &KeyRange, b: &KeyRange) -> Ordering {
    a.start.cmp(&b.start).then_with(|| by_end(a.end.as_ref(), b.end.as_ref()))
}

fn is_behind(end: Option<&Bytes>, key: &[u8]) -> bool {
    end.is_none_or(|end| key < end.as_ref())
}

impl<T> Node<T> {
    /// Computes the furthest end again from the node and its children.
    fn settle(mut self: Box<Self>) -> Box<Self> {
        let own = self.range.end.as_ref();
        let children = [&self.left, &self.right].into_iter().flatten();
        let furthest = children
            .map(|child| child.furthest.as_ref())
            .fold(own, |furthest, end| std::cmp::max_by(furthest, end, |a, b| by_end(*a, *b)));
        self.furthest = furthest.cloned();
        self
    }
}

fn insert<T>(link: Link<T>, range: &KeyRange, entry: Entry<T>, priority: u64) -> Box<Node<T>> {
    let Some(mut node) = link else {
        let (range, furthest) = (range.clone(), range.end.clone());
        let entries = vec![entry];
        return Box::new(Node { range, furthest, priority, entries, left: None, right: None });
    };
    match by_range(range, &node.range) {
        Ordering::Equal => {
            node.entries.push(entry);
            node
        }
        Ordering::Less => {
            let mut child = insert(node.left.take(), range, entry, priority);
            if child.priority > node.priority {
                node.left = child.right.take();
                child.right = Some(node.settle());
                return child.settle();
            }
            node.left = Some(child);
            node.settle()
        }
        Ordering::Greater => {
            let mut child = insert(node.right.take(), range, entry, priority);
            if child.priority > node.priority {
                node.right = child.left.take();
                child.left = Some(node.settle());
                return child.settle();
            }
            node.right = Some(child);
            node.settle()
        }
    }
}

fn remove<T>(link: Link<T>, range: &KeyRange, id: u64) -> (Link<T>, Option<T>) {
    let Some(mut node) = link else { return (None, None) };
    let removed;
    match by_range(range, &node.range) {
        Ordering::Equal => {
            removed = take(&mut node.entries, id);
            if node.entries.is_empty() {
                return (merge(node.left.take(), node.right.take()), removed);
            }
        }
        Ordering::Less => (node.left, removed) = remove(node.left.take(), range, id),
        Ordering::Greater => (node.right, removed) = remove(node.right.take(), range, id),
    }
    (Some(node.settle()), removed)
}

/// Joins two treaps, all of the left before all of the right.
fn merge<T>(left: Link<T>, right: Link<T>) -> Link<T> {
    match (left, right) {
        (None, one) | (one, None) => one,
        (Some(mut left), Some(mut right)) => {
            if left.priority > right.priority {
                left.right = merge(left.right.take(), Some(right));
                Some(left.settle())
            } else {
                right.left = merge(Some(left), right.left.take());
                Some(right.settle())
            }
        }
    }
}

fn stab<T>(link: &Link<T>, key: &[u8], visit: &mut impl FnMut(u64, &T)) {
    let Some(node) = link else { return };
    if !is_behind(node.furthest.as_ref(), key) {
        return;
    }
    stab(&node.left, key, visit);
    if node.range.start.as_ref() > key {
        return;
    }
    if is_behind(node.range.end.as_ref(), key) {
        for entry in &node.entries {
            visit(entry.id, &entry.value);
        }
    }
    stab(&node.right, key, visit);
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn some_key(rng: &mut StdRng) -> Vec<u8> {
        let length = rng.random_range(0..4);
        (0..length).map(|_| rng.random_range(0..4)).collect()
    }

    fn some_range(rng: &mut StdRng) -> KeyRange {
        match rng.random_range(0..4) {
            0 => KeyRange::key(some_key(rng)),
            1 => KeyRange::prefix(some_key(rng)),
            2 => KeyRange { start: some_key(rng).into(), end: None },
            _ => KeyRange { start: some_key(rng).into(), end: Some(some_key(rng).into()) },
        }
    }

    fn hits(index: &Index<KeyRange>, key: &[u8]) -> Vec<u64> {
        let mut hits = Vec::new();
        index.visit(key, &mut |id, _| hits.push(id));
        hits.sort_unstable();
        hits
    }

    fn depth<T>(link: &Link<T>) -> usize {
        link.as_ref().map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
    }

    /// Whatever comes and goes, the index answers what asking every range would.
    #[test]
    fn it_finds_exactly_who_wants_a_key() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut index = Index::default();
        let mut all: Vec<(u64, KeyRange)> = Vec::new();
        for id in 0..3_000 {
            if !all.is_empty() && rng.random_bool(0.45) {
                let (id, range) = all.swap_remove(rng.random_range(0..all.len()));
                assert_eq!(index.remove(id, &range), Some(range.clone()));
                assert_eq!(index.remove(id, &range), None);
            } else {
                let range = some_range(&mut rng);
                index.insert(id, &range, range.clone());
                all.push((id, range));
            }
            let key = some_key(&mut rng);
            let mut expected: Vec<u64> =
                all.iter().filter(|(_, range)| range.contains(&key)).map(|(id, _)| *id).collect();
            expected.sort_unstable();
            assert_eq!(hits(&index, &key), expected, "key {key:?}");
            assert_eq!(index.len(), all.len());
        }
        assert_eq!(index.drain().len(), all.len());
        assert!(hits(&index, b"").is_empty());
    }

    #[test]
    fn it_stays_shallow_when_ranges_come_in_order() {
        let mut index = Index::default();
        for id in 0..10_000_u64 {
            let range = KeyRange { start: id.to_be_bytes().to_vec().into(), end: None };
            index.insert(id, &range, ());
        }
        assert!(depth(&index.ranges) < 64, "{}", depth(&index.ranges));
    }
}
