//! Asking the runtime what it has of one pod. What cannot change any more is asked for once.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use jiff::Timestamp;
use k8s_cri::v1 as cri;

use crate::{
    node::context::{Context, Owned},
    pod::{
        labels,
        observed::{ContainerState, ContainerStatus, PodRuntimeStatus, SandboxStatus, timestamp},
    },
    runtime::Error,
};

/// Upstream's limit of a termination message.
const MESSAGE_MAX: u64 = 4096;

/// What was asked before and still holds.
#[derive(Default)]
pub struct Observer {
    ended: BTreeMap<String, ContainerStatus>,
    addresses: BTreeMap<String, Vec<IpAddr>>,
}

impl Observer {
    /// What the runtime has of a pod now.
    pub async fn observe(
        &mut self,
        context: &Context,
        uid: &str,
    ) -> Result<PodRuntimeStatus, Error> {
        let runtime = &context.runtime;
        let (sandboxes, containers) =
            tokio::try_join!(runtime.sandboxes(Some(uid)), runtime.containers(Some(uid)))?;
        let mut status = PodRuntimeStatus::default();
        for sandbox in &sandboxes {
            status.sandboxes.push(self.sandbox(context, sandbox).await?);
        }
        self.ended.retain(|id, _| containers.iter().any(|container| &container.id == id));
        self.addresses.retain(|id, _| sandboxes.iter().any(|sandbox| &sandbox.id == id));
        for container in &containers {
            if let Some(ended) = self.ended.get(&container.id) {
                status.containers.push(ended.clone());
            } else if let Some(detail) = self.container(context, container).await? {
                status.containers.push(detail);
            }
        }
        let mut owners = context.owners.lock();
        for id in sandboxes.iter().map(|s| &s.id).chain(containers.iter().map(|c| &c.id)) {
            owners.entry(id.clone()).or_insert_with(|| Owned::by(uid));
        }
        status.sort();
        Ok(status)
    }

    async fn sandbox(
        &mut self,
        context: &Context,
        sandbox: &cri::PodSandbox,
    ) -> Result<SandboxStatus, Error> {
        let ready = sandbox.state() == cri::PodSandboxState::SandboxReady;
        let addresses = match self.addresses.get(&sandbox.id) {
            Some(addresses) => addresses.clone(),
            None if ready => {
                let detail = context.runtime.sandbox_status(&sandbox.id).await?;
                let network = detail.and_then(|detail| detail.network).unwrap_or_default();
                let more = network.additional_ips.iter().map(|ip| ip.ip.as_str());
                let all = std::iter::once(network.ip.as_str()).chain(more);
                let addresses: Vec<IpAddr> = all.filter_map(|ip| ip.parse().ok()).collect();
                self.addresses.insert(sandbox.id.clone(), addresses.clone());
                addresses
            }
            None => Vec::new(),
        };
        Ok(SandboxStatus {
            id: sandbox.id.clone(),
            attempt: sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
            created_at: timestamp(sandbox.created_at).unwrap_or_default(),
            ready,
            addresses,
        })
    }

    async fn container(
        &mut self,
        context: &Context,
        container: &cri::Container,
    ) -> Result<Option<ContainerStatus>, Error> {
        let Some(detail) = context.runtime.container_status(&container.id).await? else {
            return Ok(None);
        };
        let mut status = ContainerStatus::from_cri(&detail, &container.pod_sandbox_id);
        if status.state == ContainerState::Exited {
            if context.was_out_of_memory(&status.id) {
                status.was_out_of_memory();
            }
            let message = termination_message(&detail, status.exit_code).await;
            if !message.is_empty() {
                status.message = message;
            }
            if status.is_settled(Timestamp::now()) {
                self.ended.insert(status.id.clone(), status.clone());
            }
        }
        Ok(Some(status))
    }
}

/// What a container left as its last words: its file, or if it failed and the pod says so, the end
/// of its log.
async fn termination_message(detail: &cri::ContainerStatus, exit_code: i32) -> String {
    let path = detail.annotations.get(labels::TERMINATION_PATH);
    let file = detail.mounts.iter().find(|mount| Some(&mount.container_path) == path);
    let written = match file {
        Some(mount) => crate::logs::tail_of_file(Path::new(&mount.host_path), MESSAGE_MAX).await,
        None => String::new(),
    };
    let policy = detail.annotations.get(labels::TERMINATION_POLICY).map(String::as_str);
    if !written.is_empty() || exit_code == 0 || policy != Some("FallbackToLogsOnError") {
        return written;
    }
    crate::logs::tail_of_log(Path::new(&detail.log_path)).await
}
