//! Step 8: everything is deleted, and nothing is left.

use std::{fs, path::Path, time::Duration};

use kontiki_api::k8s_openapi::api::core::v1::Namespace;
use tokio::time::{Instant, sleep};

use super::{NAMESPACE, Stage, WORKERS};
use crate::view::View;

/// A node clears up behind a pod on its own time.
const TIDY_MAX: Duration = Duration::from_secs(60);

/// Requests under way may be finished.
const STOP_MAX: Duration = Duration::from_secs(15);

pub(super) async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    stage.account.chapter("8. Everything is deleted");
    if let Some(prober) = stage.prober.take() {
        let records = prober.stop();
        stage.figures.requests = records.len();
    }
    let start = Instant::now();
    let words = ["delete", "deployment", "client", "-n", NAMESPACE];
    stage.account.quote(&stage.cluster.kontiki(&words)?);
    let words = ["delete", "namespace", NAMESPACE];
    stage.account.quote(&stage.cluster.operate(&words)?);
    let gone = |view: &View| view.pods.namespace(NAMESPACE).is_empty().then_some(());
    let ((), took) = stage.until("all pods are gone", start, gone).await?;
    stage.account.tell(&format!("all pods are gone after {took:?}"));
    let mut left = left_on_workers(stage)?;
    while !left.is_empty() && start.elapsed() < TIDY_MAX {
        sleep(Duration::from_millis(200)).await;
        left = left_on_workers(stage)?;
    }
    stage.expect(left.is_empty(), &format!("nothing is left on the workers {left:?}"));
    let namespace = stage.client.find::<Namespace>("", NAMESPACE).await?;
    stage.expect(namespace.is_none(), "the namespace is gone");
    stage.account.tell("every server and agent is asked to end");
    let complaints = stage.cluster.stop(STOP_MAX).await;
    stage.expect(complaints.is_empty(), &format!("all ended in good order {complaints:?}"));
    Ok(())
}

/// What still reminds of the app: containers, pod cgroups, rules, mounts, pod interfaces.
fn left_on_workers(stage: &Stage) -> anyhow::Result<Vec<String>> {
    let mut left = Vec::new();
    for name in WORKERS {
        let host = stage.cluster.lab().host(name)?;
        let containers = stage.cluster.containers(name)?;
        left.extend(containers.iter().map(|container| format!("{name}: container {container}")));
        for root in ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"] {
            let pods = format!("{root}{}", host.pods_cgroup());
            left.extend(groups(Path::new(&pods)).map(|group| format!("{name}: cgroup {group}")));
        }
        let rules = host.run(&["nft", "list", "table", "inet", "kontiki"])?;
        let ours = rules.lines().filter(|line| line.contains(". 30080"));
        left.extend(ours.map(|line| format!("{name}: rule {}", line.trim())));
        let mounts = host.run(&["cat", "/proc/mounts"])?;
        let pods = mounts.lines().filter(|line| line.contains(" /var/lib/kontiki/kubelet/pods/"));
        left.extend(pods.map(|line| format!("{name}: mount {line}")));
        let links = host.run(&["ip", "-o", "link"])?;
        let pods = links.lines().filter(|line| line.contains("veth"));
        left.extend(pods.map(|line| format!("{name}: interface {line}")));
    }
    Ok(left)
}

fn groups(parent: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
    // Classes of service stay, pods do not.
    names.filter(|name| name.contains("pod"))
}
