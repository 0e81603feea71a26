//! Finding the table that could not be read, where RocksDB names only the manifest that lists it:
//! of a properties block that makes no sense it tells neither the file nor the place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rocksdb::{DB, ErrorKind, Options};

/// Beside the tables; RocksDB leaves it alone.
const DESK: &str = "examined";
/// What RocksDB says of a table that it can read, but that it would not take from outside.
const INTACT: &str = "External file version not found";
/// Where a table's index of such blocks names its properties.
const PROPERTIES: &[u8] = b"rocksdb.properties";
/// That index is at the end of a table, and small.
const TAIL_BYTES: usize = 64 << 10;

/// The tables that RocksDB cannot open, and where what it stumbles over begins.
pub(super) fn damaged(folder: &Path, tables: &[PathBuf]) -> Option<String> {
    let desk = folder.join(DESK);
    let _ = fs::remove_dir_all(&desk);
    let mut options = Options::default();
    options.create_if_missing(true);
    // Without room for it, or without the right to write, nothing more can be said.
    let judge = DB::open(&options, &desk).ok()?;
    let verdicts = tables.iter().filter_map(|table| {
        // Opens the table, and then declines it, before anything is copied: this database did
        // not order it.
        let error = judge.ingest_external_file(vec![table]).err()?;
        let intact = error.kind() != ErrorKind::Corruption || error.as_ref().contains(INTACT);
        (!intact).then(|| describe(table, &error))
    });
    let verdicts: Vec<String> = verdicts.collect();
    drop(judge);
    let _ = fs::remove_dir_all(&desk);
    (!verdicts.is_empty()).then(|| verdicts.join(", "))
}

fn describe(table: &Path, error: &rocksdb::Error) -> String {
    let bytes = fs::read(table).unwrap_or_default();
    let place = properties(&bytes);
    let place = place.map_or_else(String::new, |at| format!(", properties at offset {at}"));
    format!("{}{place} of {}: {error}", table.display(), bytes.len())
}

/// Where the properties block of a table begins.
fn properties(table: &[u8]) -> Option<u64> {
    let tail = &table[table.len().saturating_sub(TAIL_BYTES)..];
    let name = tail.windows(PROPERTIES.len()).rposition(|window| window == PROPERTIES)?;
    let mut offset = 0;
    for (nth, byte) in tail[name + PROPERTIES.len()..].iter().take(10).enumerate() {
        offset |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return (offset < table.len() as u64).then_some(offset);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database with one table, and that table.
    fn made(folder: &Path) -> PathBuf {
        let db = DB::open_default(folder).unwrap();
        for key in 0..100_u32 {
            db.put(key.to_be_bytes(), [7; 100]).unwrap();
        }
        db.flush().unwrap();
        let name = db.live_files().unwrap()[0].name.trim_start_matches('/').to_owned();
        folder.join(name)
    }

    #[test]
    fn only_a_damaged_table_is_named_and_where() {
        let folder = tempfile::tempdir().unwrap();
        let table = made(folder.path());
        let whole = fs::read(&table).unwrap();
        assert_eq!(damaged(folder.path(), std::slice::from_ref(&table)), None);
        let at = properties(&whole).unwrap();
        let name = table.file_name().unwrap().to_str().unwrap().to_owned();
        // Every byte of the first entries, which the parser stumbles over.
        for flipped in at..at + 16 {
            let mut bytes = whole.clone();
            bytes[usize::try_from(flipped).unwrap()] ^= 0x90;
            fs::write(&table, &bytes).unwrap();
            let said = damaged(folder.path(), std::slice::from_ref(&table)).unwrap();
            let place = format!("{name}, properties at offset {at} of {}", whole.len());
            assert!(said.contains(&place), "{flipped}: {said}");
        }
        assert!(!folder.path().join(DESK).exists());
        assert_eq!(fs::read(&table).unwrap().len(), whole.len());
    }
}
