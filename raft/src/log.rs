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

mod disk;
mod durable;
mod flusher;
mod mark;
mod rocks;
mod tail;
mod volume;

use std::{
    fmt::Debug,
    io,
    ops::{Bound, ControlFlow, RangeBounds},
    path::Path,
    sync::Arc,
};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};

#[cfg(test)]
pub(crate) use self::disk::VisitEntry;
pub(crate) use self::{
    disk::{LogDisk, LogWrite},
    durable::Durable,
};
use self::{
    flusher::{Flusher, Item},
    rocks::RocksLog,
    tail::Tail,
    volume::Volume,
};
use crate::{
    codec,
    disk::Latencies,
    failpoints::{Step, pass},
    metrics,
    raft_types::{Entry, LogId, TypeConfig, Vote},
};

const KEY_VOTE: &str = "vote";
const KEY_COMMITTED: &str = "committed";
const KEY_PURGED: &str = "purged";

/// Entries and their bytes that are sent to a follower as one message.
const MESSAGE_ENTRIES_MAX: u64 = 1_024;
const MESSAGE_BYTES_MAX: usize = 2 << 20;

pub(crate) fn other<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> io::Error {
    io::Error::other(error)
}

/// The log of one member. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Arc<dyn LogDisk>,
    tail: Mutex<Tail>,
    volume: Mutex<Volume>,
    durable: Durable,
    flusher: Flusher,
    latencies: Arc<Latencies>,
}

impl LogStore {
    /// Opens or creates the log in `path`.
    pub(crate) fn open(path: &Path) -> io::Result<LogStore> {
        LogStore::on(Arc::new(RocksLog::open(path)?))
    }

    /// The log on a disk.
    pub(crate) fn on(disk: Arc<dyn LogDisk>) -> io::Result<LogStore> {
        let durable = Durable::default();
        let latencies = Arc::new(Latencies::default());
        let flusher = flusher::start(disk.clone(), durable.clone(), latencies.clone())?;
        let tail = Mutex::new(Tail::default());
        let volume = Mutex::default();
        let shared = Shared { disk, tail, volume, durable, flusher, latencies };
        let log = LogStore { shared: Arc::new(shared) };
        let state = log.state()?;
        log.shared.durable.start_at(state.last_log_id.map(|id| id.index));
        Ok(log)
    }

    /// How far the log is safe on this member's disk.
    pub(crate) fn durable(&self) -> Durable {
        self.shared.durable.clone()
    }

    /// Bytes of the entries behind `index` that were appended since the start, roughly.
    pub(crate) fn bytes_behind(&self, index: u64) -> u64 {
        self.shared.volume.lock().behind(index)
    }

    /// The last entry that has to go so that what is behind it has `bytes` at most.
    pub(crate) fn excess(&self, bytes: u64) -> Option<u64> {
        self.shared.volume.lock().excess(bytes)
    }

    /// How long it takes to make it so.
    pub(crate) fn latencies(&self) -> &Latencies {
        &self.shared.latencies
    }

    /// The index behind which the log begins.
    pub(crate) fn purged(&self) -> io::Result<Option<u64>> {
        let purged: Option<LogId> = self.read_meta(KEY_PURGED)?;
        Ok(purged.map(|id| id.index))
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
        pass(Step::OwnWrite)?;
        self.write_meta(&format!("own/{key}"), value)?;
        self.shared.disk.sync()?;
        pass(Step::OwnWritten)
    }

    fn read_meta<T: DeserializeOwned>(&self, key: &str) -> io::Result<Option<T>> {
        let bytes = self.shared.disk.meta(key)?;
        Ok(bytes.map(|bytes| codec::unseal("log metadata", &bytes)).transpose()?)
    }

    fn write_meta<T: Serialize>(&self, key: &str, value: &T) -> io::Result<()> {
        self.shared.disk.write(vec![LogWrite::Meta(key.to_owned(), codec::seal(value))])
    }

