//! Steps 2 and 3: an app is deployed, looked at with every tool, and asked from outside and inside.

use anyhow::Context;
use tokio::time::Instant;

use super::{APP, NAMESPACE, Stage, app};
use crate::{account::milliseconds, cluster::has_kubectl, view::is_rolled_out};

pub(super) async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    stage.account.chapter("2. An app of three replicas behind a Service");
    let start = Instant::now();
    stage.account.quote(&app::apply(&stage.cluster, "v1", 3)?);
    let rolled_out = |view: &crate::view::View| {
        view.deployment(NAMESPACE, APP).ok().filter(|deployment| is_rolled_out(deployment))
    };
    let (_, took) = stage.until("the app is rolled out", start, rolled_out).await?;
    stage.figures.rollout_ms = milliseconds(took);
    stage.account.tell(&format!("rolled out after {took:?}"));
    look_around(stage)?;

    stage.account.chapter("3. Requests from outside to both NodePorts, from a pod to the Service");
    stage.account.quote(&app::apply_client(&stage.cluster)?);
    app::start_prober(stage)?;
    let pods = app::ready_pods(&stage.view).len();
    let asked = Instant::now();
    let answered = |stage: &Stage| {
        let prober = stage.prober.as_ref().context("the prober runs")?;
        anyhow::Ok(prober.summary(asked, Instant::now()).answers.len())
    };
    while answered(stage)? < pods && asked.elapsed() < super::STEP_MAX {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    stage.expect(answered(stage)? == pods, "answers come from all pods");
    let client_ready = |view: &crate::view::View| {
        view.deployment(NAMESPACE, "client").ok().filter(|deployment| is_rolled_out(deployment))
    };
    stage.until("the client pod runs", asked, client_ready).await?;
    // The client needs a moment for its first requests.
    let mut counts = app::pod_counts(stage)?;
    while counts.answers < pods && asked.elapsed() < super::STEP_MAX {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        counts = app::pod_counts(stage)?;
    }
    let what = format!("a pod reaches all pods by the Service's name ({} requests)", counts.sent);
    stage.expect(counts.answers == pods && counts.failed == 0, &what);
    if counts.failed > 0 {
        stage.account.tell(&format!("{} failed, the last: {}", counts.failed, counts.last_error));
    }
    Ok(())
}

/// The same things seen with kubectl and with kontiki.
fn look_around(stage: &mut Stage) -> anyhow::Result<()> {
    let cluster = stage.cluster.clone();
    let get = ["get", "pods,services,endpointslices", "-n", NAMESPACE, "-o", "wide"];
    stage.account.quote(&cluster.operate(&get)?);
    stage.account.quote(&cluster.kontiki(&["get", "deployments", "-n", NAMESPACE])?);
    let name = format!("deployment/{APP}");
    let pod = app::ready_pods(&stage.view).first().context("a pod is ready")?.clone();
    let pod = pod.metadata.name.clone().unwrap_or_default();
    for (words, expected) in [
        (["describe", name.as_str()].as_slice(), "demo-web:v1"),
        (&["logs", &pod], "serves on port"),
        (&["rollout", "status", &name], "successfully rolled out"),
    ] {
        let words = [words, &["-n", NAMESPACE]].concat();
        let text = cluster.kontiki(&words)?;
        stage.expect(text.contains(expected), &format!("kontiki {}", words.join(" ")));
        if has_kubectl() {
            let text = cluster.kubectl(&words)?;
            stage.expect(text.contains(expected), &format!("kubectl {}", words.join(" ")));
        }
    }
    let message = app::ask(&cluster, "/config")?;
    stage.expect(message.contains("nobody noticed"), "the ConfigMap is a file in the pods");
    let secret = app::ask(&cluster, "/secret")?;
    stage.expect(secret.contains("of 12 letters"), "the Secret is in their environment");
    Ok(())
}
