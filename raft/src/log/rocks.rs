//! The log's RocksDB: two column families, one write-ahead log.

use std::{
    fs, io,
    ops::{ControlFlow, Range},
    path::Path,
    sync::Arc,
};

use rocksdb::{
    BoundColumnFamily, DB, DBCompressionType, DBRecoveryMode, Direction, IteratorMode, Options,
    WriteBatch,
};

use super::{
    disk::{LogDisk, LogWrite, VisitEntry},
    mark::Mark,
    other,
};
use crate::disk::{damage, database, of_rocksdb};

const META: &str = "meta";
const ENTRIES: &str = "entries";

/// Memory before RocksDB writes entries to a table file. Most are purged before that, and are
/// then written once, to the write-ahead log.
const WRITE_BUFFER_BYTES: usize = 32 << 20;
/// What a memtable grows by.
const ARENA_BLOCK_BYTES: usize = 256 << 10;
/// Write-ahead log kept before RocksDB flushes the tables that pin it.
const WAL_BYTES_MAX: u64 = 64 << 20;

/// An open database.
pub(super) struct RocksLog {
    db: DB,
    mark: Mark,
}

impl RocksLog {
    /// Opens or creates it in `path`.
    pub(super) fn open(path: &Path) -> io::Result<RocksLog> {
        fs::create_dir_all(path)?;
        damage::refuse_headless(path)?;
        let (mark, synced) = Mark::open(path)?;
        let db = DB::open_cf(&options(), path, [META, ENTRIES])
            .map_err(|error| damage::explain(path, error))?;
        let last = db.latest_sequence_number();
        if last < synced {
            return Err(damage::found(format!(
                "the log ends with write {last}, but write {synced} had been made durable: {}",
                damage::end_of_log(path)
            )));
        }
        Ok(RocksLog { db, mark })
    }

    fn column(&self, name: &str) -> Arc<BoundColumnFamily<'_>> {
        self.db.cf_handle(name).expect("opened with this column family")
    }
}

impl LogDisk for RocksLog {
    fn meta(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        self.db.get_cf(&self.column(META), key).map_err(of_rocksdb)
    }

    fn write(&self, writes: Vec<LogWrite>) -> io::Result<()> {
        let (meta, entries) = (self.column(META), self.column(ENTRIES));
        let mut batch = WriteBatch::default();
        for write in writes {
            match write {
                LogWrite::Meta(key, value) => batch.put_cf(&meta, key, value),
                LogWrite::Entry(index, entry) => {
                    batch.put_cf(&entries, index.to_be_bytes(), entry);
                }
                LogWrite::Remove(Range { start, end }) => {
                    batch.delete_range_cf(&entries, start.to_be_bytes(), end.to_be_bytes());
                }
            }
        }
        self.db.write(batch).map_err(of_rocksdb)
    }

    fn sync(&self) -> io::Result<()> {
        let written = self.db.latest_sequence_number();
        self.db.flush_wal(true).map_err(of_rocksdb)?;
        self.mark.advance(written)
    }

    fn last(&self) -> io::Result<Option<Vec<u8>>> {
        let mut newest = self.db.iterator_cf(&self.column(ENTRIES), IteratorMode::End);
        let last = newest.next().transpose().map_err(of_rocksdb)?;
        Ok(last.map(|(_, entry)| entry.into_vec()))
    }

    fn walk(&self, from: u64, visit: &mut VisitEntry<'_>) -> io::Result<()> {
        let from = from.to_be_bytes();
        let mode = IteratorMode::From(&from, Direction::Forward);
        for item in self.db.iterator_cf(&self.column(ENTRIES), mode) {
            let (key, entry) = item.map_err(of_rocksdb)?;
            if visit(index_of(&key)?, &entry)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn reclaim(&self, removed: Range<u64>) -> io::Result<()> {
        let (from, to) = (removed.start.to_be_bytes(), removed.end.to_be_bytes());
        self.db.delete_file_in_range_cf(&self.column(ENTRIES), from, to).map_err(of_rocksdb)
    }
}

fn index_of(key: &[u8]) -> io::Result<u64> {
    let bytes = key.try_into().map_err(|_| other("a log key is not 8 bytes long"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn options() -> Options {
    let mut options = database::options();
    options.set_manual_wal_flush(true);
    // A record that was cut short by a crash was never acknowledged. Damage before the end was:
    // better no member than one that has forgotten.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_arena_block_size(ARENA_BLOCK_BYTES);
    // Entries live for minutes.
    options.set_compression_type(DBCompressionType::None);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_open_files(128);
    options
}
