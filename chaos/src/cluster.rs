//! The product in the lab: control nodes and workers as processes on hosts, started as an operator
//! would start them, and clients in the outside world.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use futures::future::join_all;
use kontiki_base::tls::{Identity, Roots};
use kontiki_client::{Client, ConnectOptions, ServerList};

use crate::{
    balancer::Balancer,
    lab::{Daemon, Lab, Network},
};

/// Port of the API on every server, and of the balancer in front of them.
pub const API_PORT: u16 = 6443;

/// Where a server or agent keeps everything, seen from inside its host.
const DATA_DIR: &str = "/var/lib/kontiki";
/// The same folder on the host's disk.
const DATA_ON_DISK: &str = "var-lib-kontiki";

/// A cluster in a lab.
pub struct Cluster {
    lab: Lab,
    binary: PathBuf,
    servers: Vec<String>,
    workers: Vec<String>,
    command_lines: Mutex<BTreeMap<String, Vec<String>>>,
    daemons: Mutex<BTreeMap<String, Daemon>>,
    balancers: Mutex<Vec<Balancer>>,
    /// The machine's own network, wherever this is called from.
    machine: Network,
}

impl Cluster {
    /// The product at `binary` for the hosts of `lab`; nothing is started yet.
    pub fn new(
        lab: Lab,
        binary: PathBuf,
        servers: &[&str],
        workers: &[&str],
    ) -> anyhow::Result<Cluster> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Cluster {
            lab,
            binary,
            servers: names(servers),
            workers: names(workers),
            command_lines: Mutex::default(),
            daemons: Mutex::default(),
            balancers: Mutex::default(),
            machine: Network::of_process(std::process::id())
                .context("open the machine's network")?,
        })
    }

    /// The lab it runs in.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Names of the control nodes' hosts.
    pub fn servers(&self) -> &[String] {
        &self.servers
    }

    /// Names of the workers' hosts.
    pub fn workers(&self) -> &[String] {
        &self.workers
    }

    /// Runs `kontiki ARGUMENTS` on a host as its service, now and whenever the host is powered on.
    pub fn start(&self, host: &str, arguments: &[String]) -> anyhow::Result<()> {
        self.command_lines.lock().expect("no panics").insert(host.to_owned(), arguments.to_vec());
        self.start_again(host)
    }

    /// Powers a host on, with its disk and its service.
    pub fn power_on(&self, host: &str) -> anyhow::Result<()> {
        self.lab.power_on(host)?;
        self.start_again(host)
    }

    fn start_again(&self, host: &str) -> anyhow::Result<()> {
        let lines = self.command_lines.lock().expect("no panics");
        let arguments = lines.get(host).with_context(|| format!("{host} runs no service"))?;
        let mut command = self.command();
        command.args(arguments);
        let daemon = self.lab.host(host)?.spawn("kontiki", &mut command)?;
        self.daemons.lock().expect("no panics").insert(host.to_owned(), daemon);
        Ok(())
    }

    /// The service of a host, if it was started.
    pub fn daemon(&self, host: &str) -> Option<Daemon> {
        self.daemons.lock().expect("no panics").get(host).cloned()
    }

    /// Asks every service to end and waits until it has; names those that did not end well.
    pub async fn stop(&self, grace: Duration) -> Vec<String> {
        let daemons = std::mem::take(&mut *self.daemons.lock().expect("no panics"));
        let stop = daemons.iter().map(|(name, daemon)| async move {
            let status = daemon.stop(grace).await;
            (!status.success()).then(|| format!("kontiki on {name} ended with {status}"))
        });
        join_all(stop).await.into_iter().flatten().collect()
    }

    /// Fails if a service ended by itself, with the last of what it said.
    pub fn check_alive(&self) -> anyhow::Result<()> {
        let daemons = self.daemons.lock().expect("no panics").clone();
        for (name, daemon) in daemons {
            let host = self.lab.host(&name)?;
            if let (true, Some(status)) = (host.is_on(), daemon.exit_status()) {
                let log = fs::read_to_string(host.disk().join("kontiki.log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(5)..].join("\n");
                bail!("kontiki on {name} ended with {status}:\n{last}");
            }
        }
        Ok(())
    }

    /// A client that goes straight to these servers, and away from one that fails.
    pub fn client(&self, servers: &[&str]) -> anyhow::Result<Client> {
        let pki = self.data(&self.servers[0])?.join("pki");
        let identity = Identity::load(&pki.join("admin.crt"), &pki.join("admin.key"))?;
        let roots = Roots::load(&pki.join("ca.crt"))?;
        let address = |name: &&str| -> anyhow::Result<String> {
            Ok(SocketAddr::new(self.lab.host(name)?.address(), API_PORT).to_string())
        };
        let addresses = servers.iter().map(address).collect::<anyhow::Result<Vec<_>>>()?;
        let servers = ServerList::new(addresses);
        Ok(Client::remote(ConnectOptions { servers, roots, identity: Some(identity) })?)
    }

    /// Puts a balancer before the API servers: in the outside world at 10.99.0.1, for `kubectl`,
    /// and on the machine itself at a free port, for whoever looks on.
    pub fn balance(&self) -> anyhow::Result<SocketAddr> {
        let address = |name: &String| -> anyhow::Result<SocketAddr> {
            Ok(SocketAddr::new(self.lab.host(name)?.address(), API_PORT))
        };
        let backends: Vec<_> = self.servers.iter().map(address).collect::<anyhow::Result<_>>()?;
        let lan = self.lab.lan();
        let outside = lan.listen(SocketAddr::new(lan.address(), API_PORT))?;
        let here = self.machine.run(|| TcpListener::bind(("127.0.0.1", 0)));
        let here = here.context("listen on the machine")?;
        let mut balancers = self.balancers.lock().expect("no panics");
        balancers.push(Balancer::start(outside, lan.network()?, backends.clone())?);
        let balancer = Balancer::start(here, lan.network()?, backends)?;
        let address = balancer.address();
        balancers.push(balancer);
        self.write_kubeconfig("outside.kubeconfig", SocketAddr::new(lan.address(), API_PORT))?;
        self.write_kubeconfig("machine.kubeconfig", address)?;
        Ok(address)
    }

    /// The kubeconfig that a server wrote, with its list of all servers.
    pub fn admin_kubeconfig(&self) -> anyhow::Result<PathBuf> {
        Ok(self.data(&self.servers[0])?.join("admin.kubeconfig"))
    }

    /// A kubeconfig that names one of the balancers.
    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.lab.folder().join(name)
    }

    fn write_kubeconfig(&self, name: &str, server: SocketAddr) -> anyhow::Result<()> {
        let text =
            fs::read_to_string(self.admin_kubeconfig()?).context("the admin's kubeconfig")?;
        fs::write(self.kubeconfig(name), behind_balancer(&text, server))
            .with_context(|| format!("write {name}"))
    }

    /// Runs `kontiki` in the outside world as the administrator.
    pub fn kontiki(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command();
        command.args(words).env("KUBECONFIG", self.admin_kubeconfig()?);
        said(&format!("kontiki {}", words.join(" ")), &self.lab.lan().output(&mut command)?)
    }

    /// Runs the machine's `kubectl` as any operator would, or `kontiki` where there is none: both
    /// know the same verbs.
    pub fn operate(&self, words: &[&str]) -> anyhow::Result<String> {
        if has_kubectl() { self.kubectl(words) } else { self.kontiki(words) }
    }

    /// Runs the machine's `kubectl` in the outside world, behind the balancer.
    pub fn kubectl(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("kubectl");
        command.args(words).env("KUBECONFIG", self.kubeconfig("outside.kubeconfig"));
        command.env("HOME", self.lab.lan().disk());
        said(&format!("kubectl {}", words.join(" ")), &self.lab.lan().output(&mut command)?)
    }

    /// The folder of a host's service, on its disk.
    pub fn data(&self, host: &str) -> anyhow::Result<PathBuf> {
        Ok(self.lab.host(host)?.disk().join(DATA_ON_DISK))
    }

    /// The containers that a worker's containerd knows, running or not.
    pub fn containers(&self, worker: &str) -> anyhow::Result<Vec<String>> {
        let socket = format!("{DATA_DIR}/kubelet/containerd/containerd.sock");
        let words = ["ctr", "-a", &socket, "-n", "k8s.io", "containers", "ls", "-q"];
        let text = self.lab.host(worker)?.run(&words)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_remove("KUBECONFIG").env("HOME", DATA_DIR);
        command
    }
}

