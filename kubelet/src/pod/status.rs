//! What to report of a pod: phase, conditions, container statuses, as upstream computes them.
//! Pure.

mod conditions;
mod containers;
mod phase;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use containers::Role;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{HostIP, Pod, PodIP, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::{
    pod::{
        lifecycle::{Ending, PodPlan},
        memory::PodMemory,
        observed::PodRuntimeStatus,
        spec::{PodExt, as_container},
    },
    resources::qos_class,
};

/// Conditions that the kubelet owns; it writes no others.
pub const OWNED_CONDITIONS: [&str; 5] = conditions::OWNED;

/// Everything a status is made from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The pod as last seen.
    pub pod: &'a Pod,
    /// What was reported last, which may be newer than what `pod` carries.
    pub reported: &'a PodStatus,
    /// What the runtime has of it.
    pub runtime: &'a PodRuntimeStatus,
    /// What its worker remembers.
    pub memory: &'a PodMemory,
    /// The plan made from the same facts.
    pub plan: &'a PodPlan,
    /// The node's addresses.
    pub node_addresses: &'a [IpAddr],
    /// The time.
    pub now: Timestamp,
}

/// The status to report.
pub fn status(facts: Facts<'_>) -> PodStatus {
    let Facts { pod, reported, runtime, plan, node_addresses, now, .. } = facts;
    let container_statuses = containers::statuses(facts, &pod.pod_spec().containers, Role::Main);
    let init_container_statuses = containers::statuses(facts, pod.init_containers(), Role::Init);
    let ephemeral: Vec<_> = pod.ephemeral_containers().iter().map(as_container).collect();
    let ephemeral_container_statuses = containers::statuses(facts, &ephemeral, Role::Ephemeral);
    let mut phase = phase::phase(facts, &container_statuses, &init_container_statuses);
    if matches!(reported.phase.as_deref(), Some("Succeeded" | "Failed")) {
        phase = reported.phase.clone().unwrap_or_default();
    }
    let (mut reason, mut message) = (None, None);
    if plan.ending == Some(Ending::DeadlineExceeded) || is_deadline(reported) {
        "Failed".clone_into(&mut phase);
        reason = Some("DeadlineExceeded".to_owned());
        message = Some("Pod was active on the node longer than the specified deadline".to_owned());
    }
    let pod_addresses = if pod.is_host_network() {
        if runtime.sandboxes.is_empty() { &[] } else { node_addresses }
    } else {
        runtime.ready_sandbox().map_or(&[][..], |sandbox| &sandbox.addresses)
    };
    // An ended pod keeps the address it had.
    let pod_ips = if pod_addresses.is_empty() && !plan.gone && has_ended(&phase, plan) {
        reported.pod_ips.clone()
    } else {
        Some(pod_addresses.iter().map(|ip| PodIP { ip: ip.to_string() }).collect::<Vec<_>>())
    }
    .filter(|ips| !ips.is_empty());
    let conditions = conditions::conditions(
        facts,
        &phase,
        container_statuses.as_slice(),
        init_container_statuses.as_slice(),
    );
    PodStatus {
        phase: Some(phase),
        conditions: Some(conditions),
        message,
        reason,
        host_ip: node_addresses.first().map(IpAddr::to_string),
        host_ips: Some(node_addresses.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()),
        pod_ip: pod_ips.as_ref().and_then(|ips| ips.first()).map(|ip| ip.ip.clone()),
        pod_ips,
        start_time: reported.start_time.clone().or(Some(Time(now))),
        container_statuses: some(container_statuses),
        init_container_statuses: some(init_container_statuses),
        ephemeral_container_statuses: some(ephemeral_container_statuses),
        qos_class: Some(reported.qos_class.clone().unwrap_or_else(|| qos_class(pod).to_owned())),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

fn has_ended(phase: &str, plan: &PodPlan) -> bool {
    plan.ending.is_some() || matches!(phase, "Succeeded" | "Failed")
}

fn is_deadline(reported: &PodStatus) -> bool {
    reported.reason.as_deref() == Some("DeadlineExceeded")
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
