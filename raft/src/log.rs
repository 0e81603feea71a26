//! The Raft log on disk: vote, committed index and entries, in a RocksDB of their own.
//!
//! ```text
//! RaftCore: append ─▶ memtable + un-synced WAL ─▶ (readable at once, from the tail in memory)
//!                        └▶ flusher thread: one synced flush for all queued ─▶ durable, in order
//! ```
//!
//! One ordered flusher makes appends durable: while it waits for the disk, more appends queue up,
//! and the next flush covers them all. Vote and entries share one write-ahead log, so their order
//! on disk is the order of the calls. The state machine applies nothing beyond [`Durable`].

mod durable;
mod flusher;
mod tail;

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    path::Path,
    sync::Arc,
};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;
use rocksdb::{
    BoundColumnFamily, DB, DBRecoveryMode, Direction, IteratorMode, Options, WriteBatch,
};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use self::durable::Durable;
use self::{
    flusher::{Flusher, Item},
    tail::Tail,
};
use crate::{
    codec, metrics,
    raft_types::{Entry, LogId, TypeConfig, Vote},
};

const META: &str = "meta";
const ENTRIES: &str = "entries";

const KEY_VOTE: &str = "vote";
const KEY_COMMITTED: &str = "committed";
const KEY_PURGED: &str = "purged";

/// Memory before RocksDB writes entries to a table file; with the tail in memory it costs nothing
/// to flush early.
const WRITE_BUFFER_BYTES: usize = 8 << 20;
/// Entries and their bytes that are sent to a follower as one message.
const MESSAGE_ENTRIES_MAX: u64 = 1_024;
const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// Write-ahead log kept before RocksDB flushes the tables that pin it.
const WAL_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn other<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> io::Error {
    io::Error::other(error)
}

/// The log of one member. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    db: Arc<DB>,
    tail: Mutex<Tail>,
    durable: Durable,
    flusher: Flusher,
}

impl LogStore {
    /// Opens or creates the log in `path`.
    pub(crate) fn open(path: &Path) -> io::Result<LogStore> {
        let db = Arc::new(DB::open_cf(&options(), path, [META, ENTRIES]).map_err(other)?);
        let durable = Durable::default();
        let flusher = Flusher::start(db.clone(), durable.clone())?;
        let shared = Shared { db, tail: Mutex::new(Tail::default()), durable, flusher };
        let log = LogStore { shared: Arc::new(shared) };
        let state = log.state()?;
        log.shared.durable.start_at(state.last_log_id.map(|id| id.index));
        Ok(log)
    }

    /// How far the log is safe on this member's disk.
    pub(crate) fn durable(&self) -> Durable {
        self.shared.durable.clone()
    }

    /// Stops the flusher after what is queued. Appends fail from here on.
    pub(crate) fn close(&self) {
        self.shared.flusher.stop();
    }

    /// Reads a value of the member's own (identity, boot counter), which is not Raft's.
    pub(crate) fn read_own<T: DeserializeOwned>(&self, key: &str) -> io::Result<Option<T>> {
        self.read_meta(&format!("own/{key}"))
    }

    /// Writes such a value; durable on return.
    pub(crate) fn write_own<T: Serialize>(&self, key: &str, value: &T) -> io::Result<()> {
        self.write_meta(&format!("own/{key}"), value)?;
        self.shared.db.flush_wal(true).map_err(other)
    }

