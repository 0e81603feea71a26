//! Members of a product on this machine, as processes that end with this value.
//!
//! Both products get the same: TLS with client certificates for clients and for peers, fsync on,
//! the same disk, and nothing tuned but what keeps a long run from stopping (etcd's quota).

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use kontiki_base::{
    pki::{Authority, CertificateRequest, Usage},
    tasks::Tasks,
    tls::{self, Identity, Roots},
};
use rustls::ClientConfig;

use super::{
    grpc::Grpc,
    messages::StatusResponse,
    side::{Side, status},
};
use crate::process::Process;

/// How many members a cluster has.
pub(super) const MEMBERS: usize = 3;
/// How long a cluster may take to become ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// Between two looks at what has no event.
const LOOK: Duration = Duration::from_millis(20);

/// What is started.
#[derive(Clone, Debug)]
pub(crate) enum Product {
    /// Ours, by its binary, with further flags.
    Kontiki {
        /// The binary.
        program: PathBuf,
        /// After the others.
        flags: Vec<String>,
    },
    /// Our servers as they are, with all that a control node has in it but the node's own agent.
    Servers {
        /// The binary.
        program: PathBuf,
        /// After the others.
        flags: Vec<String>,
        /// How many.
        count: usize,
    },
    /// etcd, by its binary, with further flags.
    Etcd {
        /// The binary.
        program: PathBuf,
        /// After the others.
        flags: Vec<String>,
    },
}

impl Product {
    /// The same, but it keeps no more than so many revisions.
    pub(super) fn retaining(mut self, revisions: u64) -> Product {
        match &mut self {
            Product::Kontiki { flags, .. } | Product::Servers { flags, .. } => {
                flags.push(format!("--retention-revisions={revisions}"));
            }
            Product::Etcd { flags, .. } => flags.extend([
                "--auto-compaction-mode=revision".to_owned(),
                format!("--auto-compaction-retention={revisions}"),
            ]),
        }
        self
    }

    /// What tables call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Product::Kontiki { .. } | Product::Servers { .. } => "kontiki",
            Product::Etcd { .. } => "etcd",
        }
    }

    /// How many members its cluster has.
    fn members(&self) -> usize {
        match self {
            Product::Servers { count, .. } => *count,
            Product::Kontiki { .. } | Product::Etcd { .. } => MEMBERS,
        }
    }

    /// The first line that says a version.
    fn version(&self) -> Result<String> {
        let (Product::Kontiki { program, .. }
        | Product::Servers { program, .. }
        | Product::Etcd { program, .. }) = self;
        let output = Command::new(program)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or("?").replace("Version: ", "").trim().to_owned())
    }
}

/// One member: how it is started, and its process while it runs.
pub(crate) struct Member {
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    child: Option<Child>,
}

impl Member {
    /// Starts the process.
    pub(super) fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the member runs already");
        fs::create_dir_all(&self.folder)?;
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Its process.
    pub(crate) fn process(&self) -> Result<Process> {
        let child = self.child.as_ref().context("the member does not run")?;
        Ok(Process { name: self.folder.display().to_string(), pid: child.id() })
    }

    /// Ends the process as a power cut does.
    pub(super) fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Bytes that its folder takes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        super::host::disk_bytes(&self.folder)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// An error if the process has ended by itself.
    fn check(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let Some(status) = child.try_wait()? else { return Ok(()) };
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        bail!("a member ended with {status}: {}", tail.join(" | "))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!("cannot end a member: {error}");
        }
    }
}

/// A running cluster. Its processes and its folder go with it.
pub(crate) struct Cluster {
    /// Its members, in the order of the side's endpoints.
    pub(crate) members: Vec<Member>,
    product: Product,
    endpoints: Vec<String>,
    /// Where each of ours serves the API.
    pub(crate) api_endpoints: Vec<String>,
    version: String,
    tls: Arc<ClientConfig>,
    folder: PathBuf,
}

