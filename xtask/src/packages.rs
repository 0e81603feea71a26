//! Debian packages: which are needed, and how the missing ones are installed.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, process::Command};

use anyhow::{Result, bail};

use crate::environment::{capture, run, say};

/// What building and testing need, with the reason.
const PACKAGES: &[(&str, &str)] = &[
    ("busybox-static", "test images"),
    ("clang", "RocksDB's bindings"),
    ("conntrack", "looking at connections in tests"),
    ("containerd", "the workers' runtime"),
    ("containernetworking-plugins", "pod networks"),
    ("etcd-client", "etcdctl, a foreign client of the store's API"),
    ("etcd-server", "the store's yardstick: its answers are compared with etcd's"),
    ("iproute2", "the lab's hosts"),
    ("iptables", "CNI's portmap, delays in the lab"),
    ("libclang-dev", "RocksDB's bindings"),
    ("nftables", "the service proxy"),
    ("protobuf-compiler", "containerd's and CRI's definitions"),
    ("runc", "the workers' runtime"),
    ("util-linux", "nsenter and unshare for the lab's hosts"),
];

/// Installs what is missing, and only that.
pub(crate) fn ensure() -> Result<()> {
    let names: Vec<&str> = PACKAGES.iter().map(|(name, _)| *name).collect();
    let missing = missing(&names);
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        bail!(
            "these Debian packages are missing: {list}; install them with `sudo apt-get install \
             --no-install-recommends {list}`",
            list = missing.join(" ")
        );
    }
    for (name, reason) in PACKAGES.iter().filter(|(name, _)| missing.contains(name)) {
        say(&format!("installing {name} for {reason}"));
    }
    // A fresh machine's package lists may be old or absent; a cached one needs no network.
    if install(&missing).is_err() {
        run(apt().arg("update"))?;
        install(&missing)?;
    }
    Ok(())
}

fn install(names: &[&str]) -> Result<()> {
    let _quiet = NoServices::declare()?;
    run(apt().args(["install", "--yes", "--no-install-recommends"]).args(names))
}

/// Debian's own way to say that an installed service must not be started (`policy-rc.d`): the
/// binaries are wanted, not daemons of the machine on the ports of the store.
struct NoServices {
    ours: bool,
}

impl NoServices {
    const PATH: &str = "/usr/sbin/policy-rc.d";

    fn declare() -> Result<NoServices> {
        // Who has a policy of their own keeps it; containers have one that says the same.
        let ours = !std::path::Path::new(NoServices::PATH).exists();
        if ours {
            std::fs::write(NoServices::PATH, "#!/bin/sh\nexit 101\n")?;
            std::fs::set_permissions(NoServices::PATH, Permissions::from_mode(0o755))?;
        }
        Ok(NoServices { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours && std::fs::remove_file(NoServices::PATH).is_err() {
            say(&format!("cannot remove {}: please do", NoServices::PATH));
        }
    }
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(std::process::Stdio::null());
    command
}

fn missing<'a>(names: &[&'a str]) -> Vec<&'a str> {
    // dpkg-query fails when it does not know one of the names, but still lists the others.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(names)
        .output();
    let listing = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    not_installed(names, &listing.unwrap_or_default())
}

fn not_installed<'a>(names: &[&'a str], listing: &str) -> Vec<&'a str> {
    let installed =
        |name: &str| listing.lines().any(|line| line.split_once(' ') == Some((name, "installed")));
    names.iter().copied().filter(|name| !installed(name)).collect()
}

/// Whether this process may install packages and make namespaces.
pub(crate) fn is_root() -> bool {
    capture(Command::new("id").arg("--user")).is_ok_and(|user| user.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_and_unknown_packages_are_missing() {
        let listing = "clang installed\nrunc config-files\n";
        assert_eq!(not_installed(&["clang", "nftables", "runc"], listing), ["nftables", "runc"]);
    }

    #[test]
    fn the_package_table_is_alphabetical() {
        assert!(PACKAGES.is_sorted());
    }
}
