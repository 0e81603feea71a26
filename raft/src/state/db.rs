//! The RocksDB instance of the state, its folder, and reading from it.
//!
//! ```text
//! state/CURRENT     the name of the folder in use
//! state/000001/     a RocksDB; a snapshot from the leader becomes the next one
//! ```

use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use rocksdb::{
    BoundColumnFamily, ColumnFamilyDescriptor, DB, DBRawIterator, FlushOptions, Options,
    ReadOptions, WriteBatch, WriteOptions, checkpoint::Checkpoint,
};

use super::{
    current,
    disk::{StateDisk, Write},
    tables,
};
use crate::{
    disk::{Alarm, damage},
    failpoints::{Step, pass},
    log::other,
    mvcc::{Space, View, view::Visit},
};

/// A state's database.
pub(super) struct RocksState {
    // Dropped before the folder is removed.
    db: Option<DB>,
    path: PathBuf,
    obsolete: AtomicBool,
    alarm: Alarm,
}

impl RocksState {
    /// Opens the folder that `CURRENT` names; others are left-overs and are removed.
    pub(super) fn open_current(root: &Path) -> io::Result<RocksState> {
        fs::create_dir_all(root)?;
        let name = match current::read(root)? {
            Some(name) => name,
            None => {
                current::write(root, current::FIRST)?;
                current::FIRST.to_owned()
            }
        };
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.file_name() != name.as_str() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        RocksState::open(&root.join(name), Alarm::default())
    }

    fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn open(path: &Path, alarm: Alarm) -> io::Result<RocksState> {
        damage::refuse_headless(path)?;
        let cache = tables::cache();
        let columns = Space::ALL
            .map(|space| ColumnFamilyDescriptor::new(space.name(), tables::column(space, &cache)));
        let db = DB::open_cf_descriptors(&tables::database(), path, columns)
            .map_err(|error| damage::explain(path, error))?;
        Ok(RocksState::of(db, path, alarm))
    }

    /// Opens a checkpoint to read from it.
    pub(super) fn open_read_only(path: &Path) -> io::Result<RocksState> {
        let names = Space::ALL.map(Space::name);
        let db = DB::open_cf_for_read_only(&Options::default(), path, names, false);
        let db = db.map_err(|error| damage::explain(path, error))?;
        Ok(RocksState::of(db, path, Alarm::default()))
    }

    fn of(db: DB, path: &Path, alarm: Alarm) -> RocksState {
        let obsolete = AtomicBool::new(false);
        RocksState { db: Some(db), path: path.to_owned(), obsolete, alarm }
    }

    fn db(&self) -> &DB {
        self.db.as_ref().expect("only dropping takes it")
    }

    fn column(&self, space: Space) -> Arc<BoundColumnFamily<'_>> {
        self.db().cf_handle(space.name()).expect("opened with this column family")
    }
}

impl StateDisk for RocksState {
    fn read(&self) -> Box<dyn View + '_> {
        Box::new(ReadView { db: self, snapshot: self.db().snapshot(), is_once: false })
    }

    fn read_once(&self) -> Box<dyn View + '_> {
        Box::new(ReadView { db: self, snapshot: self.db().snapshot(), is_once: true })
    }

    fn live(&self) -> Box<dyn View + '_> {
        Box::new(LiveView(self))
    }

    fn write(&self, writes: &mut dyn Iterator<Item = Write>) -> io::Result<()> {
        let columns = Space::ALL.map(|space| self.column(space));
        let mut batch = WriteBatch::default();
        for ((space, key), value) in writes {
            let column = &columns[space as usize];
            match value {
                Some(value) => batch.put_cf(column, key, value),
                None => batch.delete_cf(column, key),
            }
        }
        self.db().write_opt(batch, &unlogged()).map_err(|error| self.alarm.note(error))
    }

    fn holds_up_writes(&self) -> bool {
        use rocksdb::properties::{ACTUAL_DELAYED_WRITE_RATE, IS_WRITE_STOPPED};
        [IS_WRITE_STOPPED, ACTUAL_DELAYED_WRITE_RATE].into_iter().any(|name| {
            self.db().property_int_value(name).ok().flatten().is_some_and(|value| value > 0)
        })
    }

    fn remove_range(&self, space: Space, from: &[u8], to: &[u8]) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(&self.column(space), from, to);
        self.db().write_opt(batch, &unlogged()).map_err(|error| self.alarm.note(error))
    }

    fn flush(&self) -> io::Result<()> {
        let columns = Space::ALL.map(|space| self.column(space));
        let columns: Vec<&Arc<BoundColumnFamily<'_>>> = columns.iter().collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        pass(Step::StateFlush)?;
        self.db().flush_cfs_opt(&columns, &options).map_err(|error| self.alarm.note(error))?;
        pass(Step::StateFlushed)
    }

    fn bytes(&self) -> u64 {
        use rocksdb::properties::{CUR_SIZE_ALL_MEM_TABLES, TOTAL_SST_FILES_SIZE};
        let sizes = Space::ALL.into_iter().flat_map(|space| {
            [TOTAL_SST_FILES_SIZE, CUR_SIZE_ALL_MEM_TABLES].map(|name| {
                let size = self.db().property_int_value_cf(&self.column(space), name);
                size.ok().flatten().unwrap_or(0)
            })
        });
        sizes.sum()
    }

    fn checkpoint(&self, path: &Path) -> io::Result<()> {
        self.flush()?;
        Checkpoint::new(self.db())
            .and_then(|checkpoint| checkpoint.create_checkpoint(path))
            .map_err(|error| self.alarm.note(error))
    }

    fn open_checkpoint(&self, path: &Path) -> io::Result<Box<dyn StateDisk>> {
        Ok(Box::new(RocksState::open_read_only(path)?))
    }

    fn successor(&self, root: &Path, from: &Path) -> io::Result<Box<dyn StateDisk>> {
        let number: u64 = self
            .name()
            .parse()
            .map_err(|_| other(format!("the state's folder {} is not a number", self.name())))?;
        let path = root.join(format!("{:06}", number + 1));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::rename(from, &path)?;
        pass(Step::SnapshotMoved)?;
        Ok(Box::new(RocksState::open(&path, self.alarm.clone())?))
    }

    fn make_current(&self, root: &Path) -> io::Result<()> {
        current::write(root, self.name())
    }

    fn alarm(&self) -> Alarm {
        self.alarm.clone()
    }

    fn discard(&self) {
        self.obsolete.store(true, Ordering::Release);
    }
}

