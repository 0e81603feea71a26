//! What a worker needs of its machine, checked before anything is started.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Programs that a worker runs, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] =
    &[("containerd", "containerd"), ("runc", "runc"), ("nft", "nftables")];

/// Names all that is missing in one sentence.
pub(crate) fn check(runtime_endpoint: Option<&str>) -> Result<()> {
    let found = |program: &str| {
        let search = std::env::var_os("PATH").unwrap_or_default();
        let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        std::env::split_paths(&search).chain(extra).any(|folder| folder.join(program).exists())
    };
    let mut missing = Vec::new();
    if !is_root() {
        missing.push("root (start it with sudo)".to_owned());
    }
    for (program, package) in PROGRAMS {
        let own_runtime = runtime_endpoint.is_some() && *program != "nft";
        if !own_runtime && !found(program) {
            missing.push(format!("{program} (Debian's package {package})"));
        }
    }
    if let Some(endpoint) = runtime_endpoint {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        if !Path::new(path).exists() {
            missing.push(format!("a container runtime at {path}"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("an agent runs containers, for which this machine lacks {}", missing.join(", "))
}

/// By effective user.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    users.and_then(|users| users.split_whitespace().nth(1)) == Some("0")
}
