//! Group commit: one thread makes appends durable, all that are queued with one flush.

use std::{
    io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    disk::LogDisk,
    durable::{Durable, Ticket},
    other,
};
use crate::{
    disk::Latencies,
    failpoints::{Step, pass},
    metrics, pulse,
    raft_types::TypeConfig,
};

/// Appends that may wait for the disk; each is a batch of entries. Their places are in memory from
/// the start.
const QUEUE_MAX: usize = 4_096;

/// An append that is written but not durable.
pub(super) struct Item {
    pub(super) ticket: Ticket,
    pub(super) callback: IOFlushed<TypeConfig>,
}

/// The thread and its queue.
pub(super) struct Flusher {
    queue: Mutex<Option<mpsc::SyncSender<Item>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Flusher {
    pub(super) fn start(
        disk: Arc<dyn LogDisk>,
        durable: Durable,
        latencies: Arc<Latencies>,
    ) -> io::Result<Flusher> {
        let (sender, receiver) = mpsc::sync_channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("raft-log-flush".to_owned())
            .spawn(move || run(&*disk, &durable, &latencies, &receiver))?;
        Ok(Flusher { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn queue(&self, item: Item) -> io::Result<()> {
        let queue = self.queue.lock();
        let sender = queue.as_ref().ok_or_else(|| other("the log is closed"))?;
        sender.send(item).map_err(|_| other("the log's flusher has ended"))
    }

    /// Flushes what is queued and ends the thread: it must not run on while RocksDB is torn down.
    pub(super) fn stop(&self) {
        drop(self.queue.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(disk: &dyn LogDisk, durable: &Durable, latencies: &Latencies, queue: &mpsc::Receiver<Item>) {
    pulse::prefer_this_thread();
    let mut items = Vec::new();
    while let Ok(first) = queue.recv() {
        items.push(first);
        items.extend(queue.try_iter());
        commit(disk, durable, latencies, &mut items);
    }
}

/// One flush for all of them.
fn commit(disk: &dyn LogDisk, durable: &Durable, latencies: &Latencies, items: &mut Vec<Item>) {
    let outcome = timed_sync(disk, latencies).map_err(|error| error.to_string());
    if outcome.is_ok() {
        for item in &*items {
            durable.completed(&item.ticket);
        }
    }
    for item in items.drain(..) {
        item.callback.io_completed(outcome.clone().map_err(io::Error::other));
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
