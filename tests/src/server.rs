//! One `kontiki server` process.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use kontiki_base::tls::{Identity, Roots};
use kontiki_client::{Client, ConnectOptions, ServerList};
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::{SOON, command, eventually};

/// A server with its data folder and ports; both outlive its process.
pub struct Server {
    folder: Arc<TempDir>,
    name: String,
    api_port: u16,
    peer_port: u16,
    store_port: u16,
    extra: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// A server that is not started yet.
    pub fn new(name: &str) -> Result<Server> {
        let [api_port, peer_port, store_port] = free_ports()?;
        Ok(Server {
            folder: Arc::new(tempfile::Builder::new().prefix("kontiki-test-").tempdir()?),
            name: name.to_owned(),
            api_port,
            peer_port,
            store_port,
            extra: Vec::new(),
            child: None,
        })
    }

    /// Another server with the same command line: the same folder and ports.
    pub fn twin(&self) -> Server {
        Server {
            folder: self.folder.clone(),
            name: self.name.clone(),
            extra: self.extra.clone(),
            child: None,
            ..*self
        }
    }

    /// Adds flags.
    pub fn with(mut self, flags: &[&str]) -> Server {
        self.extra.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("admin.kubeconfig")
    }

    /// `host:port` of its API.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.api_port)
    }

    /// `host:port` of etcd's API.
    pub fn store_address(&self) -> String {
        format!("127.0.0.1:{}", self.store_port)
    }

    /// Port of its peers.
    pub fn peer_port(&self) -> u16 {
        self.peer_port
    }

    /// A connection to its store's port, as who may do everything there.
    pub fn store(&self) -> Result<Channel> {
        let pki = self.data_dir().join("pki/store");
        let file = |name: &str| fs::read(pki.join(name)).with_context(|| format!("reading {name}"));
        let tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(file("ca.crt")?)).identity(
                tonic::transport::Identity::from_pem(file("client.crt")?, file("client.key")?),
            );
        let endpoint = Endpoint::from_shared(format!("https://{}", self.store_address()))?;
        Ok(endpoint.tls_config(tls)?.connect_lazy())
    }

    /// The command line that starts it.
    pub fn command(&self) -> Result<Command> {
        let mut command = command::kontiki(&["server", "--no-agent", "--bind-address=127.0.0.1"])?;
        command
            .arg(format!("--node-name={}", self.name))
            .arg("--data-dir")
            .arg(self.data_dir())
            .arg(format!("--api-port={}", self.api_port))
            .arg(format!("--peer-port={}", self.peer_port))
            .arg(format!("--store-port={}", self.store_port))
            .args(&self.extra);
        Ok(command)
    }

    /// Starts the process; nothing has to be ready.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = self.command()?;
        command.stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().context("cannot start kontiki server")?);
        Ok(())
    }

    /// Starts the process and waits until it is ready.
    pub async fn start_ready(&mut self) -> Result<()> {
        self.start()?;
        self.ready().await
    }

    /// Waits until `/readyz` says ok.
    pub async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.exited()? {
                bail!("{} ended with {status}:\n{}", self.name, self.log());
            }
            let reason = match self.probe().await {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            };
            if Instant::now() > deadline {
                bail!("{} is not ready: {reason:#}\n{}", self.name, self.log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn probe(&self) -> Result<()> {
        let client = self.client()?;
        client.call(Method::GET, "/readyz", None).await?;
        Ok(())
    }

    /// A client with the administrator's identity, of this server only.
    pub fn client(&self) -> Result<Client> {
        self.client_of(vec![self.address()])
    }

    /// A client with the administrator's identity, of the given servers.
    pub fn client_of(&self, servers: Vec<String>) -> Result<Client> {
        let pki = self.data_dir().join("pki");
        Ok(Client::remote(ConnectOptions {
            servers: ServerList::new(servers),
            roots: Roots::load(&pki.join("ca.crt"))?,
            identity: Some(Identity::load(&pki.join("admin.crt"), &pki.join("admin.key"))?),
        })?)
    }

    /// Reads JSON from this server.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.client()?.call(Method::GET, path, None).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Runs a verb against this server.
    pub fn kontiki(&self, arguments: &[&str]) -> Result<command::Finished> {
        self.kontiki_with_input(arguments, None)
    }

    /// Runs a verb that reads stdin.
    pub fn kontiki_with_input(
        &self,
        arguments: &[&str],
        input: Option<&str>,
    ) -> Result<command::Finished> {
        let mut command = command::kontiki(arguments)?;
        command.env("KUBECONFIG", self.kubeconfig());
        command::run(command, input)
    }

    /// The token that its first start wrote, once it is there.
    pub async fn token(&self, role: &str) -> Result<String> {
        let path = self.data_dir().join(format!("{role}-token"));
        eventually("a token", || async { Ok(fs::read_to_string(&path)?.trim().to_owned()) }).await
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let child = self.child.as_ref().with_context(|| format!("{} does not run", self.name))?;
        let status =
            Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status()?;
        ensure!(status.success(), "kill -{signal}: {status}");
        Ok(())
    }

    /// Kills the process as a power cut does.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        let pid = child.id();
        let waiting = tokio::task::spawn_blocking(move || child.wait());
        let Ok(ended) = tokio::time::timeout(SOON, waiting).await else {
            // The thread that waits reaps it.
            Command::new("kill").args(["-KILL", &pid.to_string()]).status()?;
            bail!("{} does not end:\n{}", self.name, self.log());
        };
        Ok(ended??)
    }

    fn exited(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => bail!("{} does not run", self.name),
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "--- log of {}\n{}", self.name, self.log());
        }
    }
}

/// Ports that nobody listens on now. They are given back before they are used, so another process
/// may be faster: rare enough for tests that take turns.
fn free_ports() -> Result<[u16; 3]> {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind("127.0.0.1:0")?);
    }
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// The mode bits of a file.
pub fn mode(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}
