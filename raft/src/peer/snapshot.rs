//! A snapshot on the wire: its files, one after the other, each with its checksum.
//!
//! What arrived whole stays when a transfer breaks off. The next one from the same member asks for
//! it first and leaves out the files that are still the same: most of them, for tables never
//! change. The sender reads at a bounded rate, so that a snapshot takes neither the disk nor the
//! network away from writes.

mod pace;
mod receiving;

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
};

use bytes::Bytes;
use futures::Stream;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(super) use self::{pace::Pace, receiving::Receiver};
use super::{frame, proto::Frame};
use crate::{
    environment::produced,
    failpoints::{Step, pass},
    raft_types::{Snapshot, SnapshotMeta, Vote},
};

/// Bytes per message.
const CHUNK_BYTES: usize = 256 << 10;
/// Messages read ahead of the network.
const CHUNKS_AHEAD: usize = 4;

/// Files that a receiver has from a transfer that broke off: their hashes, by name.
pub(super) type Held = BTreeMap<String, [u8; 32]>;

/// A piece of a snapshot.
#[derive(Serialize, Deserialize)]
enum Part {
    Begin {
        vote: Vote,
        meta: SnapshotMeta,
    },
    File {
        name: String,
    },
    Chunk {
        bytes: Bytes,
    },
    FileEnd {
        sha256: [u8; 32],
    },
    /// A file that the receiver has already.
    Kept {
        name: String,
    },
    End {
        files: u32,
    },
}

/// The messages of a snapshot for a receiver that has some files. If its files cannot be read,
/// they end early, which the receiver notices.
pub(super) fn send(
    vote: Vote,
    snapshot: Snapshot,
    held: Held,
    pace: Pace,
) -> impl Stream<Item = Frame> + Send + 'static {
    produced(CHUNKS_AHEAD, move |push| {
        if let Err(error) = read(vote, &snapshot, &held, &pace, &|part| push(frame(&part))) {
            tracing::info!("a snapshot was not sent to its end: {error}");
        }
    })
}

fn read(
    vote: Vote,
    snapshot: &Snapshot,
    held: &Held,
    pace: &Pace,
    push: &dyn Fn(Part) -> io::Result<()>,
) -> io::Result<()> {
    push(Part::Begin { vote, meta: snapshot.meta.clone() })?;
    let files = snapshot.snapshot.files()?;
    for file in &files {
        pass(Step::SnapshotSend)?;
        let name = name_of(file)?;
        if let Some(hash) = held.get(&name)
            && read_file(file, pace, &|_| Ok(()))? == *hash
        {
            push(Part::Kept { name })?;
            continue;
        }
        push(Part::File { name })?;
        let chunk = |bytes| push(Part::Chunk { bytes });
        push(Part::FileEnd { sha256: read_file(file, pace, &chunk)? })?;
    }
    push(Part::End { files: u32::try_from(files.len()).unwrap_or(u32::MAX) })
}

fn name_of(file: &Path) -> io::Result<String> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| io::Error::other("a file without a readable name"))
}

fn read_file(
    file: &Path,
    pace: &Pace,
    chunk: &dyn Fn(Bytes) -> io::Result<()>,
) -> io::Result<[u8; 32]> {
    let mut file = std::fs::File::open(file)?;
    let mut digest = Sha256::new();
    loop {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES);
        Read::by_ref(&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(digest.finalize().into());
        }
        pace.spend(bytes.len());
        digest.update(&bytes);
        chunk(bytes.into())?;
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::{peer::open, state::snapshot::SnapshotFiles};

    /// A snapshot of files of so many bytes.
    fn snapshot(folder: &Path, files: &[(&str, usize)]) -> Snapshot {
        let reserved = SnapshotFiles::reserve(folder).unwrap();
        std::fs::create_dir_all(reserved.path()).unwrap();
        for (name, bytes) in files {
            std::fs::write(reserved.path().join(name), vec![7u8; *bytes]).unwrap();
        }
        Snapshot { meta: SnapshotMeta::default(), snapshot: reserved }
    }

    fn frames(snapshot: Snapshot, held: Held) -> impl Stream<Item = Frame> + Send + 'static {
        send(Vote::new(1, 1), snapshot, held, Pace::new(u64::MAX))
    }

    #[tokio::test]
    async fn a_broken_transfer_goes_on_where_it_ended() {
        let (sender, receiver) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("1.sst", CHUNK_BYTES * 3), ("2.sst", CHUNK_BYTES * 2), ("MANIFEST", 10)];
        let receiving = Receiver::new(receiver.path().to_owned());
        // Begin, the first file, and the second file's beginning: then the connection breaks.
        let first = frames(snapshot(sender.path(), &files), Held::new());
        let broken = first.take(8).map(Ok).boxed();
        assert!(receiving.receive(crate::types::MemberId(1), broken).await.is_err());
        let held = receiving.held(crate::types::MemberId(1));
        assert_eq!(held.keys().collect::<Vec<_>>(), ["1.sst"]);
        assert!(receiving.held(crate::types::MemberId(2)).is_empty(), "another member's");

        // Meanwhile the second file has become another one, and there is a third.
        let files = [("1.sst", CHUNK_BYTES * 3), ("2.sst", 5), ("3.sst", 1), ("MANIFEST", 11)];
        let second: Vec<Frame> = frames(snapshot(sender.path(), &files), held).collect().await;
        let chunks: usize = second
            .iter()
            .filter_map(|frame| match open(frame).unwrap() {
                Part::Chunk { bytes } => Some(bytes.len()),
                _ => None,
            })
            .sum();
        assert_eq!(chunks, 5 + 1 + 11, "what was there is not sent again");
        let whole = futures::stream::iter(second.into_iter().map(Ok)).boxed();
        let (_, received) = receiving.receive(crate::types::MemberId(1), whole).await.unwrap();
        let sizes: Vec<u64> = received
            .snapshot
            .files()
            .unwrap()
            .iter()
            .map(|file| file.metadata().unwrap().len())
            .collect();
        assert_eq!(sizes, [CHUNK_BYTES as u64 * 3, 5, 1, 11]);
        assert!(receiving.held(crate::types::MemberId(1)).is_empty());
    }

    #[tokio::test]
    async fn a_held_file_that_is_another_now_is_sent() {
        let (sender, receiver) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let held = Held::from([("1.sst".to_owned(), [0; 32])]);
        let frames: Vec<Frame> =
            frames(snapshot(sender.path(), &[("1.sst", 9)]), held).collect().await;
        let receiving = Receiver::new(receiver.path().to_owned());
        let whole = futures::stream::iter(frames.into_iter().map(Ok)).boxed();
        let (_, received) = receiving.receive(crate::types::MemberId(1), whole).await.unwrap();
        assert_eq!(received.snapshot.files().unwrap().len(), 1);
    }
}
