//! The machine that both sides share, as far as it decides the figures.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::latency::Latencies;

/// Synced writes that tell how fast the disk is.
const PROBES: usize = 200;
/// Bytes of each.
const PROBE_BYTES: usize = 4_096;

/// Cores, kernel, load, and the disk under a folder, as one line.
pub(crate) fn describe(folder: &Path) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mounts = read("/proc/self/mounts");
    let file_system = file_system(&mounts, &folder.canonicalize()?).unwrap_or("?").to_owned();
    ensure!(
        !["tmpfs", "ramfs"].contains(&file_system.as_str()),
        "{} is in memory, where fsync costs nothing; name a folder on a disk with --dir",
        folder.display()
    );
    let (p50, p99) = probe(folder)?;
    let load = read("/proc/loadavg");
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(format!(
        "{cores} cores ({}), Linux {}, {file_system}, fdatasync of 4 KiB p50 {p50:.2?} p99 \
         {p99:.2?}, load before {}",
        model.map_or("?", |(_, name)| name),
        read("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or("?"),
    ))
}

/// The type of the file system that holds a path: that of the longest mount point above it.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    // The last of equals lies on top.
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

fn probe(folder: &Path) -> Result<(Duration, Duration)> {
    let path = folder.join("fsync-probe");
    let mut file = File::create(&path).context("cannot write where the members would")?;
    let mut latencies = Latencies::default();
    for _ in 0..PROBES {
        file.write_all(&[7; PROBE_BYTES])?;
        let start = Instant::now();
        file.sync_data()?;
        latencies.record(start.elapsed());
    }
    fs::remove_file(&path)?;
    Ok((latencies.percentile(50), latencies.percentile(99)))
}

/// Bytes on disk below a folder.
pub(super) fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
            // Files may go while they are counted.
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_on_the_innermost_mount() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x xfs rw 0 0\n";
        let cases = [("/var", "ext4"), ("/tmp/y", "tmpfs"), ("/tmp/x/z", "xfs"), ("/tmpx", "ext4")];
        for (path, expected) in cases {
            assert_eq!(file_system(mounts, Path::new(path)), Some(expected), "{path}");
        }
    }
}
