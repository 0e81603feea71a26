//! Applying a command: the heart of the state machine, a pure function.

use std::io;

use kontiki_base::Fence;

use super::{
    duplicates, keys, lease,
    record::Header,
    sessions::{Sessions, Verdict},
    txn::{self, Execution, Stop},
    view::{Overlay, Space, View},
};
use crate::{
    command::{Command, Envelope, Reply},
    error::Refusal,
    types::{Delete, KeyRange, Lease, LeaseId, Op, Revision, Txn, WatchBatch},
};

/// Where in the log a command stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    /// The leadership that appended it.
    pub(crate) fence: Fence,
    /// Its index.
    pub(crate) index: u64,
}

/// The parts of the replicated state that are mirrored in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) header: Header,
    pub(crate) sessions: Sessions,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) reply: Reply,
    /// Its changes, one batch per revision.
    pub(crate) changes: Vec<WatchBatch>,
    /// What became of a lease.
    pub(crate) lease: Option<LeaseChange>,
}

/// A lease that began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseChange {
    Granted(Lease),
    Ended(LeaseId),
}

impl Outcome {
    fn unchanged(reply: Reply) -> Outcome {
        Outcome { reply, changes: Vec::new(), lease: None }
    }
}

impl Machine {
    /// Reads the mirrored parts.
    pub(crate) fn load(view: &impl View) -> io::Result<Machine> {
        Ok(Machine { header: Header::load(view)?, sessions: Sessions::load(view)? })
    }

    /// Applies a command. Its writes are staged in `overlay`; an error stops the member.
    pub(crate) fn apply<V: View>(
        &mut self,
        overlay: &mut Overlay<'_, V>,
        position: Position,
        envelope: &Envelope,
    ) -> io::Result<Outcome> {
        if let Verdict::Repeated(reply) = self.sessions.judge(&envelope.identity)? {
            return Ok(Outcome::unchanged(reply));
        }
        let outcome = match self.execute(overlay, position, &envelope.command) {
            Ok(outcome) => outcome,
            Err(Stop::Refused(refusal)) => Outcome::unchanged(Reply::Refused(refusal)),
            Err(Stop::Failed(error)) => return Err(error),
        };
        let index = position.index;
        self.sessions.remember(&envelope.identity, index, &outcome.reply, overlay);
        Ok(outcome)
    }

    /// Stages what is written once for a batch of commands, behind the last of them.
    pub(crate) fn finish<V: View>(&mut self, overlay: &mut Overlay<'_, V>) {
        self.sessions.close(overlay);
        self.header.store(overlay);
    }

    fn execute<V: View>(
        &mut self,
        overlay: &mut Overlay<'_, V>,
        position: Position,
        command: &Command,
    ) -> Result<Outcome, Stop> {
        match command {
            Command::Txn(txn) => self.txn(overlay, position, txn),
            Command::LeaseGrant(grant) => {
                let lease = lease::grant(overlay, &self.header, position, grant)?;
                let outcome = Outcome::unchanged(Reply::Lease(lease));
                Ok(Outcome { lease: Some(LeaseChange::Granted(lease)), ..outcome })
            }
            Command::LeaseEnd { lease, keys_max, fence } => {
                fenced(*fence, position)?;
                self.end_lease(overlay, *lease, *keys_max)
            }
            Command::Compact { revision } => self.compact(*revision),
            Command::SetClusterVersion { version } => {
                self.header.cluster_version = *version;
                Ok(Outcome::unchanged(Reply::ClusterVersion(*version)))
            }
        }
    }

    fn txn<V: View>(
        &mut self,
        overlay: &mut Overlay<'_, V>,
        position: Position,
        txn: &Txn,
    ) -> Result<Outcome, Stop> {
        fenced(txn.fence, position)?;
        if let Some(key) = duplicates::find(txn) {
            return Err(Refusal::DuplicateKey { key: txn::readable(&key) }.into());
        }
        let (reply, change) = if txn.is_sure() {
            let mut execution = Execution::new(overlay, self.header);
            (execution.run(txn)?, execution.finish())
        } else {
            // Staged apart: a refusal half-way leaves nothing.
            let mut staged = Overlay::new(&*overlay);
            let mut execution = Execution::new(&mut staged, self.header);
            let done = (execution.run(txn)?, execution.finish());
            let writes = staged.into_writes();
            overlay.absorb(writes);
            done
        };
        self.header.revision = reply.revision;
        let changes = change.into_iter().collect();
        Ok(Outcome { changes, ..Outcome::unchanged(Reply::Txn(reply)) })
    }

    fn end_lease<V: View>(
        &mut self,
        overlay: &mut Overlay<'_, V>,
        lease: LeaseId,
        keys_max: u32,
    ) -> Result<Outcome, Stop> {
        let Some(record) = lease::find(overlay, lease)? else {
            return Err(Refusal::LeaseNotFound { lease }.into());
        };
        let keys_max = match usize::try_from(keys_max) {
            Ok(keys_max) if !record.together => keys_max,
            _ => usize::MAX,
        };
        let (keys, complete) = lease::attached(overlay, lease, keys_max)?;
        let mut changes = Vec::new();
        // Of keys that end together, all make one transaction; of others, each one of its own.
        let at_once = if record.together { keys.len().max(1) } else { 1 };
        for keys in keys.chunks(at_once) {
            let mut execution = Execution::new(overlay, self.header);
            let deletes =
                keys.iter().map(|key| Op::Delete(Delete::new(KeyRange::key(key.clone()))));
            let reply = execution.run(&Txn::of(deletes.collect::<Vec<_>>()))?;
            changes.extend(execution.finish());
            self.header.revision = reply.revision;
        }
        if complete {
            overlay.remove(Space::Meta, keys::lease(lease));
        }
        let ended = complete.then_some(LeaseChange::Ended(lease));
        Ok(Outcome { reply: Reply::LeaseEnded { complete }, changes, lease: ended })
    }

    fn compact(&mut self, requested: Revision) -> Result<Outcome, Stop> {
        let Header { revision: current, floor: oldest, .. } = self.header;
        if requested > current {
            return Err(Refusal::FutureRevision { requested, current }.into());
        }
        if requested <= oldest {
            return Err(Refusal::Compacted { requested, oldest }.into());
        }
        self.header.floor = requested;
        Ok(Outcome::unchanged(Reply::Compacted(requested)))
    }
}

fn fenced(expected: Option<Fence>, position: Position) -> Result<(), Refusal> {
    match expected {
        Some(expected) if expected != position.fence => {
            Err(Refusal::Fenced { expected, actual: position.fence })
        }
        _ => Ok(()),
    }
}
