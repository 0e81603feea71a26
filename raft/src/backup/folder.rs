//! Folders of stores, as files: copied without being opened, replaced in one step.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::state::current::{self, FIRST};

/// Whether a folder is there and has something in it.
pub(super) fn has_entries(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A sibling of `folder`, for work in progress or for what was there before.
pub(super) fn beside(folder: &Path, what: &str) -> PathBuf {
    folder.with_added_extension(what)
}

/// A sibling of `folder` that is not there yet.
pub(super) fn unused(folder: &Path, what: &str) -> io::Result<PathBuf> {
    let mut candidate = beside(folder, what);
    let mut number = 1;
    while candidate.try_exists()? {
        number += 1;
        candidate = beside(folder, &format!("{what}-{number}"));
    }
    Ok(candidate)
}

/// Removes a folder that may not be there.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Creates the folders of a fresh store, and returns the one for its state's files.
pub(super) fn new_state(store: &Path) -> io::Result<PathBuf> {
    let state = store.join("state");
    let files = state.join(FIRST);
    fs::create_dir_all(&files)?;
    current::write(&state, FIRST)?;
    Ok(files)
}

/// Where a store's state is.
pub(super) fn current_state(store: &Path) -> io::Result<PathBuf> {
    let state = store.join("state");
    let name = current::read(&state)?.ok_or(io::ErrorKind::NotFound)?;
    Ok(state.join(name))
}

/// Copies the state of the store in `from` into the fresh store `to`. Tables never change: they
/// are linked where that is possible. `from` must be stopped.
pub(super) fn copy_state(from: &Path, to: &Path) -> io::Result<()> {
    let files = new_state(to)?;
    for entry in fs::read_dir(current_state(from)?)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() || entry.file_name() == "LOCK" {
            continue;
        }
        let (path, target) = (entry.path(), files.join(entry.file_name()));
        let table = path.extension().is_some_and(|extension| extension == "sst");
        if !(table && fs::hard_link(&path, &target).is_ok()) {
            fs::copy(&path, &target)?;
        }
    }
    sync_all(&files)
}

/// The files in a folder, in order of their names.
pub(super) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name() != "LOCK" {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Makes the files of a folder and the folder durable.
pub(super) fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(folder)?.sync_all()?;
    match folder.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Puts `fresh` in the place of `folder` in one step. What was there is then at `fresh`.
pub(super) fn replace(fresh: &Path, folder: &Path) -> io::Result<()> {
    let exists = folder.try_exists()?;
    let flags = if exists { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    renameat_with(CWD, fresh, CWD, folder, flags)?;
    if exists && !has_entries(fresh)? {
        fs::remove_dir(fresh)?;
    }
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_replaced_in_one_step() {
        let root = tempfile::tempdir().unwrap();
        let [old, new] = ["store", "store.fresh"].map(|name| root.path().join(name));
        fs::create_dir(&new).unwrap();
        fs::write(new.join("a"), "1").unwrap();
        replace(&new, &old).unwrap();
        assert!(!new.exists() && old.join("a").exists());
        fs::create_dir(&new).unwrap();
        fs::write(new.join("b"), "2").unwrap();
        replace(&new, &old).unwrap();
        assert!(new.join("a").exists() && old.join("b").exists());
        assert!(has_entries(&old).unwrap());
        remove(&old).unwrap();
        remove(&old).unwrap();
        assert!(!has_entries(&old).unwrap());
    }
}