impl Cluster {
    /// Starts the members below a folder and waits until each of them serves.
    pub(crate) async fn start(product: &Product, folder: &Path, tasks: &Tasks) -> Result<Cluster> {
        let folder = folder.join(format!("{}-{}", product.name(), std::process::id()));
        fs::create_dir_all(&folder)?;
        let count = product.members();
        let ports = free_ports(count * 3)?;
        let version = product.version()?;
        let started = match product {
            Product::Kontiki { program, flags } => {
                start_kontiki(program, "--store-only", flags, &folder, &ports, tasks).await
            }
            Product::Servers { program, flags, .. } => {
                start_kontiki(program, "--no-agent", flags, &folder, &ports, tasks).await
            }
            Product::Etcd { program, flags } => start_etcd(program, flags, &folder, &ports),
        };
        let (members, tls) = started.with_context(|| format!("starting {}", product.name()))?;
        let at = |port: u16| format!("127.0.0.1:{port}");
        let endpoints = (0..count).map(|n| at(ports_of(&ports, n).0)).collect();
        let api_endpoints = (0..count).map(|n| at(ports_of(&ports, n).2)).collect();
        let product = product.clone();
        let mut cluster =
            Cluster { members, product, endpoints, api_endpoints, version, tls, folder };
        cluster.ready(tasks).await?;
        Ok(cluster)
    }

    /// The kubeconfig of the administrator, which the first member writes.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("m0/data/admin.kubeconfig")
    }

    /// The cluster as something to be measured, with its processes of this moment.
    pub(super) fn side(&self) -> Result<Side> {
        let processes: Result<Vec<Process>> = self.members.iter().map(Member::process).collect();
        Ok(Side {
            name: self.product.name().to_owned(),
            version: self.version.clone(),
            endpoints: self.endpoints.clone(),
            tls: Some(self.tls.clone()),
            processes: processes?,
        })
    }

    /// Waits until every member has caught up with a leader that all of them name.
    pub(super) async fn ready(&mut self, tasks: &Tasks) -> Result<()> {
        let began = Instant::now();
        loop {
            for member in &mut self.members {
                member.check()?;
            }
            let reason = match self.side()?.statuses(tasks).await {
                Ok(statuses) => {
                    let first = statuses[0].leader;
                    let agrees = |s: &StatusResponse| s.leader == first && !s.is_learner;
                    if first != 0 && statuses.iter().all(agrees) {
                        return Ok(());
                    }
                    "the members name no leader together".to_owned()
                }
                Err(error) => format!("{error:#}"),
            };
            ensure!(began.elapsed() < READY_MAX, "the cluster is not ready: {reason}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.members.clear();
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!("cannot remove {}: {error}", self.folder.display());
        }
    }
}

/// Ports that nobody listens on now.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: std::io::Result<Vec<TcpListener>> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    listeners?.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// The ports of a member: clients, peers, the API.
fn ports_of(ports: &[u16], member: usize) -> (u16, u16, u16) {
    (ports[member * 3], ports[member * 3 + 1], ports[member * 3 + 2])
}

