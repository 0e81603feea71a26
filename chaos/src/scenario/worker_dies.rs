//! Step 6: a worker is powered off; its pods are replaced on the other.

use anyhow::Context;
use tokio::time::Instant;

use super::{APP, NAMESPACE, Stage, WORKERS, app};
use crate::{
    account::milliseconds,
    view::{View, is_node_ready, node_of},
};

pub(super) async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let counts = app::pod_counts(stage)?;
    let failed = counts.failed - stage.failures_excused;
    stage.figures.pod_requests = counts.sent;
    stage.figures.pod_requests_failed = Some(failed);
    let what = format!("a pod asked the Service {} times, {failed} failed", counts.sent);
    stage.expect(failed == 0, &what);
    if counts.failed > 0 {
        stage.account.tell(&format!("the last failure: {}", counts.last_error));
    }

    // The client inside the cluster is spared.
    let clients = stage.view.app_pods(NAMESPACE, "client");
    let spared = clients.first().map(|pod| node_of(pod)).context("the client pod is bound")?;
    let victim = WORKERS.into_iter().find(|name| *name != spared).context("a second worker")?;
    stage.account.chapter(&format!("6. Worker {victim} is powered off"));
    let wanted = app::ready_pods(&stage.view).len();
    stage.dead_worker = Some(victim.to_owned());
    let killed = Instant::now();
    stage.cluster.lab().power_off(victim)?;
    let endpoints_gone = |view: &View| {
        let endpoints = view.endpoints(NAMESPACE, APP);
        (!endpoints.is_empty() && endpoints.iter().all(|(_, node)| node != victim)).then_some(())
    };
    let ((), took) = stage.until("its endpoints are gone", killed, endpoints_gone).await?;
    stage.figures.node_loss_endpoints_gone_ms = milliseconds(took);
    stage.account.tell(&format!("its endpoints are out of rotation after {took:?}"));
    let replaced = |view: &View| {
        let pods = app::ready_pods(view);
        let living = pods.iter().filter(|pod| node_of(pod) != victim).count();
        (living >= wanted).then_some(())
    };
    let ((), took) = stage.until("its pods are replaced", killed, replaced).await?;
    stage.figures.node_loss_replaced_ms = milliseconds(took);
    stage.account.tell(&format!("its pods are replaced after {took:?}"));
    let node =
        stage.view.nodes.list().into_iter().find(|n| n.metadata.name.as_deref() == Some(victim));
    stage.expect(node.is_some_and(|node| !is_node_ready(&node)), "its node is NotReady");
    stage.account.quote(&stage.cluster.operate(&["get", "nodes"])?);
    Ok(())
}
