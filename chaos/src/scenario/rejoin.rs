//! Step 7: both dead hosts come back with their disks.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use tokio::time::{Instant, sleep};

use super::{SERVERS, STEP_MAX, Stage, WORKERS, boot};
use crate::view::{View, is_node_ready, node_of};

pub(super) async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let server = stage.dead_server.take().context("a server is off")?;
    let worker = stage.dead_worker.take().context("a worker is off")?;
    stage.account.chapter(&format!("7. {server} and {worker} are powered on again"));
    let start = Instant::now();
    stage.cluster.power_on(&server)?;
    stage.cluster.power_on(&worker)?;
    let client = stage.cluster.client(&[&server])?;
    boot::until("the server is ready again", &stage.cluster, || async {
        client.call(http::Method::GET, "/readyz", None).await.is_ok()
    })
    .await?;
    stage.account.tell(&format!("{server} is ready again after {:?}", start.elapsed()));
    let all_ready = |view: &View| {
        let ready = view.nodes.list().iter().filter(|node| is_node_ready(node)).count();
        (ready == WORKERS.len()).then_some(())
    };
    let ((), took) = stage.until("the worker is ready again", start, all_ready).await?;
    stage.account.tell(&format!("{worker} is ready again after {took:?}"));
    let is_equal = compare_states(stage).await?;
    stage.figures.rejoin_hash_equal = Some(is_equal);
    stage.expect(is_equal, "all members have the same state at one revision");
    left_over_containers(stage, &worker).await
}

/// Asks every member for the hash of its state at one revision.
async fn compare_states(stage: &Stage) -> anyhow::Result<bool> {
    let ask = async |server: &str, query: &str| -> anyhow::Result<(u64, String)> {
        let client = stage.cluster.client(&[server])?;
        let path = format!("/kontiki/v1/hash{query}");
        let answer = client.call(http::Method::GET, &path, None).await?;
        let value: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let revision = value["revision"].as_u64().context("a revision")?;
        Ok((revision, value["hash"].as_str().context("a hash")?.to_owned()))
    };
    let (revision, _) = ask(SERVERS[0], "").await?;
    let mut hashes = BTreeSet::new();
    for server in SERVERS {
        let start = Instant::now();
        // A member that has not got there yet says so.
        let hash = loop {
            match ask(server, &format!("?revision={revision}")).await {
                Ok((_, hash)) => break hash,
                Err(error) if start.elapsed() > STEP_MAX => return Err(error),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        };
        stage.account.tell(&format!("{server} at revision {revision}: {hash}"));
        hashes.insert(hash);
    }
    Ok(hashes.len() == 1)
}

/// The containers of before the power cut must go: their pods are elsewhere now.
async fn left_over_containers(stage: &mut Stage, worker: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let pods = stage.view.pods.list();
        let here = pods.iter().filter(|pod| node_of(pod) == worker).count();
        // Each pod has its sandbox and one container.
        let containers = stage.cluster.containers(worker)?.len();
        if containers == 2 * here {
            stage.expect(true, &format!("{worker} has {containers} containers for {here} pods"));
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(60) {
            let what = format!("{worker} has {containers} containers for {here} pods");
            stage.expect(false, &what);
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
}
