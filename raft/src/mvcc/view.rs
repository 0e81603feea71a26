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

type Writes = BTreeMap<(Space, Vec<u8>), Option<Bytes>>;

/// Writes staged on top of a view; reads see them.
pub(crate) struct Overlay<'v, V: View> {
    below: &'v V,
    writes: Writes,
}

impl<'v, V: View> Overlay<'v, V> {
    /// Nothing staged yet.
    pub(crate) fn new(below: &'v V) -> Overlay<'v, V> {
        Overlay { below, writes: BTreeMap::new() }
    }

    /// Stages a value.
    pub(crate) fn put(&mut self, space: Space, key: Vec<u8>, value: impl Into<Bytes>) {
        self.writes.insert((space, key), Some(value.into()));
    }

    /// Stages a removal.
    pub(crate) fn remove(&mut self, space: Space, key: Vec<u8>) {
        self.writes.insert((space, key), None);
    }

    /// What was staged, in order.
    pub(crate) fn into_writes(self) -> Writes {
        self.writes
    }

    /// Takes over what an overlay on top of this one staged.
    pub(crate) fn absorb(&mut self, writes: Writes) {
        self.writes.extend(writes);
    }
}

impl<V: View> View for Overlay<'_, V> {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Bytes>> {
        match self.writes.get(&(space, key.to_vec())) {
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
        let from = Bound::Included((space, start.to_vec()));
        let mut staged = self
            .writes
            .range((from, Bound::Unbounded))
            .take_while(|((s, key), _)| *s == space && end.is_none_or(|end| key.as_slice() < end))
            .peekable();
        let mut stopped = false;
        self.below.walk(space, start, end, &mut |key, value| {
            while let Some(((_, ahead), _)) = staged.peek()
                && ahead.as_slice() <= key
            {
                let replaces = ahead.as_slice() == key;
                if let Some(((_, at), Some(new))) = staged.next()
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
        for ((_, key), value) in staged {
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
    pub(crate) fn commit(&mut self, writes: Writes) {
        for (key, value) in writes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
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
