//! Step 1: the first server starts alone, the others join it.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

use super::{SERVERS, STEP_MAX, Stage, WORKERS};
use crate::{
    account::{Account, Figures, milliseconds},
    cluster::Cluster,
    view::is_node_ready,
};

/// Thresholds short enough to be watched; the defaults are upstream's.
const SERVER_SETTINGS: [&str; 9] = [
    "--no-agent",
    "--tls-san=10.99.0.1,127.0.0.1",
    "--node-monitor-grace-period=3s",
    "--node-monitor-period=500ms",
    "--default-not-ready-toleration-seconds=1",
    "--default-unreachable-toleration-seconds=1",
    "--cluster-cidr=10.42.0.0/16",
    "--service-cidr=10.43.0.0/16",
    "--service-node-port-range=30000-32767",
];
const AGENT_SETTINGS: [&str; 1] = ["--node-status-update-frequency=500ms"];

/// How often something is asked that can only be asked.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// Starts the first server and waits until it is ready; gives the time of its start.
pub(super) async fn first_server(
    cluster: &Cluster,
    account: Account,
    figures: &mut Figures,
) -> anyhow::Result<Instant> {
    account.chapter("1. The first server starts alone, the others join with its token");
    let start = Instant::now();
    let first = SERVERS[0];
    cluster
        .start(first, &["server".to_owned()].into_iter().chain(settings()).collect::<Vec<_>>())?;
    let is_ready = || async {
        // Its files come before its port.
        let Ok(client) = cluster.client(&[first]) else { return false };
        let request = client.call(http::Method::GET, "/readyz", None).await;
        request.is_ok()
    };
    until("the first server is ready", cluster, is_ready).await?;
    figures.api_ready_ms = milliseconds(start.elapsed());
    account.tell(&format!("{first} is ready after {:?}", start.elapsed()));
    Ok(start)
}

/// Starts everyone else and waits until the cluster is whole.
pub(super) async fn everyone_else(stage: &mut Stage, start: Instant) -> anyhow::Result<()> {
    let cluster = stage.cluster.clone();
    let token = |words: &[&str]| -> anyhow::Result<String> {
        Ok(cluster.kontiki(words)?.trim().to_owned())
    };
    let for_servers = token(&["token", "create", "--server"])?;
    let for_agents = token(&["token", "create"])?;
    let join = format!("--join={}", cluster.lab().host(SERVERS[0])?.address());
    for name in &SERVERS[1..] {
        let mut words = vec!["server".to_owned(), join.clone(), format!("--token={for_servers}")];
        words.extend(settings());
        cluster.start(name, &words)?;
    }
    for name in WORKERS {
        let group = cluster.lab().host(name)?.pods_cgroup();
        let mut words = vec!["agent".to_owned(), join.clone(), format!("--token={for_agents}")];
        words.push(format!("--cgroup-root={group}"));
        words.extend(AGENT_SETTINGS.map(str::to_owned));
        cluster.start(name, &words)?;
    }
    until("all servers vote", &cluster, || async { voters(&cluster).is_ok_and(|n| n == 3) })
        .await?;
    stage.account.tell(&format!("three voting members after {:?}", start.elapsed()));
    let all_ready = |view: &crate::view::View| {
        let ready = view.nodes.list().iter().filter(|node| is_node_ready(node)).count();
        (ready == WORKERS.len()).then_some(())
    };
    let ((), took) = stage.until("both workers are ready", start, all_ready).await?;
    stage.figures.cluster_ready_ms = milliseconds(took);
    stage.account.tell(&format!("both workers are ready after {took:?}"));
    stage.cluster.balance()?;
    stage.account.quote(&stage.cluster.kontiki(&["member", "list"])?);
    stage.account.quote(&stage.cluster.operate(&["get", "nodes", "-o", "wide"])?);
    Ok(())
}

/// The member that leads, by the name of its host.
pub(super) fn leader(cluster: &Cluster) -> anyhow::Result<String> {
    let list = members(cluster)?;
    let leader = list["leader"].as_str().context("nobody leads")?;
    let entries = list["members"].as_array().context("a list of members")?;
    let entry = entries.iter().find(|member| member["id"].as_str() == Some(leader));
    let name = entry.and_then(|member| member["name"].as_str());
    Ok(name.context("the leader is no member")?.to_owned())
}

/// How many members vote.
pub(super) fn voters(cluster: &Cluster) -> anyhow::Result<usize> {
    let list = members(cluster)?;
    let entries = list["members"].as_array().context("a list of members")?;
    Ok(entries.iter().filter(|member| member["voter"] == true).count())
}

fn members(cluster: &Cluster) -> anyhow::Result<serde_json::Value> {
    let text = cluster.kontiki(&["member", "list", "-o", "json"])?;
    serde_json::from_str(&text).context("kontiki member list -o json")
}

fn settings() -> impl Iterator<Item = String> {
    SERVER_SETTINGS.into_iter().map(str::to_owned)
}

/// Asks until the answer is yes, while everyone lives.
pub(super) async fn until<F: Future<Output = bool>>(
    what: &str,
    cluster: &Cluster,
    ask: impl Fn() -> F,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + STEP_MAX;
    while !ask().await {
        cluster.check_alive()?;
        anyhow::ensure!(Instant::now() < deadline, "{what}: not in {STEP_MAX:?}");
        sleep(ASK_INTERVAL).await;
    }
    Ok(())
}
