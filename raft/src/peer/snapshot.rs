//! A snapshot on the wire: its files, one after the other, each with its checksum.

use std::{
    io::{self, Read},
    path::Path,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt,
};
use tonic::Status;

use super::{frame, open, proto::Frame, transport::Frames};
use crate::{
    failpoints::{Step, pass},
    raft_types::{Snapshot, SnapshotMeta, Vote},
    state::snapshot::SnapshotFiles,
};

/// Bytes per message.
const CHUNK_BYTES: usize = 256 << 10;
/// Messages read ahead of the network.
const CHUNKS_AHEAD: usize = 4;

/// A piece of a snapshot.
#[derive(Serialize, Deserialize)]
enum Part {
    Begin { vote: Vote, meta: SnapshotMeta },
    File { name: String },
    Chunk { bytes: Bytes },
    FileEnd { sha256: [u8; 32] },
    End { files: u32 },
}

/// The messages of a snapshot. If its files cannot be read, they end early, which the receiver
/// notices.
pub(super) fn send(vote: Vote, snapshot: Snapshot) -> impl Stream<Item = Frame> + Send + 'static {
    let (sender, receiver) = tokio::sync::mpsc::channel(CHUNKS_AHEAD);
    let read = move || -> io::Result<()> {
        let push = |part: Part| {
            sender.blocking_send(frame(&part)).map_err(|_| io::Error::other("the receiver is gone"))
        };
        push(Part::Begin { vote, meta: snapshot.meta })?;
        let files = snapshot.snapshot.files()?;
        for file in &files {
            pass(Step::SnapshotSend)?;
            push(Part::File { name: name_of(file)? })?;
            push(Part::FileEnd { sha256: read_file(file, &push)? })?;
        }
        push(Part::End { files: u32::try_from(files.len()).unwrap_or(u32::MAX) })
    };
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read() {
            tracing::info!("a snapshot was not sent to its end: {error}");
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

fn name_of(file: &Path) -> io::Result<String> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| io::Error::other("a file without a readable name"))
}

fn read_file(file: &Path, push: &impl Fn(Part) -> io::Result<()>) -> io::Result<[u8; 32]> {
    let mut file = std::fs::File::open(file)?;
    let mut digest = Sha256::new();
    loop {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES);
        file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(digest.finalize().into());
        }
        digest.update(&bytes);
        push(Part::Chunk { bytes: bytes.into() })?;
    }
}

/// Receives a snapshot into `files`, durably.
pub(super) async fn receive(
    mut parts: Frames,
    files: SnapshotFiles,
) -> Result<(Vote, Snapshot), Status> {
    let failed = |error: io::Error| Status::internal(format!("cannot write a snapshot: {error}"));
    let Part::Begin { vote, meta } = next(&mut parts).await? else {
        return Err(Status::invalid_argument("a snapshot begins otherwise"));
    };
    fs::create_dir_all(files.path()).await.map_err(failed)?;
    let mut received = 0u32;
    loop {
        match next(&mut parts).await? {
            Part::File { name } => {
                let plain = Path::new(&name).file_name().is_some_and(|own| own == name.as_str());
                if !plain {
                    return Err(Status::invalid_argument(format!("the file name {name:?}")));
                }
                receive_file(&mut parts, &files.path().join(name)).await?;
                received += 1;
            }
            Part::End { files: sent } if sent == received => break,
            _ => return Err(Status::data_loss("a snapshot is not complete")),
        }
    }
    let folder = File::open(files.path()).await.map_err(failed)?;
    folder.sync_all().await.map_err(failed)?;
    pass(Step::SnapshotReceived).map_err(failed)?;
    Ok((vote, Snapshot { meta, snapshot: files }))
}

async fn receive_file(parts: &mut Frames, path: &Path) -> Result<(), Status> {
    let failed = |error: io::Error| Status::internal(format!("cannot write a snapshot: {error}"));
    pass(Step::SnapshotReceive).map_err(failed)?;
    let mut file = File::create(path).await.map_err(failed)?;
    let mut digest = Sha256::new();
    loop {
        match next(parts).await? {
            Part::Chunk { bytes } => {
                digest.update(&bytes);
                file.write_all(&bytes).await.map_err(failed)?;
            }
            Part::FileEnd { sha256 } => {
                let actual: [u8; 32] = digest.finalize().into();
                if actual != sha256 {
                    return Err(Status::data_loss(format!("{} arrived damaged", path.display())));
                }
                file.flush().await.map_err(failed)?;
                return file.sync_all().await.map_err(failed);
            }
            _ => return Err(Status::data_loss("a file of a snapshot is not complete")),
        }
    }
}

async fn next(parts: &mut Frames) -> Result<Part, Status> {
    let part = parts.next().await;
    open(&part.ok_or_else(|| Status::data_loss("a snapshot ended early"))??)
}