/// A server's kubeconfig with the balancer as its only server: the others' addresses, which
/// `kontiki` would try too, belong to the lab alone.
fn behind_balancer(kubeconfig: &str, balancer: SocketAddr) -> String {
    let mut in_extensions = false;
    let mut text = String::new();
    for line in kubeconfig.lines() {
        let indented = line.len() - line.trim_start().len();
        in_extensions = match line.trim() {
            "extensions:" => true,
            _ => in_extensions && indented >= 4,
        };
        match line.split_once("server:") {
            _ if in_extensions => {}
            Some((indent, _)) => text.push_str(&format!("{indent}server: https://{balancer}\n")),
            None => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

/// Whether this machine has a `kubectl`.
pub fn has_kubectl() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("kubectl").exists())
}

/// The product's binary: `$KONTIKI_BIN`, or the one beside this program; tests are in a folder
/// beside it.
pub fn product() -> anyhow::Result<PathBuf> {
    let path = match std::env::var_os("KONTIKI_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let own = std::env::current_exe()?;
            let beside = own.with_file_name("kontiki");
            let above = own.ancestors().nth(2).map(|folder| folder.join("kontiki"));
            if beside.exists() { beside } else { above.unwrap_or(beside) }
        }
    };
    ensure!(path.exists(), "{} is not there; build it, or set KONTIKI_BIN", path.display());
    Path::canonicalize(&path).with_context(|| format!("find {}", path.display()))
}

fn said(what: &str, output: &Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    bail!("{what} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_balancer_there_is_one_server() {
        let kubeconfig = "clusters:\n- name: kontiki\n  cluster:\n    server: https://10.99.0.11:6443\n    \
                          extensions:\n    - name: kontiki.dev/servers\n      extension:\n        \
                          servers:\n        - 10.99.0.11:6443\nusers:\n- name: admin\n";
        let balancer = SocketAddr::from(([127, 0, 0, 1], 34061));
        assert_eq!(
            behind_balancer(kubeconfig, balancer),
            "clusters:\n- name: kontiki\n  cluster:\n    server: https://127.0.0.1:34061\nusers:\n- \
             name: admin\n"
        );
    }
}
