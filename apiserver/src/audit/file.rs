//! The file of the log: closed and set aside when it is full, and removed when it is old.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;

/// When a file is set aside and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of a full file; 0 is 100 MiB, as upstream.
    pub bytes_max: u64,
    /// Files kept beside the current one; 0 keeps all.
    pub backups_max: usize,
    /// How long they are kept; zero keeps them for ever.
    pub age_max: Duration,
}

const BYTES_MAX: u64 = 100 << 20;

pub(super) struct File {
    path: PathBuf,
    rotation: Rotation,
    /// `None` is standard output.
    open: Mutex<Option<Open>>,
}

struct Open {
    file: fs::File,
    written: u64,
}

impl File {
    pub(super) fn open(path: PathBuf, rotation: Rotation) -> io::Result<File> {
        let open = if path == Path::new("-") { None } else { Some(Open::at(&path)?) };
        Ok(File { path, rotation, open: Mutex::new(open) })
    }

    /// Appends a line, in a new file if it does not fit into this one.
    pub(super) fn write_line(&self, line: &str, now: Timestamp) -> io::Result<()> {
        let mut open = self.open.lock();
        let Some(current) = open.as_mut() else {
            return writeln!(io::stdout().lock(), "{line}");
        };
        let limit = if self.rotation.bytes_max == 0 { BYTES_MAX } else { self.rotation.bytes_max };
        let length = line.len() as u64 + 1;
        if current.written > 0 && current.written + length > limit {
            // A file that grows too large is better than a line that is lost.
            if let Err(error) = self.rotate(current, now) {
                tracing::error!("cannot rotate the audit log {}: {error}", self.path.display());
            }
        }
        current.file.write_all(format!("{line}\n").as_bytes())?;
        current.written += length;
        Ok(())
    }

    fn rotate(&self, current: &mut Open, now: Timestamp) -> io::Result<()> {
        fs::rename(&self.path, self.aside(now))?;
        *current = Open::at(&self.path)?;
        self.clean(now)
    }

    fn parts(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| {
            part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let extension = text(self.path.extension());
        let dotted = if extension.is_empty() { extension } else { format!(".{extension}") };
        (text(self.path.file_stem()), dotted)
    }

    /// The name that a full file gets: the time stands before the extension.
    fn aside(&self, now: Timestamp) -> PathBuf {
        let (stem, extension) = self.parts();
        let time = now.strftime("%Y-%m-%dT%H-%M-%S.%6f");
        self.path.with_file_name(format!("{stem}-{time}{extension}"))
    }

    /// Removes what is too old or too much.
    fn clean(&self, now: Timestamp) -> io::Result<()> {
        let (stem, extension) = self.parts();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut aside = Vec::new();
        for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let between = name.strip_prefix(&format!("{stem}-"));
            if between.is_some_and(|rest| rest.ends_with(&extension) && rest.starts_with('2')) {
                aside.push((name, entry.path(), entry.metadata()?.modified()?));
            }
        }
        // The names carry the time, so their order is that of age, youngest first.
        aside.sort_by(|a, b| b.0.cmp(&a.0));
        let oldest = (!self.rotation.age_max.is_zero())
            .then(|| std::time::SystemTime::from(now).checked_sub(self.rotation.age_max))
            .flatten();
        for (at, (_, path, modified)) in aside.iter().enumerate() {
            let many = self.rotation.backups_max > 0 && at >= self.rotation.backups_max;
            if many || oldest.is_some_and(|oldest| *modified < oldest) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Open> {
        use std::os::unix::fs::OpenOptionsExt as _;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let written = file.metadata()?.len();
        Ok(Open { file, written })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_set_aside_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let rotation = Rotation { bytes_max: 10, backups_max: 2, ..Rotation::default() };
        let file = File::open(path.clone(), rotation).unwrap();
        for second in 0..5 {
            let now = Timestamp::from_second(1_800_000_000 + second).unwrap();
            file.write_line(&format!("line {second}"), now).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "audit-2027-01-15T08-00-03.000000.log",
                "audit-2027-01-15T08-00-04.000000.log",
                "audit.log",
            ]
        );
        assert_eq!(fs::read_to_string(path).unwrap(), "line 4\n");
    }

    #[test]
    fn no_line_is_lost_when_a_full_file_cannot_be_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let rotation = Rotation { bytes_max: 10, ..Rotation::default() };
        let file = File::open(path.clone(), rotation).unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        // Nothing can take the name of a folder.
        fs::create_dir(folder.path().join("audit-2027-01-15T08-00-00.000000.log")).unwrap();
        for line in ["line 1", "line 2"] {
            file.write_line(line, now).unwrap();
        }
        assert_eq!(fs::read_to_string(path).unwrap(), "line 1\nline 2\n");
    }
}
