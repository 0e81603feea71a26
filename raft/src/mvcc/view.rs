//! Reading and staging: a [`View`] is a consistent state, an [`Overlay`] is writes on top of one.

use std::{collections::BTreeMap, io, ops::Bound, ops::ControlFlow};

use bytes::Bytes;

/// The key spaces of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Space {
    Current,
    History,
    Changes,
    Meta,
}

impl Space {
    pub(crate) const ALL: [Space; 4] =
        [Space::Current, Space::History, Space::Changes, Space::Meta];

    /// Its name on disk.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Space::Current => "current",
            Space::History => "history",
            Space::Changes => "changes",
            Space::Meta => "meta",
        }
    }
}

/// What a walk calls for every key: break to stop.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A consistent state to read from.
pub(crate) trait View {
    /// The value of one key.
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Bytes>>;

    /// Walks keys from `start` (inclusive) to `end` (exclusive) in order.
    fn walk(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> io::Result<()>;
}

impl<V: View + ?Sized> View for Box<V> {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Bytes>> {
        (**self).get(space, key)
    }

    fn walk(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> io::Result<()> {
        (**self).walk(space, start, end, visit)
    }
}

/// Staged writes, by space: a value, or nothing for a removal.
#[derive(Default)]
pub(crate) struct Writes([BTreeMap<Vec<u8>, Option<Bytes>>; Space::ALL.len()]);

impl Writes {
    /// Those of one space, in order.
    pub(crate) fn of(&self, space: Space) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        self.0[space as usize].iter().map(|(key, value)| (key.as_slice(), value.as_ref()))
    }

    /// All of them, in order.
    pub(crate) fn into_records(self) -> impl Iterator<Item = ((Space, Vec<u8>), Option<Bytes>)> {
        let spaces = Space::ALL.into_iter().zip(self.0);
        spaces.flat_map(|(space, writes)| {
            writes.into_iter().map(move |(key, value)| ((space, key), value))
        })
    }
}

/// Writes staged on top of a view; reads see them.
pub(crate) struct Overlay<'v, V: View> {
    below: &'v V,
    writes: Writes,
}

impl<'v, V: View> Overlay<'v, V> {
    /// Nothing staged yet.
    pub(crate) fn new(below: &'v V) -> Overlay<'v, V> {
        Overlay { below, writes: Writes::default() }
    }

    /// Stages a value.
    pub(crate) fn put(&mut self, space: Space, key: Vec<u8>, value: impl Into<Bytes>) {
        self.writes.0[space as usize].insert(key, Some(value.into()));
    }

    /// Stages a removal.
    pub(crate) fn remove(&mut self, space: Space, key: Vec<u8>) {
        self.writes.0[space as usize].insert(key, None);
    }

    /// Whether a value is staged here for a key.
    pub(crate) fn is_staged(&self, space: Space, key: &[u8]) -> bool {
        matches!(self.writes.0[space as usize].get(key), Some(Some(_)))
    }

    /// What was staged.
    pub(crate) fn into_writes(self) -> Writes {
        self.writes
    }

    /// Takes over what an overlay on top of this one staged.
    pub(crate) fn absorb(&mut self, writes: Writes) {
        for (mine, staged) in self.writes.0.iter_mut().zip(writes.0) {
            mine.extend(staged);
        }
    }
}

impl<V: View> View for Overlay<'_, V> {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Bytes>> {
        match self.writes.0[space as usize].get(key) {
            Some(staged) => Ok(staged.clone()),
            None => self.below.get(space, key),
        }
    }

    fn walk(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> io::Result<()> {
        let mut staged = self.writes.0[space as usize]
            .range::<[u8], _>((Bound::Included(start), Bound::Unbounded))
            .take_while(|(key, _)| end.is_none_or(|end| key.as_slice() < end))
            .peekable();
        let mut stopped = false;
        self.below.walk(space, start, end, &mut |key, value| {
            while let Some((ahead, _)) = staged.peek()
                && ahead.as_slice() <= key
            {
                let replaces = ahead.as_slice() == key;
                if let Some((at, Some(new))) = staged.next()
                    && visit(at, new).is_break()
                {
                    stopped = true;
                    return ControlFlow::Break(());
                }
                if replaces {
                    return ControlFlow::Continue(());
                }
            }
            let flow = visit(key, value);
            stopped = flow.is_break();
            flow
        })?;
        if stopped {
            return Ok(());
        }
        for (key, value) in staged {
            if let Some(value) = value
                && visit(key, value).is_break()
            {
                break;
            }
        }
        Ok(())
    }
}

/// A state in memory.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Memory(BTreeMap<(Space, Vec<u8>), Bytes>);

#[cfg(test)]
impl Memory {
    /// Takes over staged writes.
    pub(crate) fn commit(
        &mut self,
        writes: impl IntoIterator<Item = ((Space, Vec<u8>), Option<Bytes>)>,
    ) {
        for (key, value) in writes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    /// Removes all keys of a range.
    pub(crate) fn remove_range(&mut self, space: Space, from: &[u8], to: &[u8]) {
        self.0.retain(|(s, key), _| *s != space || key.as_slice() < from || key.as_slice() >= to);
    }

    /// All rows, by the number of their space.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u8, Vec<u8>, Bytes)> {
        self.0.iter().map(|((space, key), value)| (*space as u8, key.clone(), value.clone()))
    }

    /// Keys in a space.
    pub(crate) fn len(&self, space: Space) -> usize {
        self.0.keys().filter(|(s, _)| *s == space).count()
    }
}

#[cfg(test)]
impl View for Memory {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.0.get(&(space, key.to_vec())).cloned())
    }

    fn walk(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> io::Result<()> {
        let from = Bound::Included((space, start.to_vec()));
        for ((s, key), value) in self.0.range((from, Bound::Unbounded)) {
            let within = *s == space && end.is_none_or(|end| key.as_slice() < end);
            if !within || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
