//! The form of a backup: one stream that says what it holds before it does, and ends with a hash.
//!
//! ```text
//! "KONTIKI-SNAPSHOT"                    16 bytes
//! length, sealed contents               4 bytes, n bytes: manifest, names and sizes of files
//! file, its SHA-256                     m bytes, 32 bytes; for each file, in order
//! zeros                                 up to a multiple of 512 bytes
//! SHA-256 of everything before          32 bytes
//! ```
//!
//! The padding is what tools around etcd look for: a size of 32 behind a multiple of 512 tells
//! them that the hash is there.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Attachment, BackupError, Inspection, Manifest};
use crate::codec;

const MAGIC: &[u8; 16] = b"KONTIKI-SNAPSHOT";
/// Sizes are multiples of this, and a hash.
const BLOCK_BYTES: u64 = 512;
const HASH_BYTES: u64 = 32;
/// Bytes per piece of the stream.
const CHUNK_BYTES: usize = 256 << 10;
/// The contents are a list of some hundred files.
const CONTENTS_BYTES_MAX: u32 = 64 << 20;

/// What a file in the archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Of the state's database.
    State,
    /// Handed in by the caller.
    Attachment,
}

/// A file in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// What stands at the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    manifest: Manifest,
    files: Vec<(Kind, Entry)>,
}

/// What is to be written: its size is known before its bytes are read.
pub(super) struct Plan {
    head: Vec<u8>,
    files: Vec<Source>,
    /// Of the whole archive.
    pub(super) bytes: u64,
}

enum Source {
    File { path: PathBuf, bytes: u64 },
    Memory(Bytes),
}

impl Plan {
    /// Lists what belongs into an archive.
    pub(super) fn new(
        manifest: Manifest,
        state: Vec<PathBuf>,
        attachments: Vec<Attachment>,
    ) -> io::Result<Plan> {
        let (mut entries, mut files) = (Vec::new(), Vec::new());
        for path in state {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| io::Error::other("a file without a readable name"))?;
            let bytes = path.metadata()?.len();
            entries.push((Kind::State, Entry { name: name.to_owned(), bytes }));
            files.push(Source::File { path, bytes });
        }
        for Attachment { name, contents } in attachments {
            entries.push((Kind::Attachment, Entry { name, bytes: contents.len() as u64 }));
            files.push(Source::Memory(contents));
        }
        let sizes: u64 = entries.iter().map(|(_, entry)| entry.bytes + HASH_BYTES).sum();
        let contents = codec::seal(&Contents { manifest, files: entries });
        let length = u32::try_from(contents.len()).map_err(io::Error::other)?;
        let head = [MAGIC.as_slice(), &length.to_be_bytes(), &contents].concat();
        let body = (head.len() as u64 + sizes).next_multiple_of(BLOCK_BYTES);
        Ok(Plan { head, files, bytes: body + HASH_BYTES })
    }

    /// Reads the files and hands out the archive piece by piece.
    pub(super) fn write(self, push: &mut dyn FnMut(Bytes) -> io::Result<()>) -> io::Result<()> {
        let mut output = Output { push, digest: Sha256::new(), written: 0 };
        output.push(self.head.into())?;
        for source in self.files {
            match source {
                Source::File { path, bytes } => output.file(&path, bytes)?,
                Source::Memory(contents) => {
                    let hash = Sha256::digest(&contents);
                    output.push(contents)?;
                    output.push(Bytes::copy_from_slice(&hash))?;
                }
            }
        }
        let padding = output.written.next_multiple_of(BLOCK_BYTES) - output.written;
        output.push(vec![0; usize::try_from(padding).unwrap_or(0)].into())?;
        let hash = output.digest.clone().finalize();
        output.push(Bytes::copy_from_slice(&hash))
    }
}

struct Output<'a> {
    push: &'a mut dyn FnMut(Bytes) -> io::Result<()>,
    digest: Sha256,
    written: u64,
}

impl Output<'_> {
    fn push(&mut self, piece: Bytes) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        self.digest.update(&piece);
        self.written += piece.len() as u64;
        (self.push)(piece)
    }

    fn file(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut file = File::open(path)?;
        let (mut digest, mut left) = (Sha256::new(), bytes);
        while left > 0 {
            let most = left.min(CHUNK_BYTES as u64);
            let mut piece = Vec::with_capacity(CHUNK_BYTES);
            Read::by_ref(&mut file).take(most).read_to_end(&mut piece)?;
            if piece.is_empty() {
                return Err(io::Error::other(format!("{} became shorter", path.display())));
            }
            left -= piece.len() as u64;
            digest.update(&piece);
            self.push(piece.into())?;
        }
        self.push(Bytes::copy_from_slice(&digest.finalize()))
    }
}

/// Where a file of the archive goes.
pub(super) type Place<'a> = dyn FnMut(Kind, &Entry) -> io::Result<Box<dyn Write>> + 'a;

/// Reads an archive to its end, checks everything, and puts its files where `place` says.
pub(super) fn read(path: &Path, place: &mut Place<'_>) -> Result<Inspection, BackupError> {
    let file = File::open(path).map_err(BackupError::io("open", path))?;
    let bytes = file.metadata().map_err(BackupError::io("read", path))?.len();
    let input = BufReader::with_capacity(CHUNK_BYTES, file);
    let mut input = Input { path, input, digest: Sha256::new(), read: 0 };
    let contents = input.contents()?;
    let mut attachments = Vec::new();
    for (kind, entry) in &contents.files {
        let plain = Path::new(&entry.name).file_name().is_some_and(|n| n == entry.name.as_str());
        if *kind == Kind::State && !plain {
            return Err(BackupError::damaged(path, format!("it has a file {:?}", entry.name)));
        }
        let mut writer = place(*kind, entry).map_err(BackupError::io("unpack", path))?;
        let mut kept = Vec::new();
        input.file(entry, &mut |piece| {
            if *kind == Kind::Attachment {
                kept.extend_from_slice(piece);
            }
            writer.write_all(piece)
        })?;
        writer.flush().map_err(BackupError::io("unpack", path))?;
        if *kind == Kind::Attachment {
            let attachment = Attachment { name: entry.name.clone(), contents: kept.into() };
            attachments.push(attachment);
        }
    }
    input.end()?;
    Ok(Inspection { manifest: contents.manifest, attachments, bytes })
}

