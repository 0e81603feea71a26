//! Openraft's state machine: batches of entries in, one atomic write each, replies out.

use std::{io, sync::Arc};

use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend,
    storage::{EntryResponder, RaftStateMachine},
};
use tokio::time::Instant;

use super::{
    Applied, AppliedEntry, Removed, Shared,
    recent::{Recent, Remembering},
    snapshot::{self, Builder, SnapshotFiles},
};
use crate::{
    codec,
    command::{Command, Envelope, Reply},
    environment::{aside, blocking},
    failpoints::{Step, pass},
    log::{Durable, other},
    metrics,
    mvcc::{
        Overlay, Space, View,
        apply::{LeaseChange, Machine, Position},
        keys,
    },
    raft_types::{
        Entry, LogId, Membership, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, fence_of,
    },
    types::WatchBatch,
};

/// Entries that are applied as one write, and their bytes unless one alone is larger.
const BATCH_ENTRIES_MAX: usize = 1_024;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// What is applied without making way for others: a few milliseconds.
const QUICK_ENTRIES_MAX: usize = 256;
const QUICK_BYTES_MAX: usize = 256 << 10;

/// Applies entries to the state.
pub(crate) struct StateMachine {
    shared: Arc<Shared>,
    machine: Machine,
    entry: AppliedEntry,
    durable: Durable,
    recent: Recent,
}

type Responder = openraft::storage::ApplyResponder<TypeConfig>;

impl StateMachine {
    pub(crate) fn new(
        shared: Arc<Shared>,
        machine: Machine,
        entry: AppliedEntry,
        durable: Durable,
    ) -> StateMachine {
        StateMachine { shared, machine, entry, durable, recent: Recent::default() }
    }

    /// Applies a batch: stage, write, publish, answer, in this order.
    fn apply_batch(&mut self, batch: Batch) -> io::Result<()> {
        let start = Instant::now();
        let db = self.shared.db();
        let mut recent = std::mem::take(&mut self.recent);
        let live = Remembering::new(db.live(), &mut recent);
        let mut overlay = Overlay::new(&live);
        let mut changes: Vec<WatchBatch> = Vec::new();
        let mut replies = Vec::with_capacity(batch.items.len());
        let mut leases: Vec<LeaseChange> = Vec::new();
        for Item { log_id, payload, responder } in batch.items {
            let reply = match payload {
                Payload::Blank => Reply::None,
                Payload::Membership(membership) => {
                    self.note_removed(&membership, &mut overlay);
                    self.entry.membership = StoredMembership::new(Some(log_id), membership);
                    Reply::None
                }
                Payload::Proposal(envelope) => {
                    let position = Position { fence: fence_of(&log_id), index: log_id.index };
                    let outcome = self.machine.apply(&mut overlay, position, &envelope)?;
                    changes.extend(outcome.changes);
                    leases.extend(outcome.lease);
                    outcome.reply
                }
            };
            self.entry.log_id = Some(log_id);
            if let Some(responder) = responder {
                replies.push((responder, reply));
            }
        }
        self.machine.finish(&mut overlay);
        overlay.put(Space::Meta, keys::APPLIED.to_vec(), codec::seal(&self.entry));
        let writes = overlay.into_writes();
        drop(live);
        recent.note(&writes);
        self.recent = recent;
        pass(Step::StateWrite)?;
        db.write(writes.into_records())?;
        pass(Step::StateWritten)?;
        metrics::store().backend_commit_seconds.observe(start.elapsed().as_secs_f64());
        self.publish(changes, &leases);
        pass(Step::StatePublished)?;
        for (responder, reply) in replies {
            responder.send(reply);
        }
        Ok(())
    }

    /// Remembers who is in the membership no more.
    fn note_removed<V: View>(&self, membership: &Membership, overlay: &mut Overlay<'_, V>) {
        let mut removed = self.shared.removed.borrow().clone();
        if removed.note(self.entry.membership.membership(), membership) {
            removed.store(overlay);
            self.shared.removed.send_replace(removed);
        }
    }

