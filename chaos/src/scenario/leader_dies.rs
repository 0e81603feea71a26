//! Step 4: the leader's host is powered off, and nobody notices.

use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, stream::FuturesUnordered};
use kontiki_api::{
    k8s_openapi::api::core::v1::{ConfigMap, Pod},
    typed::Object,
};
use kontiki_client::{Client, DeleteOptions, ObjectKey};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{NAMESPACE, Stage, boot};
use crate::{account::milliseconds, view::node_of};

/// A write that is not answered by then is tried anew, elsewhere.
const ATTEMPT_MAX: Duration = Duration::from_millis(500);
/// Requests are watched for so long after the leader's death.
const AFTERMATH: Duration = Duration::from_secs(5);

pub(super) async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let leader = boot::leader(&stage.cluster)?;
    stage.account.chapter(&format!("4. The leader's host, {leader}, is powered off"));
    stage.dead_server = Some(leader.clone());
    let survivors: Vec<Client> = stage
        .living_servers()
        .into_iter()
        .map(|name| stage.cluster.client(&[name]))
        .collect::<anyhow::Result<_>>()?;
    // Their connections stand before the leader falls, as any client's do.
    for client in &survivors {
        client.call(http::Method::GET, "/readyz", None).await?;
    }
    let killed = Instant::now();
    stage.cluster.lab().power_off(&leader)?;
    let object = |attempt: u32| {
        config_map(&format!("after-the-leader-{attempt}")).expect("a constant manifest")
    };
    first_success(&survivors, |client, attempt| async move {
        client.create(&object(attempt)).await.is_ok()
    })
    .await?;
    let wrote = killed.elapsed();
    stage.figures.leader_kill_write_ms = milliseconds(wrote);
    stage.account.tell(&format!("a write succeeded after {wrote:?}"));

    let name = "after-the-leader";
    let pod = pod(name)?;
    first_success(&survivors, |client, _| {
        let pod = pod.clone();
        // A first attempt may have succeeded without its answer.
        async move { client.create(&pod).await.map_or_else(|error| error.is_already_exists(), |_| true) }
    })
    .await?;
    let bound_to = bound(&survivors, name).await?;
    let bound = killed.elapsed();
    stage.figures.leader_kill_bind_ms = milliseconds(bound);
    stage.account.tell(&format!("a new pod was bound to {bound_to} after {bound:?}"));
    stage.account.tell(&format!("{} leads now", boot::leader(&stage.cluster)?));
    // With the kubeconfig that it had all along.
    let nodes = stage.cluster.operate(&["get", "nodes", "-o", "name"])?;
    stage.expect(nodes.lines().count() == 2, "the operator's tool goes on as before");

    sleep(AFTERMATH.saturating_sub(killed.elapsed())).await;
    let prober = stage.prober.as_ref().context("the prober runs")?;
    let summary = prober.summary(killed - Duration::from_secs(1), killed + AFTERMATH);
    stage.figures.requests_failed_leader_kill = Some(summary.failed);
    let what = format!("none of {} requests failed {:?}", summary.requests, summary.failures);
    stage.expect(summary.failed == 0 && summary.requests > 0, &what);
    let key = ObjectKey::new(NAMESPACE, name);
    stage.client.delete::<Pod>(&key, &DeleteOptions::default()).await?;
    Ok(())
}

/// Asks all clients at once, again and again, until one succeeds.
async fn first_success<'a, F: Future<Output = bool>>(
    clients: &'a [Client],
    attempt: impl Fn(&'a Client, u32) -> F,
) -> anyhow::Result<()> {
    let mut attempts = FuturesUnordered::new();
    for (index, client) in clients.iter().enumerate() {
        let attempt = &attempt;
        attempts.push(async move {
            let mut number = u32::try_from(index).expect("few clients") * 1000;
            loop {
                number += 1;
                if timeout(ATTEMPT_MAX, attempt(client, number)).await.unwrap_or(false) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
    }
    timeout(super::STEP_MAX, attempts.next()).await.context("no write succeeds any more")?;
    Ok(())
}

async fn bound(clients: &[Client], pod: &str) -> anyhow::Result<String> {
    let start = Instant::now();
    while start.elapsed() < super::STEP_MAX {
        for client in clients {
            let found = timeout(ATTEMPT_MAX, client.get::<Pod>(NAMESPACE, pod)).await;
            if let Ok(Ok(pod)) = found
                && !node_of(&pod).is_empty()
            {
                return Ok(node_of(&pod).to_owned());
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
    anyhow::bail!("pod {pod} was bound to no node in {:?}", super::STEP_MAX)
}

fn config_map(name: &str) -> anyhow::Result<ConfigMap> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": NAMESPACE, "name": name},
    });
    Ok(ConfigMap::from_value(object)?)
}

fn pod(name: &str) -> anyhow::Result<Pod> {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "web", "image": "kontiki.dev/demo-web:v1"}],
        },
    });
    Ok(Pod::from_value(object)?)
}
