//! The Node object: registered, kept up to date, and listened to: its pod ranges become the CNI
//! configuration.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kontiki_api::Object;
use kontiki_base::{backoff::Backoff, tasks::render};
use kontiki_client::{Error, EventType, ObjectKey, Patch, Regarding, Store};
use serde_json::{Map, Value, json};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::{
    node::{
        context::Context,
        status::{self, RuntimeFacts},
    },
    runtime::config::cni_conflist,
};

/// While the node is not ready, it is looked at this often: the network plugin tells nobody when it
/// has read its configuration …
const UNREADY_CHECK: Duration = Duration::from_millis(50);
/// … for this long after it was configured.
const UNREADY_TIME: Duration = Duration::from_secs(10);

/// Keeps the Node object up to date until the task is stopped. `nodes` holds this node only.
pub async fn keep(context: Arc<Context>, nodes: Store<Node>) {
    let changed = Arc::new(Notify::new());
    let wake = changed.clone();
    nodes.on_change(move |_| wake.notify_one());
    let mut keeper = Keeper {
        context,
        nodes,
        last: None,
        images_at: None,
        facts: None,
        answered_at: None,
        // A node that was here before waits for its network at once.
        configured_at: Some(Instant::now()),
    };
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        let mut wait = keeper.context.options.status_update_interval;
        match keeper.pass().await {
            Ok(ready) => {
                backoff.reset();
                if !ready && keeper.configured_at.is_some_and(|at| at.elapsed() < UNREADY_TIME) {
                    wait = wait.min(UNREADY_CHECK);
                }
            }
            Err(error) => {
                wait = backoff.next_delay();
                if backoff.failures() > 4 {
                    tracing::warn!("cannot update node status: {}", render(&error));
                }
                sleep(wait).await;
                continue;
            }
        }
        let _ = timeout(wait, changed.notified()).await;
    }
}

struct Keeper {
    context: Arc<Context>,
    nodes: Store<Node>,
    /// The answer to our last write; newer than the store's copy until that has caught up.
    last: Option<Node>,
    images_at: Option<Instant>,
    facts: Option<RuntimeFacts>,
    /// When containerd last told how it is.
    answered_at: Option<Instant>,
    /// When the pod network was configured.
    configured_at: Option<Instant>,
}

/// A containerd that does not answer makes the node unready after this (upstream: 30 s).
const RUNTIME_TOLERANCE: Duration = Duration::from_secs(30);

/// The list of images changes seldom and is long.
const IMAGES_EVERY: Duration = Duration::from_secs(60);

impl Keeper {
    /// One look at everything. Whether the node is ready.
    async fn pass(&mut self) -> Result<bool, Error> {
        let context = self.context.clone();
        let known = self.known();
        if let Some(node) = &known
            && write_cni(&context, node).await
        {
            self.configured_at = Some(Instant::now());
        }
        let facts = self.runtime_facts().await;
        let now = Timestamp::now();
        let old = known.as_ref().and_then(|node| node.status.clone()).unwrap_or_default();
        let status = status::status(&context.options, &context.machine, &facts, &old, now);
        let ready = is_ready(&status);
        let Some(node) = known else {
            self.last = Some(self.register(status).await?);
            return Ok(ready);
        };
        if status::needs_write(&old, &status, now) {
            if is_ready(&old) != ready {
                self.tell(&node, ready);
            }
            let key = ObjectKey::of(&node);
            let patch = json!({ "status": changed_fields(&old, status) });
            let written = context.client.patch_status::<Node>(&key, Patch::Strategic(patch)).await;
            match written {
                Ok(written) => self.last = Some(written.object),
                Err(error) if error.is_not_found() => self.last = None,
                Err(error) => return Err(error),
            }
        }
        Ok(ready)
    }

    /// The newest copy of the node that is known.
    fn known(&mut self) -> Option<Node> {
        let key = ObjectKey::new("", &self.context.options.node_name);
        let stored = self.nodes.get(&key);
        let revision = |node: &Node| -> u64 {
            let version = node.metadata.resource_version.as_deref();
            version.and_then(|version| version.parse().ok()).unwrap_or(0)
        };
        match (stored, &self.last) {
            (Some(stored), Some(last)) if revision(last) > revision(&stored) => Some(last.clone()),
            (Some(stored), _) => Some((*stored).clone()),
            // Not there any more, or not yet seen: a new one is registered once the store knows.
            (None, Some(last)) if self.nodes.revision() < revision(last) => Some(last.clone()),
            (None, _) => None,
        }
    }

