//! The machine below: read once, from the kernel's files.

use std::fs;

use crate::environment::fields::Allocatable;

/// What the machine is and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: i64,
    /// `uname -r`.
    pub kernel_version: String,
    /// `PRETTY_NAME` of the distribution.
    pub os_image: String,
    /// Changes at every boot.
    pub boot_id: String,
    /// Stays.
    pub machine_id: String,
    /// The firmware's id.
    pub system_uuid: String,
}

impl Machine {
    /// Reads this machine.
    pub fn read() -> Machine {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let machine_id = text("/etc/machine-id");
        let system_uuid = text("/sys/class/dmi/id/product_uuid");
        Machine {
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            memory: total_memory(&text("/proc/meminfo")).unwrap_or(0),
            kernel_version: text("/proc/sys/kernel/osrelease"),
            os_image: os_image(&text("/etc/os-release")).unwrap_or_else(|| "Linux".to_owned()),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
            machine_id,
        }
    }

    /// What pods may have: all of it.
    pub fn allocatable(&self) -> Allocatable {
        Allocatable { millicpu: i64::from(self.cpus) * 1000, memory: self.memory }
    }
}

fn total_memory(meminfo: &str) -> Option<i64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn os_image(os_release: &str) -> Option<String> {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_understood() {
        assert_eq!(
            total_memory("MemTotal:       24620396 kB\nMemFree: 1 kB"),
            Some(25_211_285_504)
        );
        assert_eq!(
            os_image("NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"").as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
    }
}
