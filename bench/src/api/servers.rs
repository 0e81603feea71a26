//! The `api` generator against servers that it starts itself: one, and several that are a cluster.
//!
//! Each cluster is made from nothing, left alone for a moment, and measured like any other; the
//! figures stand side by side in one table.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use http::{Method, StatusCode};
use kontiki_base::tasks::Tasks;

use super::{ApiArgs, mebibytes};
use crate::{
    connection::Connection,
    process::{Process, Usage},
    report::{self, Report},
    store::{
        host,
        members::{Cluster, Product},
    },
    target::{Target, TargetArgs},
};

/// How long servers are left alone before their memory is read.
const SETTLE: Duration = Duration::from_secs(10);
/// How long servers may take to be ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// Between two looks at what has no event.
const LOOK: Duration = Duration::from_millis(50);

/// Which servers to start.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// Binary of ours whose servers are started and measured, in place of a running one
    #[arg(long, value_name = "FILE")]
    pub kontiki: Option<PathBuf>,
    /// Sizes of the clusters that are measured one after the other
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [1, 3])]
    pub members: Vec<usize>,
    /// A further flag of the servers, such as --with=--disable=scheduler; repeatable
    #[arg(long = "with", value_name = "FLAG", allow_hyphen_values = true)]
    pub flags: Vec<String>,
    /// Folder on a disk under which they work; a new one below the target folder of the build
    /// without
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

/// Starts and measures a cluster of each size; the table goes to stdout as markdown.
pub async fn run(
    program: PathBuf,
    servers: &ServerArgs,
    args: &ApiArgs,
    name: &str,
    tasks: &Tasks,
) -> Result<()> {
    let folder = servers.dir.clone().unwrap_or_else(|| PathBuf::from("target/bench"));
    fs::create_dir_all(&folder)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}. {} clients.\n", host::describe(&folder)?, args.clients)?;
    let mut reports = Vec::new();
    for count in &servers.members {
        ensure!(*count > 0, "a cluster has at least one member");
        let flags = servers.flags.clone();
        let product = Product::Servers { program: program.clone(), flags, count: *count };
        let cluster = Cluster::start(&product, &folder, tasks).await?;
        let title = if *count == 1 { "1 server".to_owned() } else { format!("{count} servers") };
        let report = one(&cluster, args, name, tasks).await.context(title.clone())?;
        writeln!(std::io::stderr(), "{}", report.json())?;
        reports.push((title, report));
    }
    write!(out, "{}", report::side_by_side(&reports))?;
    Ok(())
}

async fn one(cluster: &Cluster, args: &ApiArgs, name: &str, tasks: &Tasks) -> Result<Report> {
    let target = Target::new(&TargetArgs {
        servers: cluster.api_endpoints.clone(),
        kubeconfig: Some(appears(cluster.kubeconfig()).await?),
        ca: None,
        cert: None,
        key: None,
    })?;
    ready(&target, tasks).await?;
    let pids: Result<Vec<Process>> = cluster.members.iter().map(|one| one.process()).collect();
    let args = ApiArgs { pids: pids?, ..args.clone() };
    tokio::time::sleep(SETTLE).await;
    let mut report = Report::new("api");
    memory(&mut report, "idle", &args.pids)?;
    super::measure_all(&target, &args, name, &mut report, tasks).await?;
    Ok(report)
}

/// Memory of a server: of the largest, if there are several.
pub(super) fn memory(report: &mut Report, when: &str, pids: &[Process]) -> Result<()> {
    let usages: Result<Vec<Usage>> = pids.iter().map(Process::usage).collect();
    let usages = usages?;
    let largest = |of: fn(&Usage) -> u64| usages.iter().map(of).max().unwrap_or_default();
    report.add(&format!("rss_{when}"), mebibytes(largest(|usage| usage.rss)), "MiB");
    report.add(&format!("anonymous_{when}"), mebibytes(largest(|usage| usage.anonymous)), "MiB");
    Ok(())
}

/// Waits for a file that is there once the first server serves.
async fn appears(path: PathBuf) -> Result<PathBuf> {
    let began = Instant::now();
    while !path.exists() {
        ensure!(began.elapsed() < READY_MAX, "{} does not appear", path.display());
        tokio::time::sleep(LOOK).await;
    }
    Ok(path)
}

/// Waits until every server says that it is ready.
async fn ready(target: &Target, tasks: &Tasks) -> Result<()> {
    let began = Instant::now();
    for server in &target.servers {
        loop {
            let asked = async {
                let mut connection = Connection::open(server, &target.tls, tasks).await?;
                connection.call(Method::GET, "/readyz", None).await
            };
            let reason = match asked.await {
                Ok(answer) if answer.status == StatusCode::OK => break,
                Ok(answer) => answer.status.to_string(),
                Err(error) => format!("{error:#}"),
            };
            ensure!(began.elapsed() < READY_MAX, "{server} is not ready: {reason}");
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}