impl Drop for RocksState {
    fn drop(&mut self) {
        drop(self.db.take());
        if self.obsolete.load(Ordering::Acquire)
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), "cannot remove a replaced state: {error}");
        }
    }
}

/// A snapshot of the database.
struct ReadView<'a> {
    db: &'a RocksState,
    snapshot: rocksdb::Snapshot<'a>,
    /// Blocks that are read are not kept.
    is_once: bool,
}

impl View for ReadView<'_> {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Bytes>> {
        let value = self.snapshot.get_pinned_cf(&self.db.column(space), key);
        let value = value.map_err(|error| self.db.alarm.note(error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn walk(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> io::Result<()> {
        let column = self.db.column(space);
        let mut options = bounded(end);
        options.fill_cache(!self.is_once);
        let iterator = self.snapshot.raw_iterator_cf_opt(&column, options);
        walk(iterator, start, visit).map_err(|error| self.db.alarm.note(error))
    }
}

/// The database as it is now. What is written is looked up first, and then it is in a memtable: the
/// block where it was found is not kept.
struct LiveView<'a>(&'a RocksState);

impl View for LiveView<'_> {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Bytes>> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let value = self.0.db().get_pinned_cf_opt(&self.0.column(space), key, &options);
        let value = value.map_err(|error| self.0.alarm.note(error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn walk(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> io::Result<()> {
        let column = self.0.column(space);
        let iterator = self.0.db().raw_iterator_cf_opt(&column, bounded(end));
        walk(iterator, start, visit).map_err(|error| self.0.alarm.note(error))
    }
}

/// The Raft log is the log of these writes.
fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

fn bounded(end: Option<&[u8]>) -> ReadOptions {
    let mut options = ReadOptions::default();
    if let Some(end) = end {
        options.set_iterate_upper_bound(end);
    }
    options
}

fn walk(
    mut iterator: DBRawIterator<'_>,
    start: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), rocksdb::Error> {
    iterator.seek(start);
    while let Some((key, value)) = iterator.item() {
        if visit(key, value) == ControlFlow::Break(()) {
            return Ok(());
        }
        iterator.next();
    }
    iterator.status()
}

#[cfg(test)]
mod tests {
    use rocksdb::properties::BLOCK_CACHE_USAGE;

    use super::*;

    #[test]
    fn whoever_reads_everything_once_displaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = RocksState::open_current(folder.path()).unwrap();
        let record = |n: u32| {
            let value = Bytes::from(vec![b'v'; 256]);
            ((Space::Current, n.to_be_bytes().to_vec()), Some(value))
        };
        state.write(&mut (0..10_000).map(record)).unwrap();
        state.flush().unwrap();
        let cached = || {
            let column = state.column(Space::Current);
            state.db().property_int_value_cf(&column, BLOCK_CACHE_USAGE).unwrap().unwrap()
        };
        let walk = |view: &dyn View| {
            let mut seen = 0;
            let mut count = |_: &[u8], _: &[u8]| {
                seen += 1;
                ControlFlow::Continue(())
            };
            view.walk(Space::Current, &[], None, &mut count).unwrap();
            seen
        };
        let before = cached();
        assert_eq!(walk(&*state.read_once()), 10_000);
        let key = 77u32.to_be_bytes();
        assert!(state.live().get(Space::Current, &key).unwrap().is_some());
        assert_eq!(cached(), before);
        assert_eq!(walk(&*state.read()), 10_000);
        assert!(cached() > before, "blocks that others may want again are kept");
    }
}
