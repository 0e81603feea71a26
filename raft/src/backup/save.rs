//! Making a backup: a checkpoint, what it holds, and its files as a stream.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc;

use super::{Attachment, BackupError, Manifest, archive::Plan, folder, recover};
use crate::{
    error::Error,
    log::other,
    mvcc::{self, Space, View, record::Header},
    raft_types::{Snapshot, members_of},
    state::{AppliedEntry, Shared, StateDb, snapshot},
    store::ClusterIdentity,
    types::MemberId,
};

/// Pieces read ahead of whoever takes them.
const PIECES_AHEAD: usize = 4;

/// A backup on its way: a stream of pieces which, put together, are the archive. If the files
/// cannot be read to their end, the last piece is an error.
#[derive(Debug)]
pub struct Backup {
    /// What it says about itself.
    pub manifest: Manifest,
    /// Size of the whole.
    pub bytes: u64,
    pieces: mpsc::Receiver<io::Result<Bytes>>,
}

impl Stream for Backup {
    type Item = io::Result<Bytes>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        self.pieces.poll_recv(context)
    }
}

/// Makes a backup of what is applied now.
pub(crate) async fn save(
    shared: std::sync::Arc<Shared>,
    member: MemberId,
    cluster: ClusterIdentity,
    attachments: Vec<Attachment>,
) -> Result<Backup, Error> {
    let prepare = move || -> Result<(Plan, Manifest, Snapshot), Error> {
        let snapshot = snapshot::take(&shared)?;
        let manifest = manifest(snapshot.snapshot.path(), member, cluster)?;
        let plan = Plan::new(manifest.clone(), snapshot.snapshot.files()?, attachments)?;
        Ok((plan, manifest, snapshot))
    };
    let (plan, manifest, snapshot) =
        tokio::task::spawn_blocking(prepare).await.map_err(|_| Error::ShutDown)??;
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let bytes = plan.bytes;
    tokio::task::spawn_blocking(move || {
        let written = plan.write(&mut |piece| {
            sender.blocking_send(Ok(piece)).map_err(|_| other("nobody takes the backup any more"))
        });
        if let Err(error) = written {
            tracing::info!("a backup was not made to its end: {error}");
            let _ = sender.blocking_send(Err(error));
        }
        // The checkpoint lives until here.
        drop(snapshot);
    });
    Ok(Backup { manifest, bytes, pieces })
}

/// Writes a backup of a stopped member's folder to a file, durably: what it knows to be
/// committed, and nothing else.
pub fn save_folder(
    store: &Path,
    target: &Path,
    attachments: Vec<Attachment>,
) -> Result<Manifest, BackupError> {
    let copy = folder::beside(store, "saving");
    folder::remove(&copy).map_err(BackupError::io("remove", &copy))?;
    let unusable = BackupError::store(store);
    let survivor = recover::survey(store)?;
    recover::copy(store, &copy, survivor.committed.min(survivor.last_index)).map_err(&unusable)?;
    let state = folder::current_state(&copy).map_err(&unusable)?;
    let cluster = ClusterIdentity { id: survivor.cluster, generation: survivor.generation };
    let manifest = manifest(&state, survivor.member, cluster).map_err(|error| {
        BackupError::Store { path: store.to_owned(), reason: error.to_string() }
    })?;
    let files = folder::files(&state).map_err(&unusable)?;
    let plan = Plan::new(manifest.clone(), files, attachments).map_err(&unusable)?;
    let write = || -> io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(target)?;
        plan.write(&mut |piece| file.write_all(&piece))?;
        file.sync_all()
    };
    write().map_err(BackupError::io("write", target))?;
    folder::remove(&copy).map_err(BackupError::io("remove", &copy))?;
    Ok(manifest)
}

/// What the state in `path` holds.
fn manifest(path: &Path, member: MemberId, cluster: ClusterIdentity) -> Result<Manifest, Error> {
    let db = StateDb::open_read_only(path)?;
    let view = db.read_once();
    let header = Header::load(&view)?;
    let entry = AppliedEntry::load(&view)?;
    let mut keys = 0;
    view.walk(Space::Current, &[], None, &mut |_, _| {
        keys += 1;
        ControlFlow::Continue(())
    })?;
    let (_, hash) = mvcc::hash::hash(&view, None)?;
    let last = entry.log_id.ok_or_else(|| other("nothing was ever applied to it"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Manifest {
        cluster: cluster.id,
        generation: cluster.generation,
        member,
        members: members_of(entry.membership.membership()),
        revision: header.revision,
        compacted: header.floor,
        term: last.committed_leader_id().term,
        index: last.index,
        keys,
        hash,
        taken_at: now.as_secs(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
