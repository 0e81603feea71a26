//! Group commit: one thread makes appends durable, all that are queued with one flush.

use std::{io, ops::Range, sync::Arc};

use openraft::storage::IOFlushed;
use tokio::time::Instant;

use super::{
    disk::LogDisk,
    durable::{Durable, Ticket},
};
use crate::{
    disk::Latencies,
    environment::Worker,
    failpoints::{Step, pass},
    metrics,
    raft_types::TypeConfig,
};

/// Appends that may wait for the disk; each is a batch of entries. Their places are in memory from
/// the start.
const QUEUE_MAX: usize = 4_096;

/// What waits for a flush.
pub(super) enum Item {
    /// An append that is written but not durable.
    Append(Ticket, IOFlushed<TypeConfig>),
    /// Entries that are removed, but not durably: files that hold nothing else go only once it is.
    /// Otherwise a crash would leave a log that begins with entries it does not have.
    Removed(Range<u64>),
}

/// Who makes appends durable.
pub(super) type Flusher = Worker<Item>;

/// Starts it. It must be stopped before the disk is torn down.
pub(super) fn start(
    disk: Arc<dyn LogDisk>,
    durable: Durable,
    latencies: Arc<Latencies>,
) -> io::Result<Flusher> {
    let work = move |items: &mut Vec<Item>| commit(&*disk, &durable, &latencies, items);
    Worker::start("raft-log-flush", QUEUE_MAX, work)
}

/// One flush for all of them.
fn commit(disk: &dyn LogDisk, durable: &Durable, latencies: &Latencies, items: &mut Vec<Item>) {
    let outcome = timed_sync(disk, latencies).map_err(|error| error.to_string());
    if outcome.is_ok() {
        for item in &*items {
            if let Item::Append(ticket, _) = item {
                durable.completed(ticket);
            }
        }
    }
    for item in items.drain(..) {
        match item {
            Item::Append(_, callback) => {
                callback.io_completed(outcome.clone().map_err(io::Error::other));
            }
            Item::Removed(entries) if outcome.is_ok() => {
                if let Err(error) = disk.reclaim(entries) {
                    tracing::error!("the room of purged log entries is not given back: {error}");
                }
            }
            Item::Removed(_) => {}
        }
    }
}

/// Makes everything written so far durable.
pub(super) fn timed_sync(disk: &dyn LogDisk, latencies: &Latencies) -> io::Result<()> {
    let start = Instant::now();
    latencies.begin(start);
    let outcome =
        pass(Step::LogFlush).and_then(|()| disk.sync()).and_then(|()| pass(Step::LogFlushed));
    latencies.end(Instant::now());
    metrics::store().wal_fsync_seconds.observe(start.elapsed().as_secs_f64());
    outcome
}
