//! The demonstration: a cluster of five hosts is built, deployed to, broken on purpose and taken
//! down, while clients go on asking.
//!
//! Each step is a file, one after the other in [`run`]. A step tells what it does, fills in the
//! figures that it measured, and notes what did not hold; it stops the scenario only when the rest
//! would make no sense.

mod app;
mod boot;
mod clean_up;
mod deploy;
mod leader_dies;
mod rejoin;
mod rollout;
mod worker_dies;

use std::{path::PathBuf, sync::Arc, time::Duration};

use kontiki_base::tasks::Tasks;
use kontiki_client::Client;
use tokio::time::Instant;

use crate::{
    account::{Account, Figures},
    cluster::{self, Cluster},
    lab::{Lab, Options as LabOptions},
    prober::Prober,
    view::View,
};

/// The hosts of the demonstration.
pub const SERVERS: [&str; 3] = ["s1", "s2", "s3"];
/// Its workers.
pub const WORKERS: [&str; 2] = ["w1", "w2"];

/// The namespace of everything that is deployed.
const NAMESPACE: &str = "demo";
/// The app, its Service and what it is made with are all called so.
const APP: &str = "web";
const NODE_PORT: u16 = 30080;

/// Generous: a step that takes longer than this has failed, whatever the machine.
const STEP_MAX: Duration = Duration::from_secs(120);

/// How the demonstration runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the hosts' disks are.
    pub folder: PathBuf,
    /// Leave the disks there, to look at logs.
    pub keep_disks: bool,
    /// Break nothing: build the cluster, deploy the app, and stop there.
    pub only_deploy: bool,
}

/// The cluster and what watches it.
struct Stage {
    cluster: Arc<Cluster>,
    account: Account,
    figures: Figures,
    view: View,
    /// Speaks to whichever server answers.
    client: Client,
    prober: Option<Prober>,
    /// The member whose host was powered off, until it comes back.
    dead_server: Option<String>,
    dead_worker: Option<String>,
    /// Requests from the pod that failed because the process that had them was killed.
    failures_excused: u64,
    tasks: Tasks,
}

impl Stage {
    /// Notes whether something that should hold does.
    fn expect(&mut self, holds: bool, what: &str) {
        if holds {
            self.account.tell(&format!("ok: {what}"));
        } else {
            self.account.tell(&format!("FAILED: {what}"));
            self.figures.failures.push(what.to_owned());
        }
    }

    /// Waits until the view shows something; gives it and the time since `start`.
    async fn until<T>(
        &self,
        what: &str,
        start: Instant,
        look: impl FnMut(&View) -> Option<T>,
    ) -> anyhow::Result<(T, Duration)> {
        let seen = self.view.until(what, start, STEP_MAX, look).await;
        self.cluster.check_alive()?;
        seen
    }

    /// The servers that are on.
    fn living_servers(&self) -> Vec<&'static str> {
        SERVERS.into_iter().filter(|name| self.dead_server.as_deref() != Some(name)).collect()
    }
}

/// What is left running after the scenario, for whoever wants to look around.
pub struct Demonstration {
    /// The cluster; dropping it removes everything.
    pub cluster: Arc<Cluster>,
    /// What was measured.
    pub figures: Figures,
}

/// Runs the scenario. The cluster is given back with the figures even when a step failed.
pub fn run(options: &Options) -> anyhow::Result<Demonstration> {
    let account = Account::default();
    let lab = Lab::start(&LabOptions {
        hosts: SERVERS.iter().chain(&WORKERS).map(|name| (*name).to_owned()).collect(),
        folder: options.folder.clone(),
        keep_disks: options.keep_disks,
    })?;
    account.chapter(&format!("Five hosts and the outside world, in {}", lab.folder().display()));
    let network = lab.lan().network()?;
    let cluster = Arc::new(Cluster::new(lab, cluster::product()?, &SERVERS, &WORKERS)?);
    let mut figures =
        Figures { control_nodes: SERVERS.len(), workers: WORKERS.len(), ..Figures::default() };
    let (stage_cluster, only_deploy) = (cluster.clone(), options.only_deploy);
    // Whoever asks, asks from the outside world: every thread of the scenario lives there.
    let outcome = network.run(|| {
        let runtime = network.runtime(2)?;
        let story = tell(stage_cluster, account, &mut figures, only_deploy);
        Ok(runtime.block_on(story))
    })?;
    if let Err(error) = outcome {
        account.tell(&format!("FAILED: {error:#}"));
        figures.failures.push(format!("{error:#}"));
    }
    Ok(Demonstration { cluster, figures })
}

async fn tell(
    cluster: Arc<Cluster>,
    account: Account,
    figures: &mut Figures,
    only_deploy: bool,
) -> anyhow::Result<()> {
    let tasks = Tasks::new();
    let start = boot::first_server(&cluster, account, figures).await?;
    let client = cluster.client(&SERVERS)?;
    let view = View::start(&client, &tasks);
    let mut stage = Stage {
        cluster,
        account,
        figures: std::mem::take(figures),
        view,
        client,
        prober: None,
        dead_server: None,
        dead_worker: None,
        failures_excused: 0,
        tasks,
    };
    let outcome = tokio::select! { biased;
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        outcome = steps(&mut stage, start, only_deploy) => outcome,
    };
    drop(stage.prober.take());
    stage.tasks.stop().await;
    *figures = stage.figures;
    outcome
}

async fn steps(stage: &mut Stage, start: Instant, only_deploy: bool) -> anyhow::Result<()> {
    boot::everyone_else(stage, start).await?;
    deploy::run(stage).await?;
    if only_deploy {
        return Ok(());
    }
    leader_dies::run(stage).await?;
    rollout::run(stage).await?;
    worker_dies::run(stage).await?;
    rejoin::run(stage).await?;
    clean_up::run(stage).await
}