    fn publish(&self, changes: Vec<WatchBatch>, leases: &[LeaseChange]) {
        let header = self.machine.header;
        self.shared.lessor.note(leases);
        self.shared.applied.send_replace(Applied {
            next_index: self.entry.log_id.map_or(0, |id| id.index + 1),
            revision: header.revision,
            floor: header.floor,
            cluster_version: header.cluster_version,
        });
        self.shared.hub.publish(changes, header.revision);
        let metrics = metrics::store();
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        metrics.proposals_applied.set(gauge(self.entry.log_id.map_or(0, |id| id.index)));
        metrics.current_revision.set(gauge(header.revision.0));
        metrics.compact_revision.set(gauge(header.floor.0));
    }
}

/// An entry to apply, decoded.
struct Item {
    log_id: LogId,
    payload: Payload,
    responder: Option<Responder>,
}

enum Payload {
    Blank,
    Membership(Membership),
    Proposal(Envelope),
}

/// What is applied as one write.
#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    bytes: usize,
    /// Something in it may touch any number of keys.
    wide: bool,
}

impl Batch {
    fn push(&mut self, (entry, responder): (Entry, Option<Responder>)) -> io::Result<()> {
        self.bytes += bytes(&entry);
        let payload = match entry.payload {
            EntryPayload::Blank => Payload::Blank,
            EntryPayload::Membership(membership) => Payload::Membership(membership),
            EntryPayload::Normal(proposal) => {
                let envelope = proposal.open()?;
                self.wide |= is_wide(&envelope.command);
                Payload::Proposal(envelope)
            }
        };
        self.items.push(Item { log_id: entry.log_id, payload, responder });
        Ok(())
    }

    fn is_quick(&self) -> bool {
        !self.wide && self.items.len() <= QUICK_ENTRIES_MAX && self.bytes <= QUICK_BYTES_MAX
    }
}

fn bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// Whether a command may touch more keys than it names.
fn is_wide(command: &Command) -> bool {
    match command {
        Command::Txn(txn) => txn.touches_ranges(),
        Command::LeaseEnd { .. } => true,
        Command::LeaseGrant(_) | Command::Compact { .. } | Command::SetClusterVersion { .. } => {
            false
        }
    }
}

/// Decodes entries, and cuts them into parts of bounded size.
fn by_bytes(entries: Vec<(Entry, Option<Responder>)>) -> io::Result<Vec<Batch>> {
    let mut batches = Vec::new();
    let mut batch = Batch::default();
    for item in entries {
        if batch.bytes + bytes(&item.0) > BATCH_BYTES_MAX && !batch.items.is_empty() {
            batches.push(std::mem::take(&mut batch));
        }
        batch.push(item)?;
    }
    batches.push(batch);
    Ok(batches)
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFiles;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.entry.log_id, self.entry.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(BATCH_ENTRIES_MAX);
        while let Some(batch) = batches.next().await {
            let batch: Vec<(Entry, Option<Responder>)> =
                batch.into_iter().collect::<Result<_, _>>()?;
            if let Some((last, _)) = batch.last()
                && !self.durable.reaches(last.log_id.index).await
            {
                return Err(other("the log was closed before its entries were durable"));
            }
            for batch in by_bytes(batch)? {
                if batch.is_quick() && !self.shared.db().holds_up_writes() {
                    self.apply_batch(batch)?;
                } else {
                    aside(|| self.apply_batch(batch))?;
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { shared: self.shared.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        files: SnapshotFiles,
    ) -> io::Result<()> {
        pass(Step::SnapshotInstall)?;
        let before = self.shared.db();
        let root = self.shared.state_folder();
        let db = before.successor(&root, files.path())?;
        let (machine, entry, removed) = {
            let view = db.read();
            (Machine::load(&view)?, AppliedEntry::load(&view)?, Removed::load(&view)?)
        };
        if entry.log_id != meta.last_log_id {
            return Err(other(format!(
                "the snapshot ends with {:?} where its sender said {:?}",
                entry.log_id, meta.last_log_id
            )));
        }
        db.replace(&root, &before)?;
        (self.machine, self.entry) = (machine, entry);
        self.recent.clear();
        self.shared.removed.send_replace(removed);
        self.shared.db.store(Arc::new(db));
        self.publish(Vec::new(), &[]);
        self.shared.hub.resync(self.machine.header.revision);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        if self.entry.log_id.is_none() {
            return Ok(None);
        }
        let shared = self.shared.clone();
        let taken = blocking(move || snapshot::take_for_transfer(&shared)).await;
        taken.map_err(io::Error::other)?.map(Some)
    }
}