    async fn register(&self, status: NodeStatus) -> Result<Node, Error> {
        let context = &self.context;
        let name = &context.options.node_name;
        let wanted = status::registration(&context.options, status);
        let node = match context.client.create(&wanted).await {
            Ok(written) => {
                tracing::info!(node = name, "registered the node");
                written.object
            }
            Err(error) if error.is_already_exists() => {
                // It was here before: labels that are its own are put right.
                let key = ObjectKey::new("", name);
                let labels = status::own_labels(&context.options);
                let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
                context.client.patch::<Node>(&key, patch).await?.object
            }
            Err(error) => return Err(error),
        };
        let regarding = Regarding { uid: name.clone(), ..Regarding::object(&node) };
        context.recorder.record(regarding, EventType::Normal, "Starting", "Starting kubelet.");
        Ok(node)
    }

    fn tell(&self, node: &Node, ready: bool) {
        let name = node.name();
        let state = if ready { "NodeReady" } else { "NodeNotReady" };
        let regarding = Regarding { uid: name.to_owned(), ..Regarding::object(node) };
        let message = format!("Node {name} status is now: {state}");
        self.context.recorder.record(regarding, EventType::Normal, state, &message);
    }

    async fn runtime_facts(&mut self) -> RuntimeFacts {
        let runtime = &self.context.runtime;
        let conditions = runtime
            .status(cri::StatusRequest::default())
            .await
            .map(|reply| reply.status.unwrap_or_default().conditions)
            .map_err(|error| error.message().to_owned());
        let old = self.facts.take().unwrap_or_default();
        // A restart of containerd is no news: containers run on meanwhile.
        let forgiven = self.answered_at.is_some_and(|at| at.elapsed() < RUNTIME_TOLERANCE);
        let conditions = match conditions {
            Ok(conditions) => {
                self.answered_at = Some(Instant::now());
                Ok(conditions)
            }
            Err(_) if forgiven => old.conditions.clone(),
            Err(problem) => Err(problem),
        };
        let mut facts = RuntimeFacts { conditions, ..old };
        if facts.version.is_empty()
            && let Ok(version) = runtime.version(cri::VersionRequest::default()).await
        {
            let plain = version.runtime_version.trim_start_matches('v');
            facts.version = format!("{}://{plain}", version.runtime_name);
        }
        if self.images_at.is_none_or(|at| at.elapsed() >= IMAGES_EVERY)
            && let Ok(reply) = runtime.list_images(cri::ListImagesRequest::default()).await
        {
            facts.images = reply.images;
            self.images_at = Some(Instant::now());
        }
        self.facts = Some(facts.clone());
        facts
    }
}

fn is_ready(status: &NodeStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The fields of a status that differ; conditions always, for their heartbeat.
fn changed_fields(old: &NodeStatus, new: NodeStatus) -> Value {
    let value = |status: NodeStatus| {
        Node { status: Some(status), ..Node::default() }.to_value()["status"].take()
    };
    let (old, new) = (value(old.clone()), value(new));
    let empty = Map::new();
    let changed = new.as_object().unwrap_or(&empty).iter().filter(|(field, value)| {
        field.as_str() == "conditions" || old.get(field.as_str()) != Some(value)
    });
    Value::Object(changed.map(|(field, value)| (field.clone(), value.clone())).collect())
}

/// Writes the CNI configuration when the node's pod ranges are known. Whether it is new.
async fn write_cni(context: &Context, node: &Node) -> bool {
    let spec = node.spec.clone().unwrap_or_default();
    let texts = spec.pod_cidrs.filter(|list| !list.is_empty());
    let texts = texts.unwrap_or_else(|| spec.pod_cidr.into_iter().collect());
    let cidrs: Vec<IpNet> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    if cidrs.is_empty() || context.options.containerd_endpoint.is_some() {
        return false;
    }
    let paths = context.options.paths();
    let file = paths.cni_conf().join("10-kontiki.conflist");
    let text = cni_conflist(&cidrs, &paths.cni_data(), context.options.pod_mtu);
    if tokio::fs::read_to_string(&file).await.is_ok_and(|old| old == text) {
        return false;
    }
    let next = paths.cni_conf().join(".10-kontiki.conflist.next");
    let written = async {
        tokio::fs::create_dir_all(paths.cni_conf()).await?;
        tokio::fs::write(&next, text).await?;
        tokio::fs::rename(&next, &file).await
    };
    let written = written.await;
    match &written {
        Ok(()) => tracing::info!(?cidrs, "configured the pod network"),
        Err(error) => tracing::warn!("cannot write {}: {error}", file.display()),
    }
    written.is_ok()
}