    fn column(&self, name: &str) -> Arc<BoundColumnFamily<'_>> {
        self.shared.db.cf_handle(name).expect("opened with this column family")
    }

    fn read_meta<T: DeserializeOwned>(&self, key: &str) -> io::Result<Option<T>> {
        let bytes = self.shared.db.get_pinned_cf(&self.column(META), key).map_err(other)?;
        Ok(bytes.map(|bytes| codec::unseal("log metadata", &bytes)).transpose()?)
    }

    fn write_meta<T: Serialize>(&self, key: &str, value: &T) -> io::Result<()> {
        self.shared.db.put_cf(&self.column(META), key, codec::seal(value)).map_err(other)
    }

    fn state(&self) -> io::Result<LogState<TypeConfig>> {
        let purged: Option<LogId> = self.read_meta(KEY_PURGED)?;
        let column = self.column(ENTRIES);
        let mut newest = self.shared.db.iterator_cf(&column, IteratorMode::End);
        let last = match newest.next().transpose().map_err(other)? {
            Some((_, bytes)) => Some(decode_entry(&bytes)?.log_id),
            None => None,
        };
        // A purge that was cut short leaves entries behind its mark: they count as purged.
        let last = last.max(purged);
        Ok(LogState { last_purged_log_id: purged, last_log_id: last })
    }

    fn read(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if let Some(entries) = self.shared.tail.lock().read(start, end) {
            return Ok(entries);
        }
        let purged: Option<LogId> = self.read_meta(KEY_PURGED)?;
        let start = start.max(purged.map_or(0, |id| id.index + 1));
        let column = self.column(ENTRIES);
        let from = start.to_be_bytes();
        let mode = IteratorMode::From(&from, Direction::Forward);
        let mut entries: Vec<Entry> = Vec::new();
        for item in self.shared.db.iterator_cf(&column, mode) {
            let (key, bytes) = item.map_err(other)?;
            let index = index_of(&key)?;
            if index >= end {
                break;
            }
            let entry = decode_entry(&bytes)?;
            assert_eq!(entry.index(), index, "an entry lies under its own index");
            if let Some(before) = entries.last() {
                assert_eq!(before.index() + 1, index, "the log has no holes");
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end)
    }

    /// What fits into one message to a follower; one entry at least.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let mut entries = self.read(start, end.min(start + MESSAGE_ENTRIES_MAX))?;
        let mut bytes = 0;
        let fitting = entries.iter().take_while(|entry| {
            let first = bytes == 0;
            bytes += tail::size(entry);
            first || bytes <= MESSAGE_BYTES_MAX
        });
        let fitting = fitting.count();
        entries.truncate(fitting);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.read_meta(KEY_VOTE)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        self.state()
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.write_meta(KEY_VOTE, vote)?;
        flusher::timed_sync(&self.shared.db)
    }

    // Not synced: the next append's sync covers it, and an older value only means that more
    // is applied after a restart once a leader confirms it.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let index = committed.map_or(0, |id| i64::try_from(id.index).unwrap_or(i64::MAX));
        metrics::store().proposals_committed.set(index);
        self.write_meta(KEY_COMMITTED, &committed)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.read_meta::<Option<LogId>>(KEY_COMMITTED)?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let column = self.column(ENTRIES);
        let mut batch = WriteBatch::default();
        let mut appended = Vec::new();
        for entry in entries {
            batch.put_cf(&column, entry.index().to_be_bytes(), codec::seal(&entry));
            appended.push(entry);
        }
        self.shared.db.write(batch).map_err(other)?;
        let last = appended.last().map(|entry| entry.index());
        self.shared.tail.lock().append(appended);
        let ticket = self.shared.durable.ticket(last);
        self.shared.flusher.queue(Item { ticket, callback })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let first_gone = last.map_or(0, |id| id.index + 1);
        self.shared.durable.truncate(last.map(|id| id.index));
        self.shared.tail.lock().truncate(first_gone);
        let column = self.column(ENTRIES);
        // Not synced: whatever is appended in place of it is, by the same write-ahead log.
        self.shared
            .db
            .delete_range_cf(&column, first_gone.to_be_bytes(), u64::MAX.to_be_bytes())
            .map_err(other)
    }

    async fn purge(&mut self, last: LogId) -> io::Result<()> {
        let before: Option<LogId> = self.read_meta(KEY_PURGED)?;
        let first_kept = last.index + 1;
        let column = self.column(ENTRIES);
        // The mark and the deletion are one write, and the deletion begins where the last one
        // ended: range tombstones do not pile up.
        let mut batch = WriteBatch::default();
        batch.put_cf(&self.column(META), KEY_PURGED, codec::seal(&last));
        let from = before.map_or(0, |id| id.index + 1);
        if from < first_kept {
            batch.delete_range_cf(&column, from.to_be_bytes(), first_kept.to_be_bytes());
        }
        self.shared.db.write(batch).map_err(other)?;
        // Tables that hold nothing else go at once, without being compacted away.
        self.shared
            .db
            .delete_file_in_range_cf(&column, from.to_be_bytes(), first_kept.to_be_bytes())
            .map_err(other)?;
        self.shared.tail.lock().purge(first_kept);
        self.shared.durable.raise(last.index);
        Ok(())
    }
}

fn decode_entry(bytes: &[u8]) -> io::Result<Entry> {
    Ok(codec::unseal("a log entry", bytes)?)
}

fn index_of(key: &[u8]) -> io::Result<u64> {
    let bytes = key.try_into().map_err(|_| other("a log key is not 8 bytes long"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_manual_wal_flush(true);
    // A record that was cut short by a crash was never acknowledged. Damage before the end was:
    // better no member than one that has forgotten.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_arena_block_size(WRITE_BUFFER_BYTES / 32);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(rocksdb::LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_max_open_files(128);
    options
}
