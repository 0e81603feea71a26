//! One host of the lab: a set of namespaces with process 1, an address and a disk of its own.
//!
//! Power is the life of process 1. When it is killed the kernel ends everything in the host at once:
//! daemons, containers, mounts, the network with its rules and routes. What a real machine keeps
//! over a power cut is kept here too, and nothing else: the disk folder.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
};

use anyhow::{Context, bail, ensure};

use super::{
    daemon::{Daemon, Signal, send},
    namespaces::{self, Network, Scope},
};

/// Folders that programs insist on, each bound to a folder of the host's own disk.
const DISK_BINDS: [(&str, &str); 4] = [
    ("var-lib-cni", "/var/lib/cni"),
    ("var-lib-containerd", "/var/lib/containerd"),
    ("var-lib-kontiki", "/var/lib/kontiki"),
    ("var-lib-kubelet", "/var/lib/kubelet"),
];

/// A host of the lab.
#[derive(Debug)]
pub struct Host {
    name: String,
    /// Unique on the machine: the lab's name and the host's.
    full_name: String,
    address: IpAddr,
    disk: PathBuf,
    init_program: PathBuf,
    init: Mutex<Option<Child>>,
}

impl Host {
    pub(crate) fn new(lab: &str, name: &str, address: IpAddr, folder: &Path) -> Host {
        Host {
            name: name.to_owned(),
            full_name: format!("{lab}.{name}"),
            address,
            disk: folder.join(name),
            init_program: folder.join("lab-init"),
            init: Mutex::new(None),
        }
    }

    /// Its name, which is also its hostname.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the lab's network.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its disk: the folder that survives a power cut.
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// The cgroup that everything of this host which uses cgroups must live under.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.full_name)
    }

    /// The cgroup for this host's pods.
    pub fn pods_cgroup(&self) -> String {
        format!("{}/kubepods", self.cgroup())
    }

    /// Whether it is powered on.
    pub fn is_on(&self) -> bool {
        self.lock().is_some()
    }

    /// Process 1 of the host, for `nsenter --target`.
    pub fn init_pid(&self) -> anyhow::Result<u32> {
        let guard = self.lock();
        let init = guard.as_ref().with_context(|| format!("host {} is off", self.name))?;
        Ok(init.id())
    }

    /// The host's network, for threads of this process that speak from inside it.
    pub fn network(&self) -> anyhow::Result<Network> {
        let pid = self.init_pid()?;
        Network::of_process(pid).with_context(|| format!("open the network of {}", self.name))
    }

    /// A socket listening inside the host.
    pub fn listen(&self, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let listener = self.network()?.run(|| TcpListener::bind(address));
        listener.with_context(|| format!("listen on {address} in {}", self.name))
    }

    /// Runs a program in the host to its end.
    pub fn output(&self, command: &mut Command) -> anyhow::Result<Output> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.start(command, Scope::Host)?;
        child.wait_with_output().with_context(|| format!("wait for {command:?}"))
    }

    /// Runs a program in the host and expects it to succeed; gives its standard output.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let [program, arguments @ ..] = words else { bail!("no program to run") };
        let output = self.output(Command::new(program).args(arguments))?;
        said(&format!("{} on {}", words.join(" "), self.name), &output)
    }

    /// Starts a daemon in the host; what it prints goes to `NAME.log` on the host's disk.
    pub fn spawn(&self, name: &str, command: &mut Command) -> anyhow::Result<Daemon> {
        let path = self.disk.join(format!("{name}.log"));
        let log = fs::File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("open {}", path.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Daemon::watch(self.start(command, Scope::Host)?))
    }

    /// Runs a program of the machine in the host's network only.
    pub(crate) fn plumb(&self, words: &[&str]) -> anyhow::Result<String> {
        let [program, arguments @ ..] = words else { bail!("no program to run") };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = self.start(&mut command, Scope::Network)?.wait_with_output()?;
        said(&format!("{} in the network of {}", words.join(" "), self.name), &output)
    }

    /// Hangs every process of the host, containers included, at one instant.
    pub fn pause(&self) -> anyhow::Result<()> {
        // -1 means all that the sender can see but itself and process 1.
        self.run(&["sh", "-c", "kill -STOP -1"]).map(drop)
    }

    /// Lets a paused host go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.run(&["sh", "-c", "kill -CONT -1"]).map(drop)
    }

    pub(crate) fn boot(&self) -> anyhow::Result<()> {
        let mut guard = self.lock();
        ensure!(guard.is_none(), "host {} is on already", self.name);
        let mut command = Command::new(&self.init_program);
        command.arg0("kontiki-lab-init").arg(&self.full_name).arg(&self.name);
        for (folder, target) in DISK_BINDS {
            let source = self.disk.join(folder);
            for path in [source.as_path(), Path::new(target)] {
                fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
            }
            command.arg(source).arg(target);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut init = namespaces::spawn_init(&mut command).context("start process 1 of a host")?;
        let mut word = String::new();
        let stdout = init.stdout.take().expect("stdout was piped");
        let _ = BufReader::new(stdout.take(4096)).read_line(&mut word);
        if word.trim() != "ready" {
            let _ = init.kill();
            let _ = init.wait();
            bail!("host {} does not start: {}", self.name, word.trim());
        }
        *guard = Some(init);
        Ok(())
    }

    /// Kills everything in the host and waits until it is gone.
    pub(crate) fn kill(&self) {
        let Some(mut init) = self.lock().take() else { return };
        send(init.id(), Signal::Kill);
        let _ = init.wait();
    }

    fn start(&self, command: &mut Command, scope: Scope) -> anyhow::Result<Child> {
        let pid = self.init_pid()?;
        namespaces::spawn(pid, scope, command)
            .with_context(|| format!("start {:?} on {}", command.get_program(), self.name))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.init.lock().expect("no code panics while it holds this lock")
    }
}

/// The standard output of a program that succeeded, or what it complained about.
fn said(what: &str, output: &Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(text.into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    bail!("{what} failed ({}): {} {}", output.status, complaint.trim(), text.trim())
}
