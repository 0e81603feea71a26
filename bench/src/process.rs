//! CPU time and memory of the processes that are measured, from /proc.

use anyhow::{Context, Result, bail};

/// A process to be read, given as `NAME=PID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What the report calls it.
    pub name: String,
    /// Its id.
    pub pid: u32,
}

impl std::str::FromStr for Process {
    type Err = String;

    fn from_str(text: &str) -> Result<Process, String> {
        let (name, pid) = text.split_once('=').unwrap_or(("", text));
        let pid: u32 = pid.parse().map_err(|_| format!("{pid:?} is no process id"))?;
        let name = if name.is_empty() { pid.to_string() } else { name.to_owned() };
        Ok(Process { name, pid })
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Seconds of CPU, user and system.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// The part of it that is the process's own, not pages of files.
    pub anonymous: u64,
    /// Highest resident memory so far, in bytes.
    pub peak_rss: u64,
}

impl Process {
    /// Reads the process now.
    pub fn usage(&self) -> Result<Usage> {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", self.pid);
            std::fs::read_to_string(&path).with_context(|| format!("{}: {path}", self.name))
        };
        parse(&read("stat")?, &read("status")?, ticks_per_second())
    }
}

fn parse(stat: &str, status: &str, ticks_per_second: f64) -> Result<Usage> {
    // The command in parentheses may hold spaces: fields are counted behind it.
    let Some((_, fields)) = stat.rsplit_once(')') else { bail!("unreadable stat {stat:?}") };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok());
    let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
        bail!("unreadable stat {stat:?}")
    };
    let kibibytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        number.unwrap_or_default() * 1024
    };
    Ok(Usage {
        cpu_seconds: (user + system) / ticks_per_second,
        rss: kibibytes("VmRSS:"),
        anonymous: kibibytes("RssAnon:"),
        peak_rss: kibibytes("VmHWM:"),
    })
}

/// The kernel's USER_HZ, which is 100 on every Linux that this runs on.
fn ticks_per_second() -> f64 {
    100.0
}

/// Usage of several processes between two moments.
#[derive(Debug)]
pub struct Meter {
    processes: Vec<Process>,
    before: Vec<Usage>,
}

impl Meter {
    /// Starts measuring.
    pub fn start(processes: &[Process]) -> Result<Meter> {
        let before: Result<Vec<Usage>> = processes.iter().map(Process::usage).collect();
        Ok(Meter { processes: processes.to_vec(), before: before? })
    }

    /// Seconds of CPU of all of them since the start.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let mut sum = 0.0;
        for (process, before) in self.processes.iter().zip(&self.before) {
            sum += process.usage()?.cpu_seconds - before.cpu_seconds;
        }
        Ok(sum)
    }

    /// Resident memory of all of them, in bytes.
    pub fn rss(&self) -> Result<u64> {
        self.processes.iter().map(|p| Ok(p.usage()?.rss)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_and_status_are_read() {
        let stat = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        let status = "Name:\tx\nVmHWM:\t    3 kB\nVmRSS:\t    2 kB\nRssAnon:\t    1 kB\n";
        let usage = parse(stat, status, 100.0).unwrap();
        let expected = Usage { cpu_seconds: 2.0, rss: 2048, anonymous: 1024, peak_rss: 3072 };
        assert_eq!(usage, expected);
    }

    #[test]
    fn this_process_can_be_read() {
        let process: Process = format!("me={}", std::process::id()).parse().unwrap();
        assert!(process.usage().unwrap().rss > 0);
        assert!("server=x".parse::<Process>().is_err());
    }
}
