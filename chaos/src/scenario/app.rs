//! The app from outside: its manifests, its pods, its processes.

use std::{fs, net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use kontiki_api::{k8s_openapi::api::core::v1::Pod, typed::Object};

use super::{APP, NAMESPACE, NODE_PORT, Stage, WORKERS};
use crate::{
    cluster::Cluster,
    prober::{self, Prober},
    view::{View, is_ready, node_of},
};

const WEB: &str = include_str!("manifests/web.yaml");
const CLIENT: &str = include_str!("manifests/client.yaml");

/// Applies the app with the image of `version` and so many replicas.
pub(super) fn apply(cluster: &Cluster, version: &str, replicas: u32) -> anyhow::Result<String> {
    let text = WEB
        .replace("demo-web:v1", &format!("demo-web:{version}"))
        .replace("replicas: 3", &format!("replicas: {replicas}"));
    let path = write(cluster, "web.yaml", &text)?;
    cluster.kontiki(&["apply", "-f", &path])
}

/// Applies the client inside the cluster, with the operator's own tool.
pub(super) fn apply_client(cluster: &Cluster) -> anyhow::Result<String> {
    let path = write(cluster, "client.yaml", CLIENT)?;
    cluster.operate(&["apply", "-f", &path])
}

fn write(cluster: &Cluster, name: &str, text: &str) -> anyhow::Result<String> {
    let path = cluster.lab().folder().join(name);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Asks the app for a path, by the NodePort of the first worker.
pub(super) fn ask(cluster: &Cluster, path: &str) -> anyhow::Result<String> {
    let lab = cluster.lab();
    let address = SocketAddr::new(lab.host(WORKERS[0])?.address(), NODE_PORT);
    prober::get(&lab.lan().network()?, address, path, Duration::from_secs(2))
}

/// Starts asking the NodePort of both workers.
pub(super) fn start_prober(stage: &mut Stage) -> anyhow::Result<()> {
    let lab = stage.cluster.lab();
    let target = |name: &&str| -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(lab.host(name)?.address(), NODE_PORT))
    };
    let targets = WORKERS.iter().map(target).collect::<anyhow::Result<_>>()?;
    stage.prober = Some(Prober::start(lab.lan().network()?, prober::Options::new(targets))?);
    Ok(())
}

/// The app's pods that are ready.
pub(super) fn ready_pods(view: &View) -> Vec<std::sync::Arc<Pod>> {
    let mut pods = view.app_pods(NAMESPACE, APP);
    pods.retain(|pod| is_ready(pod));
    pods
}

/// Which version a pod's image is.
pub(super) fn version(pod: &Pod) -> &str {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let image = container.and_then(|container| container.image.as_deref()).unwrap_or_default();
    image.rsplit(':').next().unwrap_or_default()
}

/// What the client inside the cluster has counted: requests, failures, and the last failure.
pub(super) struct PodCounts {
    pub(super) sent: u64,
    pub(super) failed: u64,
    pub(super) last_error: String,
    pub(super) answers: usize,
}

/// Reads the counts of the client inside the cluster, from the host it runs on.
pub(super) fn pod_counts(stage: &Stage) -> anyhow::Result<PodCounts> {
    let pods = stage.view.app_pods(NAMESPACE, "client");
    let pod = pods.first().context("there is no client pod")?;
    let status = pod.status.as_ref();
    let address =
        status.and_then(|status| status.pod_ip.as_deref()).context("it has no address")?;
    let address = SocketAddr::new(address.parse()?, 8080);
    let network = stage.cluster.lab().host(node_of(pod))?.network()?;
    let body = prober::get(&network, address, "/", Duration::from_secs(2))?;
    let counts: serde_json::Value = serde_json::from_str(&body).context("the client's counts")?;
    Ok(PodCounts {
        sent: counts["sent"].as_u64().unwrap_or_default(),
        failed: counts["failed"].as_u64().unwrap_or_default(),
        last_error: counts["last_error"].as_str().unwrap_or_default().to_owned(),
        answers: counts["answers"].as_object().map_or(0, serde_json::Map::len),
    })
}

/// The process of a pod's app, by the name it was given in its environment.
pub(super) fn process_of(pod: &Pod) -> anyhow::Result<u32> {
    let variable = format!("POD_NAME={}", pod.name());
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        if variables.any(|found| found == variable.as_bytes()) {
            return Ok(pid);
        }
    }
    bail!("no process of pod {} is there", pod.name())
}
