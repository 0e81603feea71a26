//! The lab: several hosts on one machine, each of which can be switched off like a machine.
//!
//! ```text
//!   the machine
//!   ├── lan            the outside world: clients, balancer, prober; bridge br0 10.99.0.1
//!   ├── n1 10.99.0.11  process 1, network, mounts, processes, hostname, disk folder, cgroup
//!   ├── n2 10.99.0.12
//!   └── …
//! ```
//!
//! Every host is a set of namespaces that live exactly as long as its process 1 ([`Host`]), so
//! nothing has to be undone: killing that process takes daemons, containers, mounts, rules and
//! routes with it. What a kernel does not take back by itself (cgroups, the disk folder, one raised
//! kernel limit) is written down in [`registry`] before it is made, and cleared by the next lab if
//! this one dies without doing so. Labs do not see one another: names are unique, and the addresses
//! are the same in each because no two share a network.

mod daemon;
mod host;
mod namespaces;
mod registry;
mod wire;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;

pub use self::{
    daemon::{Daemon, Signal, send},
    host::Host,
    namespaces::Network,
    registry::left_behind,
    wire::Cut,
};

/// Process 1 of every host, built by this crate's build script.
const INIT_PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lab-init"));

/// What a lab is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names of its hosts; the first gets 10.99.0.11, and so on.
    pub hosts: Vec<String>,
    /// Where the lab makes its own folder with the hosts' disks. Mind that socket paths are short.
    pub folder: PathBuf,
    /// Leave the disks behind when the lab ends, to look at logs.
    pub keep_disks: bool,
}

impl Options {
    /// A lab of these hosts with its disks in the system's temporary folder.
    pub fn new<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Options {
        Options {
            hosts: hosts.into_iter().map(str::to_owned).collect(),
            folder: std::env::temp_dir(),
            keep_disks: false,
        }
    }
}

/// A running lab. Dropping it removes everything it made.
#[derive(Debug)]
pub struct Lab {
    lan: Host,
    hosts: Vec<Host>,
    folder: PathBuf,
    keep_disks: bool,
    // Last: the registration ends when everything else is gone.
    registration: registry::Registration,
}

impl Lab {
    /// Builds a lab and powers all its hosts on.
    pub fn start(options: &Options) -> anyhow::Result<Lab> {
        let registration = registry::Registration::new(&options.folder, options.keep_disks)?;
        let name = registration.name().to_owned();
        let folder = options.folder.join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let init = folder.join("lab-init");
        fs::write(&init, INIT_PROGRAM).with_context(|| format!("write {}", init.display()))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        let address = |last: usize| -> anyhow::Result<IpAddr> {
            Ok(Ipv4Addr::new(10, 99, 0, u8::try_from(last).context("too many hosts")?).into())
        };
        let host = |(index, host_name): (usize, &String)| {
            Ok(Host::new(&name, host_name, address(11 + index)?, &folder))
        };
        let hosts = options.hosts.iter().enumerate().map(host).collect::<anyhow::Result<_>>()?;
        let lan = Host::new(&name, "lan", address(1)?, &folder);
        let keep_disks = options.keep_disks;
        let lab = Lab { lan, hosts, folder, keep_disks, registration };
        lab.lan.boot()?;
        wire::build(&lab.lan)?;
        for host in &lab.hosts {
            lab.power_on(host.name())?;
        }
        Ok(lab)
    }

    /// Its name, which begins the names of everything it makes.
    pub fn name(&self) -> &str {
        self.registration.name()
    }

    /// The folder with the hosts' disks.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The outside world: the host that has the bridge.
    pub fn lan(&self) -> &Host {
        &self.lan
    }

    /// The hosts, in the order they were asked for.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A host by name.
    pub fn host(&self, name: &str) -> anyhow::Result<&Host> {
        let found = self.hosts.iter().find(|host| host.name() == name);
        found.with_context(|| format!("the lab has no host {name}"))
    }

    /// Powers a host on: an empty machine with the disk it had before.
    pub fn power_on(&self, name: &str) -> anyhow::Result<()> {
        let host = self.host(name)?;
        host.boot()?;
        wire::connect(&self.lan, host)
    }

    /// Cuts a host's power. Its peers hear nothing, as when a machine goes dark: the cable is dead
    /// before the first process dies.
    pub fn power_off(&self, name: &str) -> anyhow::Result<()> {
        let host = self.host(name)?;
        wire::disconnect(&self.lan, host)?;
        host.kill();
        Ok(())
    }

    /// Kills every process of a host with signal 9 while its network still works, so that the
    /// kernel closes its connections and the peers are told. The host is off afterwards.
    pub fn crash(&self, name: &str) -> anyhow::Result<()> {
        let host = self.host(name)?;
        host.kill();
        wire::disconnect(&self.lan, host)
    }

    /// Lets nothing pass along `cut` any more, in that direction.
    pub fn cut(&self, cut: Cut<'_>) -> anyhow::Result<()> {
        wire::cut(&self.lan, cut)
    }

    /// Undoes every cut.
    pub fn heal(&self) -> anyhow::Result<()> {
        wire::heal(&self.lan)
    }

    /// Pulls a host's network cable, or plugs it in again.
    pub fn set_link(&self, name: &str, up: bool) -> anyhow::Result<()> {
        wire::set_link(&self.lan, self.host(name)?, up)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in &self.hosts {
            host.kill();
        }
        self.lan.kill();
        for host in &self.hosts {
            if let Err(error) = registry::remove_cgroups(&host.cgroup()[1..]) {
                tracing::warn!("cannot remove the cgroups of {}: {error:#}", host.name());
            }
        }
        if !self.keep_disks
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::warn!("cannot remove {}: {error}", self.folder.display());
        }
    }
}
