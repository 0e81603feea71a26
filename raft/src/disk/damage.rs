//! Telling what is damaged: which file, where, and what to do about it.
//!
//! A member that finds damage does not guess what was there. At its start it refuses to open;
//! while it runs, an [`Alarm`] stops it. Its cluster holds everything it held: it is replaced.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rocksdb::ErrorKind;
use tokio::sync::watch;

use super::{table, wal};

/// What an operator does about it.
pub(crate) const ADVICE: &str = "this member cannot be repaired from itself: stop it, remove it \
                                 from the cluster (`kontiki member remove`), empty its data \
                                 folder and let it join again";

/// RocksDB's error, so that damage and a full disk can be told from anything else.
pub(crate) fn of_rocksdb(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::Corruption => io::ErrorKind::InvalidData,
        ErrorKind::IOError if error.as_ref().contains("No space left on device") => {
            io::ErrorKind::StorageFull
        }
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// Damage that was found in something read.
pub(crate) fn found(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Rings once, when damage is found while the member runs, whoever was reading.
#[derive(Clone)]
pub(crate) struct Alarm(Arc<watch::Sender<Option<String>>>);

impl Default for Alarm {
    fn default() -> Alarm {
        Alarm(Arc::new(watch::Sender::new(None)))
    }
}

impl Alarm {
    /// Rings if the error is damage, and passes it on.
    pub(crate) fn note(&self, error: rocksdb::Error) -> io::Error {
        let error = of_rocksdb(error);
        if error.kind() == io::ErrorKind::InvalidData {
            self.0.send_if_modified(|rung| rung.replace(error.to_string()).is_none());
        }
        error
    }

    /// Waits until it rings.
    pub(crate) async fn rings(&self) -> String {
        let mut alarm = self.0.subscribe();
        let rung = alarm.wait_for(Option::is_some).await;
        rung.map(|what| what.clone().unwrap_or_default()).unwrap_or_default()
    }
}

/// Why a database in `folder` could not be opened, with the file and the place where RocksDB does
/// not say them.
pub(crate) fn explain(folder: &Path, error: rocksdb::Error) -> io::Error {
    let missing =
        error.kind() == ErrorKind::IOError && error.as_ref().contains("No such file or directory");
    let error = of_rocksdb(error);
    if error.kind() != io::ErrorKind::InvalidData && !missing {
        return error;
    }
    let text = error.to_string();
    if text.contains("/MANIFEST-")
        && !text.contains(".sst")
        && let Some(tables) = table::damaged(folder, &files(folder, "sst"))
    {
        return found(format!("{text} What is damaged is {tables}"));
    }
    if ["/MANIFEST-", ".sst", "CURRENT"].iter().any(|file| text.contains(file)) {
        return found(text);
    }
    let places: Vec<String> =
        files(folder, "log").into_iter().filter_map(|log| place(&log)).collect();
    let places = if places.is_empty() { folder.display().to_string() } else { places.join(", ") };
    found(format!("{text}, in {places}"))
}

/// `file at offset` of a log that is not what was written.
fn place(log: &Path) -> Option<String> {
    let bytes = fs::read(log).ok()?;
    let at = wal::first_damage(&bytes)?;
    Some(format!("{} at offset {at} of {}", log.display(), bytes.len()))
}

/// The newest write-ahead log of a database and its length, for what its end should have held.
pub(crate) fn end_of_log(folder: &Path) -> String {
    let newest = files(folder, "log").pop();
    newest.map_or_else(
        || format!("{} has no write-ahead log", folder.display()),
        |log| {
            let length = fs::metadata(&log).map_or(0, |metadata| metadata.len());
            format!("{} ends at offset {length}", log.display())
        },
    )
}

/// Files of a database by their extension, oldest first.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|own| own == extension))
        .collect();
    files.sort();
    files
}

/// A database whose `CURRENT` is gone would be begun anew by RocksDB, as if it had never been.
pub(crate) fn refuse_headless(folder: &Path) -> io::Result<()> {
    if folder.join("CURRENT").exists() {
        return Ok(());
    }
    // A member that was interrupted while it was made for the first time has no tables, and no
    // log with anything in it.
    let used = files(folder, "sst").pop().or_else(|| {
        let mut logs = files(folder, "log").into_iter();
        logs.find(|log| fs::metadata(log).is_ok_and(|metadata| metadata.len() > 0))
    });
    used.map_or(Ok(()), |file| {
        Err(found(format!(
            "{} is missing, beside {}",
            folder.join("CURRENT").display(),
            file.display()
        )))
    })
}
