//! The receiving side of a snapshot, which remembers what arrived whole.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use futures::StreamExt;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tonic::Status;

use super::{Held, Part};
use crate::{
    environment::blocking,
    failpoints::{Step, pass},
    peer::{open, transport::Frames},
    raft_types::{Snapshot, Vote},
    state::snapshot::SnapshotFiles,
    types::MemberId,
};

/// Takes snapshots in.
pub(in crate::peer) struct Receiver {
    folder: PathBuf,
    /// What the last transfer left behind when it broke off.
    broken: Mutex<Option<Incoming>>,
}

/// Files of a snapshot on its way.
struct Incoming {
    from: MemberId,
    files: SnapshotFiles,
    whole: Held,
}

fn failed(error: impl Into<io::Error>) -> Status {
    Status::internal(format!("cannot write a snapshot: {}", error.into()))
}

impl Receiver {
    /// Receives below a folder.
    pub(in crate::peer) fn new(folder: PathBuf) -> Receiver {
        Receiver { folder, broken: Mutex::default() }
    }

    /// What is there of a member's transfer that broke off.
    pub(in crate::peer) fn held(&self, from: MemberId) -> Held {
        let broken = self.broken.lock();
        broken.as_ref().filter(|i| i.from == from).map(|i| i.whole.clone()).unwrap_or_default()
    }

    /// Receives a snapshot, durably.
    pub(in crate::peer) async fn receive(
        &self,
        from: MemberId,
        mut parts: Frames,
    ) -> Result<(Vote, Snapshot), Status> {
        let broken = self.broken.lock().take().filter(|incoming| incoming.from == from);
        let mut incoming = match broken {
            Some(incoming) => incoming,
            None => {
                let files = SnapshotFiles::reserve(&self.folder).map_err(failed)?;
                Incoming { from, files, whole: Held::new() }
            }
        };
        match incoming.fill(&mut parts).await {
            Ok((vote, meta)) => Ok((vote, Snapshot { meta, snapshot: incoming.files })),
            Err(status) => {
                *self.broken.lock() = Some(incoming);
                Err(status)
            }
        }
    }
}

impl Incoming {
    async fn fill(
        &mut self,
        parts: &mut Frames,
    ) -> Result<(Vote, crate::raft_types::SnapshotMeta), Status> {
        let Part::Begin { vote, meta } = next(parts).await? else {
            return Err(Status::invalid_argument("a snapshot begins otherwise"));
        };
        let path = self.files.path().to_owned();
        on_disk(move || fs::create_dir_all(path)).await?;
        let mut received = BTreeSet::new();
        loop {
            match next(parts).await? {
                Part::File { name } => {
                    let plain = Path::new(&name).file_name().is_some_and(|n| n == name.as_str());
                    if !plain {
                        return Err(Status::invalid_argument(format!("the file name {name:?}")));
                    }
                    self.whole.remove(&name);
                    let hash = receive_file(parts, &self.files.path().join(&name)).await?;
                    self.whole.insert(name.clone(), hash);
                    received.insert(name);
                }
                Part::Kept { name } if self.whole.contains_key(&name) => {
                    received.insert(name);
                }
                Part::End { files } if files as usize == received.len() => break,
                _ => return Err(Status::data_loss("a snapshot is not complete")),
            }
        }
        // What an earlier try left and this one has no more.
        for file in self.files.files().map_err(failed)? {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !received.contains(name) {
                on_disk(move || fs::remove_file(&file)).await?;
            }
        }
        let path = self.files.path().to_owned();
        on_disk(move || File::open(path)?.sync_all()).await?;
        pass(Step::SnapshotReceived).map_err(failed)?;
        Ok((vote, meta))
    }
}

async fn receive_file(parts: &mut Frames, path: &Path) -> Result<[u8; 32], Status> {
    pass(Step::SnapshotReceive).map_err(failed)?;
    let new = path.to_owned();
    let mut file = on_disk(move || File::create(new)).await?;
    let mut digest = Sha256::new();
    loop {
        match next(parts).await? {
            Part::Chunk { bytes } => {
                digest.update(&bytes);
                file = on_disk(move || file.write_all(&bytes).map(|()| file)).await?;
            }
            Part::FileEnd { sha256 } => {
                let actual: [u8; 32] = digest.finalize().into();
                if actual != sha256 {
                    return Err(Status::data_loss(format!("{} arrived damaged", path.display())));
                }
                on_disk(move || file.sync_all()).await?;
                return Ok(actual);
            }
            _ => return Err(Status::data_loss("a file of a snapshot is not complete")),
        }
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let done = blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(failed)
}

async fn next(parts: &mut Frames) -> Result<Part, Status> {
    let part = parts.next().await;
    open(&part.ok_or_else(|| Status::data_loss("a snapshot ended early"))??)
}
