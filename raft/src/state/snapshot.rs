//! Snapshots: a RocksDB checkpoint in a folder of its own, which goes away with its owner.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use openraft::RaftSnapshotBuilder;

use super::{AppliedEntry, Shared};
use crate::{
    environment::blocking,
    failpoints::{Step, pass},
    metrics,
    raft_types::{Snapshot, SnapshotMeta, TypeConfig},
};

/// A folder with the files of a state.
#[derive(Debug)]
pub(crate) struct SnapshotFiles {
    path: PathBuf,
}

impl SnapshotFiles {
    /// A new, empty place below `folder`.
    pub(crate) fn reserve(folder: &Path) -> io::Result<SnapshotFiles> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(folder)?;
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        Ok(SnapshotFiles { path: folder.join(format!("{number:06}")) })
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
    let bytes = i64::try_from(db.disk_bytes()).unwrap_or(i64::MAX);
    metrics::store().database_bytes.set(bytes);
    // Entries may be applied meanwhile: the checkpoint itself says what it holds.
    let entry = AppliedEntry::load(&db.open_checkpoint(files.path())?.read())?;
    pass(Step::SnapshotBuilt)?;
    let meta = SnapshotMeta { last_log_id: entry.log_id, last_membership: entry.membership };
    Ok(Snapshot { meta, snapshot: files })
}

/// Makes snapshots beside the applying of entries.
pub(crate) struct Builder {
    pub(super) shared: Arc<Shared>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFiles;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let shared = self.shared.clone();
        let taken = blocking(move || take(&shared)).await;
        taken.map_err(io::Error::other)?
    }
}