/// The first member founds the cluster; the others join it once it serves.
async fn start_kontiki(
    program: &Path,
    mode: &str,
    flags: &[String],
    folder: &Path,
    ports: &[u16],
    tasks: &Tasks,
) -> Result<(Vec<Member>, Arc<ClientConfig>)> {
    let start = |number: usize, join: &[String]| -> Result<Member> {
        let (client, peer, api) = ports_of(ports, number);
        let name = format!("m{number}");
        let member_folder = folder.join(&name);
        let mut arguments = vec![
            "server".to_owned(),
            mode.to_owned(),
            format!("--node-name={name}"),
            format!("--data-dir={}", member_folder.join("data").display()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--store-port={client}"),
            format!("--peer-port={peer}"),
            format!("--api-port={api}"),
        ];
        arguments.extend(join.iter().chain(flags).cloned());
        let program = program.to_path_buf();
        let mut member = Member { program, arguments, folder: member_folder, child: None };
        member.start()?;
        Ok(member)
    };
    let mut first = start(0, &[])?;
    let token = appears(&folder.join("m0/data/server-token"), &mut first).await?;
    let pki = folder.join("m0/data/pki/store");
    let roots = Roots::load(&pki.join("ca.crt"))?;
    for file in ["client.crt", "client.key"] {
        appears(&pki.join(file), &mut first).await?;
    }
    let identity = Identity::load(&pki.join("client.crt"), &pki.join("client.key"))?;
    let tls = Arc::new(tls::client_config(&roots, Some(&identity), &[b"h2"])?);
    let (client, _, api) = ports_of(ports, 0);
    serves(&format!("127.0.0.1:{client}"), &tls, &mut first, tasks).await?;
    let join = [format!("--join=127.0.0.1:{api}"), format!("--token={}", token.trim())];
    let mut members = vec![first];
    for number in 1..ports.len() / 3 {
        members.push(start(number, &join)?);
    }
    Ok((members, tls))
}

/// Waits until a member answers for itself.
async fn serves(
    endpoint: &str,
    tls: &Arc<ClientConfig>,
    member: &mut Member,
    tasks: &Tasks,
) -> Result<()> {
    let began = Instant::now();
    loop {
        member.check()?;
        let answer = async { status(&Grpc::connect(endpoint, Some(tls), tasks).await?).await };
        match tokio::time::timeout(READY_MAX, answer).await? {
            Ok(_) => return Ok(()),
            Err(error) => ensure!(began.elapsed() < READY_MAX, "no answer: {error:#}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The text of a file that a member writes when it is ready for others.
async fn appears(path: &Path, member: &mut Member) -> Result<String> {
    let began = Instant::now();
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return Ok(text),
            _ => member.check()?,
        }
        ensure!(began.elapsed() < READY_MAX, "{} does not appear", path.display());
        tokio::time::sleep(LOOK).await;
    }
}

/// Bytes that etcd may store before it refuses writes; its default of 2 GiB ends long runs.
const ETCD_QUOTA_BYTES: u64 = 32 << 30;

fn start_etcd(
    program: &Path,
    flags: &[String],
    folder: &Path,
    ports: &[u16],
) -> Result<(Vec<Member>, Arc<ClientConfig>)> {
    let authority = Authority::generate("bench")?;
    let roots = Roots { pem: authority.certificate_pem.clone() };
    let local = CertificateRequest::serving(
        "bench",
        vec!["localhost".to_owned()],
        vec![[127, 0, 0, 1].into()],
        Usage::Peer,
    );
    let identity = authority.issue(&local)?;
    let (ca, cert, key) = (folder.join("ca.crt"), folder.join("tls.crt"), folder.join("tls.key"));
    fs::write(&ca, &roots.pem)?;
    fs::write(&cert, &identity.chain_pem)?;
    fs::write(&key, &identity.key_pem)?;
    let peer_url = |number| format!("https://127.0.0.1:{}", ports_of(ports, number).1);
    let cluster: Vec<String> = (0..MEMBERS).map(|n| format!("m{n}={}", peer_url(n))).collect();
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        let name = format!("m{number}");
        let client_url = format!("https://127.0.0.1:{}", ports_of(ports, number).0);
        let mut arguments = vec![
            format!("--name={name}"),
            format!("--data-dir={}", folder.join(&name).join("data").display()),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={}", peer_url(number)),
            format!("--initial-advertise-peer-urls={}", peer_url(number)),
            format!("--initial-cluster={}", cluster.join(",")),
            "--initial-cluster-state=new".to_owned(),
            format!("--quota-backend-bytes={ETCD_QUOTA_BYTES}"),
            "--logger=zap".to_owned(),
            "--log-level=error".to_owned(),
            "--client-cert-auth".to_owned(),
            "--peer-client-cert-auth".to_owned(),
        ];
        for (flag, path) in [("cert-file", &cert), ("key-file", &key), ("trusted-ca-file", &ca)] {
            arguments.push(format!("--{flag}={}", path.display()));
            arguments.push(format!("--peer-{flag}={}", path.display()));
        }
        arguments.extend(flags.iter().cloned());
        let mut member = Member {
            program: program.to_path_buf(),
            arguments,
            folder: folder.join(&name),
            child: None,
        };
        member.start()?;
        members.push(member);
    }
    let tls = tls::client_config(&roots, Some(&identity), &[b"h2"])?;
    Ok((members, Arc::new(tls)))
}
