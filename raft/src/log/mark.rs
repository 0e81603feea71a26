//! How far the log has been made durable, kept beside it: what a log that has lost its end is
//! told by.
//!
//! A log whose last record is cut short looks like one whose writer crashed in the middle of it.
//! The mark tells them apart: it holds the number of the last write that was synced. It is written
//! behind every sync and not synced itself: after a power failure it may be older than the log,
//! never newer.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use crate::disk::damage;

const NAME: &str = "SYNCED";
const BYTES: usize = 12;

/// The mark of an open log.
pub(super) struct Mark(File);

impl Mark {
    /// Opens the mark in the log's folder, or makes one; and what it says.
    pub(super) fn open(folder: &Path) -> io::Result<(Mark, u64)> {
        let path = folder.join(NAME);
        if !path.exists() {
            let fresh = folder.join(format!("{NAME}.new"));
            let file = File::create(&fresh)?;
            file.write_all_at(&encode(0), 0)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(folder)?.sync_all()?;
        }
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let number = decode(&bytes).ok_or_else(|| {
            damage::found(format!("{} at offset 0: no valid mark", path.display()))
        })?;
        Ok((Mark(file), number))
    }

    /// Everything up to this write is durable.
    pub(super) fn advance(&self, write: u64) -> io::Result<()> {
        self.0.write_all_at(&encode(write), 0)
    }
}

fn encode(write: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&write.to_be_bytes());
    let checksum = crc32fast::hash(&bytes[..8]).to_be_bytes();
    bytes[8..].copy_from_slice(&checksum);
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let bytes: [u8; BYTES] = bytes.try_into().ok()?;
    let write = u64::from_be_bytes(bytes[..8].try_into().ok()?);
    (encode(write) == bytes).then_some(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_kept_and_a_damaged_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (mark, number) = Mark::open(folder.path()).unwrap();
        assert_eq!(number, 0);
        mark.advance(77).unwrap();
        assert_eq!(Mark::open(folder.path()).unwrap().1, 77);
        let path = folder.path().join(NAME);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = Mark::open(folder.path()).err().unwrap();
        assert!(error.to_string().ends_with("SYNCED at offset 0: no valid mark"), "{error}");
    }
}
