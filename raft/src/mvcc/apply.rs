//! Applying a command: the heart of the state machine, a pure function.

use std::io;

use kontiki_base::Fence;

use super::{
    keys, lease,
    record::Header,
    sessions::{Sessions, Verdict},
    txn::{Execution, Stop},
    view::{Overlay, Space, View},
};
use crate::{
    command::{Command, Envelope, Reply},
    error::Refusal,
    types::{Delete, KeyRange, LeaseId, Op, Revision, Txn, WatchBatch},
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
        if let Verdict::Repeated(reply) = self.sessions.judge(&envelope.identity) {
            return Ok(Outcome { reply, changes: Vec::new() });
        }
        let outcome = match self.execute(overlay, position, &envelope.command) {
            Ok(outcome) => outcome,
            Err(Stop::Refused(refusal)) => {
                Outcome { reply: Reply::Refused(refusal), changes: Vec::new() }
            }
            Err(Stop::Failed(error)) => return Err(error),
        };
        self.sessions.remember(&envelope.identity, &outcome.reply, overlay);
        self.header.store(overlay);
        Ok(outcome)
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
                Ok(Outcome { reply: Reply::Lease(lease), changes: Vec::new() })
            }
            Command::LeaseEnd { lease, keys_max, fence } => {
                fenced(*fence, position)?;
                self.end_lease(overlay, *lease, *keys_max)
            }
            Command::Compact { revision } => self.compact(*revision),
            Command::SetClusterVersion { version } => {
                self.header.cluster_version = *version;
                Ok(Outcome { reply: Reply::ClusterVersion(*version), changes: Vec::new() })
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
        // Staged apart: a refusal half-way leaves nothing.
        let mut staged = Overlay::new(&*overlay);
        let mut execution = Execution::new(&mut staged, self.header);
        let reply = execution.run(txn)?;
        let change = execution.finish();
        let writes = staged.into_writes();
        overlay.absorb(writes);
        self.header.revision = reply.revision;
        Ok(Outcome { reply: Reply::Txn(reply), changes: change.into_iter().collect() })
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
        Ok(Outcome { reply: Reply::LeaseEnded { complete }, changes })
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
        Ok(Outcome { reply: Reply::Compacted(requested), changes: Vec::new() })
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
