//! What the state needs of a disk: the seam at which a simulated one stands in.

use std::{io, ops::ControlFlow, path::Path};

use bytes::Bytes;

use super::db::RocksState;
use crate::{
    disk::Alarm,
    mvcc::{Space, View},
};

/// A value to write, or nothing to remove what is there.
pub(crate) type Write = ((Space, Vec<u8>), Option<Bytes>);

/// A disk with one state. Writes are seen at once; a crash reverts to the last flush, which is
/// always a prefix of the writes.
pub(crate) trait StateDisk: Send + Sync {
    /// A consistent view that stays as it is.
    fn read(&self) -> Box<dyn View + '_>;

    /// The same for whoever reads everything, once: it displaces nothing that others want again.
    fn read_once(&self) -> Box<dyn View + '_> {
        self.read()
    }

    /// A view of the newest writes, for their only writer.
    fn live(&self) -> Box<dyn View + '_>;

    /// Writes atomically, without making it durable.
    fn write(&self, writes: &mut dyn Iterator<Item = Write>) -> io::Result<()>;

    /// Whether a write would have to wait until others are merged.
    fn holds_up_writes(&self) -> bool {
        false
    }

    /// Removes all keys from `from` (inclusive) to `to` (exclusive), without making it durable.
    fn remove_range(&self, space: Space, from: &[u8], to: &[u8]) -> io::Result<()> {
        let mut found = Vec::new();
        self.live().walk(space, from, Some(to), &mut |key, _| {
            found.push(((space, key.to_vec()), None));
            ControlFlow::Continue(())
        })?;
        self.write(&mut found.into_iter())
    }

    /// Makes everything written so far durable.
    fn flush(&self) -> io::Result<()>;

    /// Bytes of the tables, and of what is still to become one.
    fn bytes(&self) -> u64;

    /// Puts the files of the present state, or a slightly later one, into the new folder `path`.
    fn checkpoint(&self, path: &Path) -> io::Result<()>;

    /// Opens a checkpoint to read from it.
    fn open_checkpoint(&self, path: &Path) -> io::Result<Box<dyn StateDisk>>;

    /// Takes the files in `from` below `root`, as the state that could follow this one.
    fn successor(&self, root: &Path, from: &Path) -> io::Result<Box<dyn StateDisk>>;

    /// Makes this the state that a restart opens, durably.
    fn make_current(&self, root: &Path) -> io::Result<()>;

    /// Rings when damage is found.
    fn alarm(&self) -> Alarm {
        Alarm::default()
    }

    /// Gives its room back as soon as nobody reads it any more.
    fn discard(&self);
}

/// An open state.
pub(crate) struct StateDb(Box<dyn StateDisk>);

impl StateDb {
    /// Opens the state in the folder `root`, or creates an empty one.
    pub(crate) fn open_current(root: &Path) -> io::Result<StateDb> {
        Ok(StateDb(Box::new(RocksState::open_current(root)?)))
    }

    /// A state on a disk.
    #[cfg(test)]
    pub(crate) fn on(disk: Box<dyn StateDisk>) -> StateDb {
        StateDb(disk)
    }

    /// Opens a checkpoint to read from it.
    pub(crate) fn open_read_only(path: &Path) -> io::Result<StateDb> {
        Ok(StateDb(Box::new(RocksState::open_read_only(path)?)))
    }

    /// A consistent view that stays as it is.
    pub(crate) fn read(&self) -> Box<dyn View + '_> {
        self.0.read()
    }

    /// The same for whoever reads everything, once: it displaces nothing that others want again.
    pub(crate) fn read_once(&self) -> Box<dyn View + '_> {
        self.0.read_once()
    }

    /// A view of the newest writes, for their only writer.
    pub(crate) fn live(&self) -> Box<dyn View + '_> {
        self.0.live()
    }

    /// Writes atomically, without a write-ahead log.
    pub(crate) fn write(&self, writes: impl IntoIterator<Item = Write>) -> io::Result<()> {
        self.0.write(&mut writes.into_iter())
    }

    /// Whether a write would have to wait until others are merged.
    pub(crate) fn holds_up_writes(&self) -> bool {
        self.0.holds_up_writes()
    }

    /// Removes all keys from `from` (inclusive) to `to` (exclusive).
    pub(crate) fn remove_range(&self, space: Space, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.0.remove_range(space, from, to)
    }

    /// Makes everything written so far durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }

    /// Rings when damage is found.
    pub(crate) fn alarm(&self) -> Alarm {
        self.0.alarm()
    }

    /// Bytes of the state: tables, and what only the log has on disk yet.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Flushes and puts the files into `path`.
    pub(super) fn checkpoint(&self, path: &Path) -> io::Result<()> {
        self.0.checkpoint(path)
    }

    /// Opens a checkpoint of this state to read from it.
    pub(super) fn open_checkpoint(&self, path: &Path) -> io::Result<StateDb> {
        self.0.open_checkpoint(path).map(StateDb)
    }

    /// Takes the files in `from` below `root`, as the state that could follow this one.
    pub(super) fn successor(&self, root: &Path, from: &Path) -> io::Result<StateDb> {
        self.0.successor(root, from).map(StateDb)
    }

    /// Makes this the state that a restart opens, and lets go of the one before.
    pub(super) fn replace(&self, root: &Path, before: &StateDb) -> io::Result<()> {
        self.0.make_current(root)?;
        before.0.discard();
        Ok(())
    }
}
