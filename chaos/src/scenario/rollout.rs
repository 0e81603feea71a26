//! Step 5: more replicas, a crash, a new version, a broken version, and back.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

use super::{APP, NAMESPACE, Stage, app};
use crate::{
    account::milliseconds,
    lab::{Signal, send},
    prober::Summary,
    view::{View, is_ready, is_rolled_out},
};

const REPLICAS: usize = 6;
/// How long a broken version is watched for harm.
const STALL: Duration = Duration::from_secs(4);

pub(super) async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    scale(stage).await?;
    crash(stage).await?;
    new_version(stage).await?;
    broken_version(stage).await
}

async fn scale(stage: &mut Stage) -> anyhow::Result<()> {
    stage.account.chapter("5. Six replicas, a crash, a new version, a broken one, and back");
    let start = Instant::now();
    let name = format!("deployment/{APP}");
    let words = ["scale", &name, "--replicas=4", "-n", NAMESPACE];
    stage.account.quote(&stage.cluster.operate(&words)?);
    let words = ["scale", &name, "--replicas=6", "-n", NAMESPACE];
    stage.account.quote(&stage.cluster.kontiki(&words)?);
    stage.until("six pods are ready", start, all_ready).await?;
    let in_rotation =
        |view: &View| (view.endpoints(NAMESPACE, APP).len() == REPLICAS).then_some(());
    let ((), took) = stage.until("six endpoints are in rotation", start, in_rotation).await?;
    stage.account.tell(&format!("six pods in rotation after {took:?}"));
    let from = Instant::now();
    sleep(Duration::from_secs(3)).await;
    let answers = summary(stage, from)?.answers.len();
    stage.expect(answers == REPLICAS, &format!("answers come from all six ({answers})"));
    Ok(())
}

async fn crash(stage: &mut Stage) -> anyhow::Result<()> {
    let before = app::pod_counts(stage)?;
    let pod = app::ready_pods(&stage.view).first().context("a pod is ready")?.clone();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let killed = Instant::now();
    send(app::process_of(&pod)?, Signal::Kill);
    let restarted = |view: &View| {
        let pods = view.app_pods(NAMESPACE, APP);
        let pod = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(&name))?;
        let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
        (status.restart_count > 0 && is_ready(pod)).then_some(status.restart_count)
    };
    let (count, took) = stage.until("the container is restarted", killed, restarted).await?;
    stage.figures.container_restart_ms = milliseconds(took);
    stage.account.tell(&format!("{name}: killed, ready again after {took:?} ({count} restart)"));
    // Whoever was being answered by the process when it was killed has lost that request.
    let after = app::pod_counts(stage)?;
    stage.failures_excused = after.failed - before.failed;
    Ok(())
}

async fn new_version(stage: &mut Stage) -> anyhow::Result<()> {
    let start = Instant::now();
    stage.account.tell("rolling update to version 2");
    app::apply(&stage.cluster, "v2", 6)?;
    let (_, took) = stage.until("version 2 is rolled out", start, rolled_out("v2")).await?;
    // The old pods serve on until they are asked no more.
    sleep(Duration::from_secs(2)).await;
    let summary = summary(stage, start)?;
    stage.figures.requests_failed_rollout = Some(summary.failed);
    let what = format!(
        "version 2 after {took:?}, none of {} requests failed {:?}",
        summary.requests, summary.failures
    );
    stage.expect(summary.failed == 0, &what);
    Ok(())
}

async fn broken_version(stage: &mut Stage) -> anyhow::Result<()> {
    let start = Instant::now();
    stage.account.tell("rolling update to version 3, which never becomes ready");
    app::apply(&stage.cluster, "v3", 6)?;
    let stalled = |view: &View| {
        let pods = view.app_pods(NAMESPACE, APP);
        let broken = pods.iter().filter(|pod| app::version(pod) == "v3");
        let running = |pod: &&std::sync::Arc<_>| is_running(pod);
        (broken.filter(running).count() > 0).then_some(())
    };
    stage.until("a pod of version 3 runs", start, stalled).await?;
    let mut fewest = REPLICAS;
    let watched = Instant::now();
    while watched.elapsed() < STALL {
        fewest = fewest.min(app::ready_pods(&stage.view).len());
        sleep(Duration::from_millis(20)).await;
    }
    let seen = summary(stage, start)?;
    let is_spared = !seen.answers.keys().any(|answer| answer.ends_with("v3"));
    let what = format!("version 3 stalls, {fewest} pods stay ready, nobody was sent to it");
    stage.expect(fewest == REPLICAS && is_spared, &what);
    let name = format!("deployment/{APP}");
    let words = ["rollout", "undo", &name, "-n", NAMESPACE];
    stage.account.quote(&stage.cluster.operate(&words)?);
    let (_, took) = stage.until("version 2 is back", start, rolled_out("v2")).await?;
    stage.account.tell(&format!("version 2 is back, {took:?} after version 3 was asked for"));
    let summary = summary(stage, start)?;
    *stage.figures.requests_failed_rollout.get_or_insert(0) += summary.failed;
    let what = format!("none of {} requests failed {:?}", summary.requests, summary.failures);
    stage.expect(summary.failed == 0, &what);
    Ok(())
}

fn all_ready(view: &View) -> Option<()> {
    (app::ready_pods(view).len() == REPLICAS).then_some(())
}

fn rolled_out(version: &'static str) -> impl Fn(&View) -> Option<()> {
    move |view| {
        let deployment = view.deployment(NAMESPACE, APP).ok()?;
        let pods = view.app_pods(NAMESPACE, APP);
        let all = pods.iter().all(|pod| app::version(pod) == version);
        (is_rolled_out(&deployment) && all && pods.len() == REPLICAS).then_some(())
    }
}

fn is_running(pod: &kontiki_api::k8s_openapi::api::core::v1::Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"))
}

fn summary(stage: &Stage, from: Instant) -> anyhow::Result<Summary> {
    let prober = stage.prober.as_ref().context("the prober runs")?;
    Ok(prober.summary(from, Instant::now()))
}
