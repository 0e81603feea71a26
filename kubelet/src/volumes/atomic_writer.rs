//! Replacing the files of a volume in one step, so that no reader sees half of an update.
//!
//! Files live in a folder of their own, `..data` points to it, and what containers open points
//! through `..data`. An update writes a new folder and renames one symbolic link.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, symlink},
    path::{Component, Path},
    time::{SystemTime, UNIX_EPOCH},
};

use super::payload::File;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Makes a volume hold exactly these files. Nothing changes if it does already.
pub fn write(volume: &Path, files: &BTreeMap<String, File>, group: Option<i64>) -> io::Result<()> {
    for path in files.keys() {
        check(path)?;
    }
    if holds(volume, files) {
        return Ok(());
    }
    let old = fs::read_link(volume.join(DATA)).ok();
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("..{}.{:09}", stamp.as_secs(), stamp.subsec_nanos());
    let folder = volume.join(&name);
    fs::DirBuilder::new().mode(0o755).create(&folder)?;
    for (path, file) in files {
        let target = folder.join(path);
        if let Some(parent) = target.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        fs::write(&target, &file.bytes)?;
        let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        if let Some(group) = group {
            std::os::unix::fs::chown(&target, None, u32::try_from(group).ok())?;
        }
    }
    let next = volume.join(DATA_NEXT);
    let _ = fs::remove_file(&next);
    symlink(&name, &next)?;
    fs::rename(&next, volume.join(DATA))?;
    link_names(volume, files)?;
    match old {
        Some(old) => fs::remove_dir_all(volume.join(old)).or_else(gone_is_fine),
        None => Ok(()),
    }
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// A path must stay inside the volume, and out of the writer's own names.
fn check(path: &str) -> io::Result<()> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !inside || path.starts_with("..") {
        return Err(io::Error::other(format!("invalid path {path:?} in a volume")));
    }
    Ok(())
}

fn holds(volume: &Path, files: &BTreeMap<String, File>) -> bool {
    let data = volume.join(DATA);
    let same = |(path, file): (&String, &File)| {
        let target = data.join(path);
        fs::read(&target).is_ok_and(|bytes| bytes == file.bytes)
            && fs::metadata(&target)
                .is_ok_and(|meta| meta.permissions().mode() & file.mode == file.mode)
    };
    data.exists() && files.iter().all(same) && count(&data) == files.len()
}

fn count(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 })
        .sum()
}

/// Keeps one link per first path component, and no other.
fn link_names(volume: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    let first = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: BTreeSet<String> = files.keys().map(first).collect();
    for name in &wanted {
        let link = volume.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(volume)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |text: &str| File { bytes: text.as_bytes().to_vec(), mode: 0o640 };
        list.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    fn tree(volume: &Path) -> String {
        let mut names: Vec<String> = fs::read_dir(volume)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name == DATA || !name.starts_with(".."))
            .collect();
        names.sort();
        names.join(" ")
    }

    #[test]
    fn an_update_swaps_all_files_at_once_and_drops_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path();
        write(volume, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(tree(volume), "..data a d");
        assert_eq!(fs::read_to_string(volume.join("d/b")).unwrap(), "2");
        let before = fs::read_link(volume.join(DATA)).unwrap();

        write(volume, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(fs::read_link(volume.join(DATA)).unwrap(), before, "nothing changed");

        write(volume, &files(&[("a", "3")]), None).unwrap();
        assert_eq!(tree(volume), "..data a");
        assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "3");
        assert!(!volume.join(before).exists());
    }

    #[test]
    fn a_path_cannot_leave_the_volume() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../x", "/etc/passwd", "..data", "a/../../b", ""] {
            assert!(write(dir.path(), &files(&[(path, "x")]), None).is_err(), "{path}");
        }
    }
}
