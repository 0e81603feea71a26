//! The conditions of a pod. Those of other writers are left alone.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::Facts;
use crate::pod::{
    lifecycle::PodPlan,
    spec::{PodExt, is_sidecar},
};

/// Conditions that the kubelet owns; it writes no others.
pub(super) const OWNED: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// A condition's status, reason and message.
struct Verdict {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Verdict {
        Verdict { holds: true, reason: None, message: None }
    }

    fn no(reason: &'static str, message: Option<String>) -> Verdict {
        Verdict { holds: false, reason: Some(reason), message }
    }
}

pub(super) fn conditions(
    facts: Facts<'_>,
    phase: &str,
    containers: &[ContainerStatus],
    init: &[ContainerStatus],
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(facts, phase, containers, init);
    let ready = ready(facts, &containers_ready);
    let sandbox = facts.runtime.ready_sandbox();
    let has_network =
        sandbox.is_some_and(|s| facts.pod.is_host_network() || !s.addresses.is_empty());
    let sandbox = Verdict { holds: has_network, reason: None, message: None };
    let verdicts = [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(facts, phase, init)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Verdict::yes()),
    ];
    verdicts.into_iter().map(|(kind, verdict)| condition(facts, kind, verdict)).collect()
}

fn condition(facts: Facts<'_>, kind: &str, verdict: Verdict) -> PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let old = facts.reported.conditions.iter().flatten().find(|old| old.type_ == kind);
    let since =
        old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        last_transition_time: since.or(Some(Time(facts.now))),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        observed_generation: facts.pod.metadata.generation,
        ..PodCondition::default()
    }
}

fn containers_ready(
    facts: Facts<'_>,
    phase: &str,
    containers: &[ContainerStatus],
    init: &[ContainerStatus],
) -> Verdict {
    match phase {
        "Succeeded" => return Verdict::no("PodCompleted", None),
        "Failed" => return Verdict::no("PodFailed", None),
        _ => {}
    }
    let sidecars = facts.pod.init_containers().iter().zip(init).filter(|(c, _)| is_sidecar(c));
    let statuses: Vec<&ContainerStatus> =
        sidecars.map(|(_, status)| status).chain(containers).collect();
    let names = |wanted: &dyn Fn(&ContainerStatus) -> bool| -> Vec<&str> {
        statuses.iter().filter(|s| wanted(s)).map(|s| s.name.as_str()).collect()
    };
    let unready = names(&|status| !status.ready);
    if unready.is_empty() {
        return Verdict::yes();
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Verdict::no("ContainersNotReady", Some(message))
}

/// Ready is what the containers are, and what the pod's readiness gates say.
fn ready(facts: Facts<'_>, containers: &Verdict) -> Verdict {
    let gates = facts.pod.pod_spec().readiness_gates.iter().flatten();
    let closed: Vec<String> = gates
        .filter(|gate| {
            let conditions = facts.pod.status.as_ref().and_then(|s| s.conditions.as_ref());
            let condition =
                conditions.into_iter().flatten().find(|c| c.type_ == gate.condition_type);
            condition.is_none_or(|condition| condition.status != "True")
        })
        .map(|gate| {
            format!("the status of pod readiness gate {:?} is not \"True\"", gate.condition_type)
        })
        .collect();
    if containers.holds && !closed.is_empty() {
        return Verdict::no("ReadinessGatesNotReady", Some(closed.join(", ")));
    }
    Verdict {
        holds: containers.holds,
        reason: containers.reason,
        message: containers.message.clone(),
    }
}

fn initialized(facts: Facts<'_>, phase: &str, init: &[ContainerStatus]) -> Verdict {
    if phase == "Succeeded" {
        return Verdict { holds: true, reason: Some("PodCompleted"), message: None };
    }
    let PodPlan { stopped, .. } = facts.plan;
    let incomplete: Vec<&str> = facts
        .pod
        .init_containers()
        .iter()
        .zip(init)
        .filter(|(container, status)| {
            if is_sidecar(container) {
                !status.started.unwrap_or(false) && !stopped
            } else {
                !status.ready
            }
        })
        .map(|(_, status)| status.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return Verdict::yes();
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Verdict::no("ContainersNotInitialized", Some(message))
}