    fn state(&self) -> io::Result<LogState<TypeConfig>> {
        let purged: Option<LogId> = self.read_meta(KEY_PURGED)?;
        let last = match self.shared.disk.last()? {
            Some(bytes) => Some(decode_entry(&bytes)?.log_id),
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
        let mut entries: Vec<Entry> = Vec::new();
        self.shared.disk.walk(start, &mut |index, bytes| {
            if index >= end {
                return Ok(ControlFlow::Break(()));
            }
            let entry = decode_entry(bytes)?;
            assert_eq!(entry.index(), index, "an entry lies under its own index");
            if let Some(before) = entries.last() {
                assert_eq!(before.index() + 1, index, "the log has no holes");
            }
            entries.push(entry);
            Ok(ControlFlow::Continue(()))
        })?;
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
        pass(Step::VoteWrite)?;
        self.write_meta(KEY_VOTE, vote)?;
        flusher::timed_sync(&*self.shared.disk, &self.shared.latencies)?;
        pass(Step::VoteWritten)
    }

    // Not synced: the next append's sync covers it, and an older value only means that more
    // is applied after a restart once a leader confirms it.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let index = committed.map_or(0, |id| i64::try_from(id.index).unwrap_or(i64::MAX));
        metrics::store().proposals_committed.set(index);
        self.write_meta(KEY_COMMITTED, &committed)?;
        pass(Step::CommittedWritten)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.read_meta::<Option<LogId>>(KEY_COMMITTED)?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let appended: Vec<Entry> = entries.into_iter().collect();
        let sealed = |entry: &Entry| LogWrite::Entry(entry.index(), codec::seal(entry));
        pass(Step::LogAppend)?;
        self.shared.disk.write(appended.iter().map(sealed).collect())?;
        pass(Step::LogAppended)?;
        let last = appended.last().map(|entry| entry.index());
        if let Some(last) = last {
            let bytes: usize = appended.iter().map(tail::size).sum();
            self.shared.volume.lock().append(last, bytes as u64);
        }
        self.shared.tail.lock().append(appended);
        let ticket = self.shared.durable.ticket(last);
        self.shared.flusher.queue(Item::Append(ticket, callback))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        pass(Step::LogTruncate)?;
        let first_gone = last.map_or(0, |id| id.index + 1);
        self.shared.durable.truncate(last.map(|id| id.index));
        self.shared.tail.lock().truncate(first_gone);
        self.shared.volume.lock().truncate(first_gone);
        // Not synced: whatever is appended in place of it is, by the same write-ahead log.
        self.shared.disk.write(vec![LogWrite::Remove(first_gone..u64::MAX)])?;
        pass(Step::LogTruncated)
    }

    async fn purge(&mut self, last: LogId) -> io::Result<()> {
        let before: Option<LogId> = self.read_meta(KEY_PURGED)?;
        let first_kept = last.index + 1;
        // The mark and the deletion are one write, and the deletion begins where the last one
        // ended: range tombstones do not pile up.
        let mut writes = vec![LogWrite::Meta(KEY_PURGED.to_owned(), codec::seal(&last))];
        let from = before.map_or(0, |id| id.index + 1);
        if from < first_kept {
            writes.push(LogWrite::Remove(from..first_kept));
        }
        pass(Step::LogPurge)?;
        self.shared.disk.write(writes)?;
        pass(Step::LogPurged)?;
        self.shared.tail.lock().purge(first_kept);
        self.shared.volume.lock().purge(first_kept);
        self.shared.durable.raise(last.index);
        self.shared.flusher.queue(Item::Removed(from..first_kept))
    }
}

fn decode_entry(bytes: &[u8]) -> io::Result<Entry> {
    Ok(codec::unseal("a log entry", bytes)?)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use openraft::testing::log_id;

    use super::*;

    /// Notes what is done to a disk, and how often it was synced before.
    struct Witness {
        disk: RocksLog,
        syncs: Mutex<usize>,
        reclaimed: Mutex<Vec<(Range<u64>, usize)>>,
    }

    impl LogDisk for Witness {
        fn meta(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
            self.disk.meta(key)
        }

        fn write(&self, writes: Vec<LogWrite>) -> io::Result<()> {
            self.disk.write(writes)
        }

        fn sync(&self) -> io::Result<()> {
            self.disk.sync()?;
            *self.syncs.lock() += 1;
            Ok(())
        }

        fn last(&self) -> io::Result<Option<Vec<u8>>> {
            self.disk.last()
        }

        fn walk(&self, from: u64, visit: &mut VisitEntry<'_>) -> io::Result<()> {
            self.disk.walk(from, visit)
        }

        fn reclaim(&self, removed: Range<u64>) -> io::Result<()> {
            self.reclaimed.lock().push((removed.clone(), *self.syncs.lock()));
            self.disk.reclaim(removed)
        }
    }

    #[tokio::test]
    async fn files_go_only_once_it_is_durable_that_their_entries_are_purged() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RocksLog::open(folder.path()).unwrap();
        let (syncs, reclaimed) = (Mutex::default(), Mutex::default());
        let witness = Arc::new(Witness { disk, syncs, reclaimed });
        let mut log = LogStore::on(witness.clone()).unwrap();
        log.purge(log_id::<TypeConfig>(1, 1, 9)).await.unwrap();
        log.close();
        assert_eq!(*witness.reclaimed.lock(), [(0..10, 1)]);
    }
}
