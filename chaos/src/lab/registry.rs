//! What labs are there on this machine, and clearing up after those whose owner is gone.
//!
//! One line per lab in a folder under `/run`, written before the lab makes anything: owner, the
//! owner's start time (process ids come back), disk folder, whether to keep it. The folder is
//! locked while labs come and go. The first lab raises the kernel's limit of inotify instances,
//! which is one for the whole machine, and the last puts it back.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::Context;

use super::daemon::{Signal, send};

const REGISTRY: &str = "/run/kontiki-labs";
const INOTIFY_LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
/// Several containerds, agents and log followers, for a few labs at once.
const INOTIFY_LIMIT_WANTED: u32 = 8192;

/// A lab's entry in the registry, from before it makes anything until it has removed everything.
#[derive(Debug)]
pub(super) struct Registration {
    name: String,
}

impl Registration {
    pub(super) fn new(folder: &Path, keep_disks: bool) -> anyhow::Result<Registration> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        let name = format!("kontiki-lab-{pid}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let entry = Entry {
            owner: pid,
            owner_start: start_time(pid).context("read when this process started")?,
            folder: folder.join(&name),
            keep_disks,
        };
        let _lock = lock()?;
        sweep();
        raise_inotify_limit()?;
        let path = Path::new(REGISTRY).join(&name);
        fs::write(&path, entry.line()).with_context(|| format!("write {}", path.display()))?;
        Ok(Registration { name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let ended = lock().and_then(|_lock| {
            fs::remove_file(Path::new(REGISTRY).join(&self.name))?;
            restore_inotify_limit()
        });
        if let Err(error) = ended {
            tracing::warn!("cannot end the registration of lab {}: {error:#}", self.name);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    owner: u32,
    owner_start: u64,
    folder: PathBuf,
    keep_disks: bool,
}

impl Entry {
    fn line(&self) -> String {
        let Entry { owner, owner_start, folder, keep_disks } = self;
        format!("{owner} {owner_start} {keep_disks} {}\n", folder.display())
    }

    fn parse(line: &str) -> Option<Entry> {
        let mut words = line.trim_end().splitn(4, ' ');
        Some(Entry {
            owner: words.next()?.parse().ok()?,
            owner_start: words.next()?.parse().ok()?,
            keep_disks: words.next()?.parse().ok()?,
            folder: words.next()?.into(),
        })
    }

    fn is_alive(&self) -> bool {
        start_time(self.owner).is_some_and(|start| start == self.owner_start)
    }
}

/// Removes what labs left behind whose owner is gone.
fn sweep() {
    for (name, entry) in entries() {
        if entry.is_alive() {
            continue;
        }
        kill_hosts(&name);
        if let Err(error) = remove_cgroups(&name) {
            tracing::warn!("cannot remove the cgroups of dead lab {name}: {error:#}");
        }
        if !entry.keep_disks {
            let _ = fs::remove_dir_all(&entry.folder);
        }
        let _ = fs::remove_file(Path::new(REGISTRY).join(name));
    }
}

/// What a lab that has ended left on the machine; empty if it ended well.
pub fn left_behind(lab: &str) -> Vec<String> {
    let mut left = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(mounts.lines().filter(|line| line.contains(lab)).map(|l| format!("mount {l}")));
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let is_self = process.file_name().to_string_lossy() == std::process::id().to_string();
        if line.contains(lab) && !is_self {
            left.push(format!("process {line}"));
        }
    }
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = folders(root).unwrap_or_default().into_iter().chain([root.to_owned()]);
    for group in hierarchies.flat_map(|parent| folders(&parent).unwrap_or_default()) {
        if group.file_name().is_some_and(|name| name.to_string_lossy().starts_with(lab)) {
            left.push(format!("cgroup {}", group.display()));
        }
    }
    left
}

fn entries() -> Vec<(String, Entry)> {
    let files = fs::read_dir(REGISTRY).into_iter().flatten().flatten();
    let read = |file: fs::DirEntry| {
        let name = file.file_name().into_string().ok()?;
        let text = fs::read_to_string(file.path()).ok()?;
        name.starts_with("kontiki-lab-").then(|| Some((name, Entry::parse(&text)?)))?
    };
    files.filter_map(read).collect()
}

/// Kills process 1 of each host of `lab`, told by its own command line. They end by themselves a
/// moment after their owner; this is for the moment.
fn kill_hosts(lab: &str) {
    let host_prefix = format!("{lab}.");
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(line) = fs::read(process.path().join("cmdline")) else { continue };
        let mut words = line.split(|byte| *byte == 0);
        let is_init = words.next() == Some(b"kontiki-lab-init".as_slice());
        if is_init && words.next().is_some_and(|word| word.starts_with(host_prefix.as_bytes())) {
            send(pid, Signal::Kill);
            wait_until_gone(pid);
        }
    }
}

/// Nobody reports the end of another's child: looking is all there is.
fn wait_until_gone(pid: u32) {
    for _ in 0..500 {
        if start_time(pid).is_none() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Removes the cgroups called `prefix`, or beginning with it and a dot, in every hierarchy.
pub(super) fn remove_cgroups(prefix: &str) -> io::Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let with_dot = format!("{prefix}.");
    // Version 1 has a folder per hierarchy; version 2 is the root itself.
    for parent in folders(root)?.into_iter().chain([root.to_owned()]) {
        for group in folders(&parent).unwrap_or_default() {
            let name = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name == prefix || name.starts_with(&with_dot) {
                remove_tree(&group)?;
            }
        }
    }
    Ok(())
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for child in folders(group)? {
        remove_tree(&child)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path)?.flatten();
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    Ok(entries.filter(is_folder).map(|entry| entry.path()).collect())
}

fn lock() -> anyhow::Result<File> {
    fs::create_dir_all(REGISTRY).with_context(|| format!("make {REGISTRY} (a lab needs root)"))?;
    let path = Path::new(REGISTRY).join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn saved_limit() -> PathBuf {
    Path::new(REGISTRY).join("inotify-limit")
}

fn raise_inotify_limit() -> anyhow::Result<()> {
    let current = fs::read_to_string(INOTIFY_LIMIT).context("read the inotify limit")?;
    if current.trim().parse::<u32>()? >= INOTIFY_LIMIT_WANTED {
        return Ok(());
    }
    if !saved_limit().exists() {
        fs::write(saved_limit(), current)?;
    }
    fs::write(INOTIFY_LIMIT, INOTIFY_LIMIT_WANTED.to_string()).context("raise the inotify limit")
}

fn restore_inotify_limit() -> anyhow::Result<()> {
    let Ok(saved) = fs::read_to_string(saved_limit()) else { return Ok(()) };
    if entries().is_empty() {
        fs::write(INOTIFY_LIMIT, saved.trim()).context("put the inotify limit back")?;
        fs::remove_file(saved_limit())?;
    }
    Ok(())
}

/// When a process started, in clock ticks since boot; `None` if there is no such process.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; the fields after it are numbers.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if state == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_being_written() {
        let entry = Entry {
            owner: 42,
            owner_start: 77,
            folder: "/tmp/a folder/with spaces".into(),
            keep_disks: true,
        };
        assert_eq!(Entry::parse(&entry.line()), Some(entry));
    }

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let own = std::process::id();
        assert!(start_time(own).is_some());
        let entry = Entry { owner: own, owner_start: 1, folder: PathBuf::new(), keep_disks: false };
        assert!(!entry.is_alive());
    }
}
