//! What a process keeps in memory of its own program.
//!
//! Starting runs through code that running never comes back to: flags, certificates, recovery, the
//! first fill of every cache. It is a good half of the code that was ever touched, and the kernel
//! counts it as resident until memory is short. Once a process has settled it lets go of its code:
//! what it does run comes back from the page cache, a few hundred faults without any I/O, and what
//! it does not stays away.

use std::{fs, io, ops::Range, time::Duration};

use rustix::mm::{Advice, madvise};

use crate::tasks::{TaskKind, Tasks};

/// From readiness until what follows a start, such as the first fill of caches, is over.
const SETTLED: Duration = Duration::from_secs(4);
const RELEASE: TaskKind = TaskKind::logged("release of the start's code");

/// To be called when a process is ready: a little later it lets go of its code.
pub fn release_when_settled(tasks: &Tasks) {
    let shutdown = tasks.shutdown();
    tasks.spawn_infallible(RELEASE, async move {
        if shutdown.run_until_cancelled(tokio::time::sleep(SETTLED)).await.is_none() {
            return;
        }
        match release_code() {
            Ok(bytes) => tracing::debug!(bytes, "let go of the start's code"),
            Err(error) => tracing::debug!("the start's code stays in memory: {error}"),
        }
    });
}

/// Unmaps the pages of the program's code; gives the size of what they were part of in bytes.
fn release_code() -> io::Result<usize> {
    let program = fs::read_link("/proc/self/exe")?;
    let mut released = 0;
    for range in code(&fs::read_to_string("/proc/self/maps")?, &program.to_string_lossy()) {
        release(&range)?;
        released += range.len();
    }
    Ok(released)
}

#[expect(unsafe_code, reason = "madvise has no safe wrapper")]
fn release(range: &Range<usize>) -> io::Result<()> {
    let start = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the range is a private mapping of the program's file that may be executed and not be
    // written: its pages are the file's, and whoever touches one again gets it from there.
    unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) }.map_err(io::Error::from)
}

/// The addresses of a program's code, by `/proc/PID/maps` (proc_pid_maps(5)).
fn code(maps: &str, program: &str) -> Vec<Range<usize>> {
    let code = maps.lines().filter_map(|line| {
        let mut fields = line.splitn(6, ' ');
        let (addresses, mode) = (fields.next()?, fields.next()?);
        let is_code = mode == "r-xp" && fields.nth(3)?.trim_start() == program;
        let (start, end) = addresses.split_once('-').filter(|_| is_code)?;
        let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16));
        Some(start.ok()?..end.ok()?)
    });
    code.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_may_be_executed_of_the_program_itself() {
        let maps = "\
            1000-2000 r--p 00000000 fe:00 7                          /opt/my kontiki\n\
            2000-5000 r-xp 00001000 fe:00 7                          /opt/my kontiki\n\
            5000-6000 rw-p 00004000 fe:00 7                          /opt/my kontiki\n\
            6000-7000 r-xp 00005000 fe:00 7                          /opt/my kontiki\n\
            7000-8000 rwxp 00004000 fe:00 7                          /opt/my kontiki\n\
            8000-9000 r-xp 00000000 fe:00 9                          /usr/lib/libc.so.6\n\
            9000-a000 r-xp 00000000 00:00 0 \n\
            a000-b000 r-xp 00000000 00:00 0                          [vdso]\n";
        assert_eq!(code(maps, "/opt/my kontiki"), [0x2000..0x5000, 0x6000..0x7000]);
        assert!(code(maps, "/opt/other").is_empty());
        assert!(code("not a map", "map").is_empty());
    }

    /// Bytes of the program's code that are in this process's memory, by proc_pid_smaps(5):
    /// `statm` may be off by megabytes.
    fn resident(program: &str) -> u64 {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_code = false;
        let mut kibibytes = 0;
        for line in smaps.lines() {
            if let Some(size) = line.strip_prefix("Rss:") {
                let size = size.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
                kibibytes += if is_code { size } else { 0 };
            } else if line.contains('-') {
                is_code = line.contains(" r-xp ") && line.ends_with(program);
            }
        }
        kibibytes << 10
    }

    #[test]
    #[expect(unsafe_code, reason = "madvise has no safe wrapper")]
    fn a_process_without_its_code_gets_it_back_as_it_runs() {
        let program = fs::read_link("/proc/self/exe").unwrap();
        let program = program.to_string_lossy();
        for range in code(&fs::read_to_string("/proc/self/maps").unwrap(), &program) {
            let start = std::ptr::with_exposed_provenance_mut(range.start);
            // SAFETY: it only brings in what anybody may read.
            unsafe { madvise(start, range.len(), Advice::LinuxPopulateRead) }.unwrap();
        }
        let whole = resident(&program);
        let released = release_code().unwrap();
        let left = resident(&program);
        assert!(left < whole / 2, "{left} of {whole} bytes are left of {released}");
    }
}