struct Input<'a> {
    path: &'a Path,
    input: BufReader<File>,
    digest: Sha256,
    read: u64,
}

impl Input<'_> {
    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), BackupError> {
        self.unhashed(buffer)?;
        self.digest.update(&*buffer);
        self.read += buffer.len() as u64;
        Ok(())
    }

    fn unhashed(&mut self, buffer: &mut [u8]) -> Result<(), BackupError> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::damaged(self.path, "it was cut short"),
            _ => BackupError::io("read", self.path)(error),
        })
    }

    fn contents(&mut self) -> Result<Contents, BackupError> {
        let mut head = [0; 20];
        let unknown = |reason: &str| BackupError::Unknown {
            path: self.path.to_owned(),
            reason: reason.to_owned(),
        };
        let no_snapshot = unknown("it does not begin as one");
        let too_long = unknown("its list of contents is too long");
        self.exactly(&mut head)?;
        let (magic, length) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(no_snapshot);
        }
        let length = u32::from_be_bytes(length.try_into().expect("four bytes are left"));
        if length > CONTENTS_BYTES_MAX {
            return Err(too_long);
        }
        let mut sealed = vec![0; length as usize];
        self.exactly(&mut sealed)?;
        codec::unseal("its list of contents", &sealed)
            .map_err(|corrupt| BackupError::unknown(self.path, &corrupt))
    }

    fn file(
        &mut self,
        entry: &Entry,
        write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), BackupError> {
        let (mut digest, mut left) = (Sha256::new(), entry.bytes);
        let mut buffer = vec![0; CHUNK_BYTES];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            self.exactly(&mut buffer[..most])?;
            digest.update(&buffer[..most]);
            write(&buffer[..most]).map_err(BackupError::io("unpack", self.path))?;
            left -= most as u64;
        }
        let mut expected = [0; HASH_BYTES as usize];
        self.exactly(&mut expected)?;
        if expected != *digest.finalize() {
            let reason = format!("the checksum of {} in it is wrong", entry.name);
            return Err(BackupError::damaged(self.path, reason));
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), BackupError> {
        let padding = self.read.next_multiple_of(BLOCK_BYTES) - self.read;
        self.exactly(&mut vec![0; usize::try_from(padding).unwrap_or(0)])?;
        let mut expected = [0; HASH_BYTES as usize];
        self.unhashed(&mut expected)?;
        if expected != *self.digest.finalize() {
            return Err(BackupError::damaged(self.path, "the checksum at its end is wrong"));
        }
        let mut more = [0; 1];
        match self.input.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(BackupError::damaged(self.path, "something follows its end")),
            Err(error) => Err(BackupError::io("read", self.path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{MemberId, Revision};

    fn manifest() -> Manifest {
        Manifest {
            cluster: 1,
            generation: 2,
            member: MemberId(3),
            members: vec![],
            revision: Revision(4),
            compacted: Revision(1),
            term: 5,
            index: 6,
            keys: 7,
            hash: 8,
            taken_at: 9,
            release: "0".to_owned(),
        }
    }

    /// An archive of two files and an attachment.
    fn archive() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let files = [("000001.sst", CHUNK_BYTES + 1), ("CURRENT", 0)].map(|(name, bytes)| {
            let path = folder.path().join(name);
            std::fs::write(&path, vec![7u8; bytes]).unwrap();
            path
        });
        let note = Attachment { name: "note".to_owned(), contents: "hello".into() };
        let plan = Plan::new(manifest(), files.to_vec(), vec![note]).unwrap();
        let (bytes, mut written) = (plan.bytes, Vec::new());
        plan.write(&mut |piece| {
            written.extend_from_slice(&piece);
            Ok(())
        })
        .unwrap();
        assert_eq!(written.len() as u64, bytes, "the size is known before");
        written
    }

    fn check(bytes: &[u8]) -> Result<Inspection, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path(), &mut |_, _| Ok(Box::new(io::sink()))).map_err(|error| error.to_string())
    }

    #[test]
    fn what_goes_in_comes_out() {
        let bytes = archive();
        assert_eq!(bytes.len() % 512, 32, "etcd's tools look for this");
        let inspection = check(&bytes).unwrap();
        assert_eq!(inspection.manifest, manifest());
        assert_eq!(inspection.attachments[0].contents, "hello");
    }

    #[test]
    fn every_kind_of_damage_is_found() {
        let bytes = archive();
        let damage = |at: usize| {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            check(&damaged).unwrap_err()
        };
        assert!(damage(3).contains("does not begin as one"));
        assert!(damage(40).contains("list of contents"));
        assert!(damage(1_000).contains("the checksum of 000001.sst in it is wrong"));
        let [padding, hash] = [bytes.len() - 33, bytes.len() - 1].map(damage);
        assert!(padding.contains("the checksum at its end"), "{padding}");
        assert!(hash.contains("the checksum at its end"), "{hash}");
        let short = check(&bytes[..bytes.len() - 1]).unwrap_err();
        assert!(short.contains("cut short"), "{short}");
        let long = check(&[bytes.as_slice(), &[0]].concat()).unwrap_err();
        assert!(long.contains("something follows"), "{long}");
    }
}
