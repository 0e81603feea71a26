//! Snapshots: a RocksDB checkpoint in a folder of its own, which goes away with its owner.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openraft::RaftSnapshotBuilder;
use tokio::{sync::watch, time::timeout};

use super::{AppliedEntry, Shared};
use crate::{
    environment::blocking,
    failpoints::{Step, pass},
    raft_types::{Snapshot, SnapshotMeta, TypeConfig},
};

/// How long a transfer keeps the log from being dropped.
const TRANSFER_MAX: Duration = Duration::from_secs(15 * 60);

/// A folder with the files of a state.
#[derive(Debug)]
pub(crate) struct SnapshotFiles {
    path: PathBuf,
    transfer: Option<Transfer>,
}

/// A snapshot that may be on its way to another member.
#[derive(Debug)]
struct Transfer(watch::Sender<usize>);

impl Transfer {
    fn begin(transfers: &watch::Sender<usize>) -> Transfer {
        transfers.send_modify(|count| *count += 1);
        Transfer(transfers.clone())
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl SnapshotFiles {
    /// A new, empty place below `folder`.
    pub(crate) fn reserve(folder: &Path) -> io::Result<SnapshotFiles> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(folder)?;
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        Ok(SnapshotFiles { path: folder.join(format!("{number:06}")), transfer: None })
    }

    /// Where the files are.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its files, in order of their names.
    pub(crate) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }
}

impl Drop for SnapshotFiles {
    fn drop(&mut self) {
        // Gone already if it became the state.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Makes a snapshot of what is applied now, or a little later.
pub(crate) fn take(shared: &Shared) -> io::Result<Snapshot> {
    pass(Step::SnapshotBuild)?;
    let files = SnapshotFiles::reserve(&shared.snapshot_folder())?;
    let db = shared.db();
    db.checkpoint(files.path())?;
    // Entries may be applied meanwhile: the checkpoint itself says what it holds.
    let entry = AppliedEntry::load(&db.open_checkpoint(files.path())?.read())?;
    pass(Step::SnapshotBuilt)?;
    let meta = SnapshotMeta { last_log_id: entry.log_id, last_membership: entry.membership };
    Ok(Snapshot { meta, snapshot: files })
}

/// Makes a snapshot for another member.
pub(super) fn take_for_transfer(shared: &Shared) -> io::Result<Snapshot> {
    let transfer = Transfer::begin(&shared.transfers);
    let mut snapshot = take(shared)?;
    snapshot.snapshot.transfer = Some(transfer);
    Ok(snapshot)
}

/// Makes snapshots beside the applying of entries.
pub(crate) struct Builder {
    pub(super) shared: Arc<Shared>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFiles;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let shared = self.shared.clone();
        // Behind this snapshot the log is dropped, which whoever receives one still needs.
        let mut transfers = shared.transfers.subscribe();
        let _ = timeout(TRANSFER_MAX, transfers.wait_for(|count| *count == 0)).await;
        let taken = blocking(move || take(&shared)).await;
        taken.map_err(io::Error::other)?
    }
}
