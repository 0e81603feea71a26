//! The state machine on RocksDB: a shell round the pure [`crate::mvcc`].
//!
//! Its write-ahead log is off: the Raft log is the only durable write of a command. A batch of
//! applied entries and the index they end at are one atomic write, column families are flushed
//! together, and nothing is applied that the local log could still lose. So the files are always
//! some exact past state, and a restart replays the log from there.

pub(crate) mod current;
mod db;
mod disk;
mod machine;
mod recent;
mod removed;
pub(crate) mod snapshot;
#[cfg(test)]
mod suite;
mod tables;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

#[cfg(test)]
pub(crate) use self::disk::{StateDisk, Write};
pub(crate) use self::{disk::StateDb, machine::StateMachine, removed::Removed};
use crate::{
    codec,
    lessor::Lessor,
    mvcc::{Space, View, apply::Machine, keys},
    raft_types::{LogId, StoredMembership},
    types::{MemberId, Revision},
    watch::Hub,
};

/// The entry that the state ends with, stored with it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct AppliedEntry {
    pub(crate) log_id: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

impl AppliedEntry {
    pub(crate) fn load(view: &impl View) -> io::Result<AppliedEntry> {
        match view.get(Space::Meta, keys::APPLIED)? {
            Some(bytes) => Ok(codec::unseal("the applied entry", &bytes)?),
            None => Ok(AppliedEntry::default()),
        }
    }
}

/// How far this member has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The index behind the last applied entry.
    pub(crate) next_index: u64,
    /// The store's revision.
    pub(crate) revision: Revision,
    /// The oldest readable revision.
    pub(crate) floor: Revision,
    /// The lowest version that all members understand.
    pub(crate) cluster_version: u32,
}

/// The side of the state that readers use.
pub(crate) struct Shared {
    folder: PathBuf,
    db: ArcSwap<StateDb>,
    hub: Hub,
    lessor: Lessor,
    applied: watch::Sender<Applied>,
    removed: watch::Sender<Removed>,
    /// The floor below which this member holds nothing any more.
    reclaimed: watch::Sender<Revision>,
    /// Snapshots that are on their way to other members.
    transfers: watch::Sender<usize>,
}

impl Shared {
    /// The present state.
    pub(crate) fn db(&self) -> Arc<StateDb> {
        self.db.load_full()
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Who counts the time of leases.
    pub(crate) fn lessor(&self) -> &Lessor {
        &self.lessor
    }

    /// How far it is.
    pub(crate) fn applied(&self) -> Applied {
        *self.applied.borrow()
    }

    /// Whether a member was removed from the cluster.
    pub(crate) fn is_removed(&self, member: MemberId) -> bool {
        self.removed.borrow().contains(member)
    }

    /// Tells when members were removed.
    pub(crate) fn watch_removals(&self) -> watch::Receiver<Removed> {
        self.removed.subscribe()
    }

    /// Follows how far it is.
    pub(crate) fn watch_applied(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    /// Notes how far compacted history is dropped.
    pub(crate) fn note_reclaimed(&self, floor: Revision) {
        self.reclaimed.send_if_modified(|last| std::mem::replace(last, floor) != floor);
    }

    /// Follows how far compacted history is dropped.
    pub(crate) fn watch_reclaimed(&self) -> watch::Receiver<Revision> {
        self.reclaimed.subscribe()
    }

    /// Where snapshots are prepared and received.
    pub(crate) fn snapshot_folder(&self) -> PathBuf {
        self.folder.join("snapshots")
    }

    fn state_folder(&self) -> PathBuf {
        self.folder.join("state")
    }
}

/// Opens the state below `folder`, or creates an empty one.
pub(crate) fn open(folder: &Path) -> io::Result<(Arc<Shared>, Machine, AppliedEntry)> {
    let db = StateDb::open_current(&folder.join("state"))?;
    on(folder, db)
}

/// Takes an open state, with `folder` for what is beside it.
pub(crate) fn on(folder: &Path, db: StateDb) -> io::Result<(Arc<Shared>, Machine, AppliedEntry)> {
    let snapshots = folder.join("snapshots");
    if snapshots.exists() {
        std::fs::remove_dir_all(&snapshots)?;
    }
    std::fs::create_dir_all(&snapshots)?;
    let (machine, entry, removed) = {
        let view = db.read();
        (Machine::load(&view)?, AppliedEntry::load(&view)?, Removed::load(&view)?)
    };
    let applied = Applied {
        next_index: entry.log_id.map_or(0, |id| id.index + 1),
        revision: machine.header.revision,
        floor: machine.header.floor,
        cluster_version: machine.header.cluster_version,
    };
    let shared = Shared {
        folder: folder.to_owned(),
        db: ArcSwap::from_pointee(db),
        hub: Hub::new(machine.header.revision),
        lessor: Lessor::default(),
        applied: watch::Sender::new(applied),
        removed: watch::Sender::new(removed),
        reclaimed: watch::Sender::new(Revision(0)),
        transfers: watch::Sender::default(),
    };
    Ok((Arc::new(shared), machine, entry))
}
