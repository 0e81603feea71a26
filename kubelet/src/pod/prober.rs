//! Which probes of a pod run: those of its running containers, the others only after the startup
//! probe has passed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kontiki_base::CancellationToken;

use crate::{
    node::context::Context,
    pod::{
        inbox::Inbox,
        memory::PodMemory,
        observed::{ContainerStatus, PodRuntimeStatus},
        spec::{PodExt, ProbeKind},
    },
    probes::ProbeTask,
};

/// The running probes of one pod. Dropped, they stop.
pub struct Probers {
    context: Arc<Context>,
    inbox: Arc<Inbox>,
    running: BTreeMap<(String, ProbeKind), CancellationToken>,
}

impl Probers {
    /// None yet.
    pub fn new(context: Arc<Context>, inbox: Arc<Inbox>) -> Probers {
        Probers { context, inbox, running: BTreeMap::new() }
    }

    /// Starts and stops probes so that the right ones run. While a pod ends, only readiness is
    /// asked.
    pub fn follow(
        &mut self,
        pod: &Arc<Pod>,
        runtime: &PodRuntimeStatus,
        memory: &PodMemory,
        ends: bool,
    ) {
        let wanted = |id: &str, kind: ProbeKind| {
            let container = runtime.containers.iter().find(|c| c.id == id && c.is_running());
            let Some(spec) = container.and_then(|c| pod.container(&c.name)) else { return false };
            let has_started = spec.startup_probe.is_none()
                || memory.verdict(id, ProbeKind::Startup) == Some(true);
            let its_turn = if kind == ProbeKind::Startup { !has_started } else { has_started };
            kind.of(&spec).is_some() && its_turn && (!ends || kind == ProbeKind::Readiness)
        };
        self.running.retain(|(id, kind), token| {
            let keep = wanted(id, *kind);
            if !keep {
                token.cancel();
            }
            keep
        });
        let addresses = if pod.is_host_network() {
            &self.context.options.node_addresses
        } else {
            runtime.ready_sandbox().map_or(&self.context.options.node_addresses, |s| &s.addresses)
        };
        let Some(address) = addresses.first().copied() else { return };
        for container in runtime.containers.iter().filter(|container| container.is_running()) {
            for kind in ProbeKind::ALL {
                if wanted(&container.id, kind) {
                    let known = memory.verdict(&container.id, kind);
                    self.start(pod, container, kind, known, address);
                }
            }
        }
    }

    fn start(
        &mut self,
        pod: &Arc<Pod>,
        container: &ContainerStatus,
        kind: ProbeKind,
        known: Option<bool>,
        address: std::net::IpAddr,
    ) {
        let key = (container.id.clone(), kind);
        if self.running.contains_key(&key) {
            return;
        }
        let age = container.started_at.map_or(Duration::ZERO, |started| {
            Duration::try_from(Timestamp::now().duration_since(started)).unwrap_or_default()
        });
        let token = CancellationToken::new();
        let task = ProbeTask {
            context: self.context.clone(),
            pod: pod.clone(),
            container: container.name.clone(),
            container_id: container.id.clone(),
            kind,
            address,
            age,
            known,
            inbox: self.inbox.clone(),
        };
        task.spawn(token.clone());
        self.running.insert(key, token);
    }
}

impl Drop for Probers {
    fn drop(&mut self) {
        for token in self.running.values() {
            token.cancel();
        }
    }
}
