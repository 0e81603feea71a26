//! The statuses of a pod's containers.

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
        ContainerStateWaiting, ContainerStatus as ApiStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::Facts;
use crate::pod::{
    lifecycle::{PodPlan, Step},
    memory::Operation,
    observed::{ContainerState, ContainerStatus},
    spec::{PodExt, ProbeKind, is_sidecar},
};

/// The prefix of container ids in the API.
const ID_PREFIX: &str = "containerd://";

/// What a container is for the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It comes before the others.
    Init,
    /// The pod is there for it.
    Main,
    /// Somebody put it in to look around.
    Ephemeral,
}

/// The statuses of `containers`, sorted as upstream sorts them: init containers as declared, the
/// others by name.
pub(super) fn statuses(facts: Facts<'_>, containers: &[Container], role: Role) -> Vec<ApiStatus> {
    let mut statuses: Vec<ApiStatus> =
        containers.iter().map(|container| one(facts, container, role)).collect();
    if role != Role::Init {
        statuses.sort_by(|a, b| a.name.cmp(&b.name));
    }
    statuses
}

fn one(facts: Facts<'_>, container: &Container, role: Role) -> ApiStatus {
    let latest = facts.runtime.latest(&container.name);
    let running = latest.filter(|latest| latest.is_running());
    let started = running.is_some_and(|running| is_started(facts, container, running));
    let ready = match role {
        Role::Init if !is_sidecar(container) => latest.is_some_and(ContainerStatus::succeeded),
        Role::Ephemeral => false,
        _ => started && running.is_some_and(|running| is_ready(facts, container, running)),
    };
    let (state, last_state) = states(facts, container, latest);
    let sidecar_or_main = role == Role::Main || is_sidecar(container);
    let spec_image = container.image.clone().unwrap_or_default();
    ApiStatus {
        name: container.name.clone(),
        image: latest.map(|l| l.image.clone()).filter(|i| !i.is_empty()).unwrap_or(spec_image),
        image_id: latest.map_or_else(String::new, |latest| latest.image_id.clone()),
        container_id: latest.map(|latest| format!("{ID_PREFIX}{}", latest.id)),
        ready,
        started: Some(started)
            .filter(|_| sidecar_or_main || (running.is_some() && role != Role::Ephemeral)),
        restart_count: latest.map_or(0, |latest| i32::try_from(latest.attempt).unwrap_or(i32::MAX)),
        state: Some(state),
        last_state,
        resources: container.resources.clone(),
        ..ApiStatus::default()
    }
}

fn is_started(facts: Facts<'_>, container: &Container, running: &ContainerStatus) -> bool {
    container.startup_probe.is_none()
        || facts.memory.verdict(&running.id, ProbeKind::Startup) == Some(true)
}

fn is_ready(facts: Facts<'_>, container: &Container, running: &ContainerStatus) -> bool {
    container.readiness_probe.is_none()
        || facts.memory.verdict(&running.id, ProbeKind::Readiness) == Some(true)
}

fn states(
    facts: Facts<'_>,
    container: &Container,
    latest: Option<&ContainerStatus>,
) -> (ApiState, Option<ApiState>) {
    let name = container.name.as_str();
    let previous = facts.runtime.previous(name).filter(|previous| previous.is_exited());
    let previous = previous.map(terminated);
    let Some(latest) = latest else {
        // A container that vanished from the runtime is still known from what was reported.
        return (waiting(facts, name), previous);
    };
    match latest.state {
        ContainerState::Running => (running(latest), previous),
        ContainerState::Created | ContainerState::Unknown => (waiting(facts, name), previous),
        ContainerState::Exited if starts_again(facts, name) => {
            (waiting(facts, name), Some(terminated(latest)))
        }
        ContainerState::Exited => (terminated(latest), previous),
    }
}

/// Whether an ended container waits for something before it starts again, or is being started.
fn starts_again(facts: Facts<'_>, name: &str) -> bool {
    let PodPlan { waiting, .. } = facts.plan;
    waiting.contains_key(name)
}

fn waiting(facts: Facts<'_>, name: &str) -> ApiState {
    let (reason, message) = match facts.plan.waiting.get(name) {
        Some(waiting) => (waiting.reason, Some(waiting.message.clone())),
        None => (default_reason(facts, name), None),
    };
    ApiState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: message.filter(|message| !message.is_empty()),
        }),
        ..ApiState::default()
    }
}

/// Containers wait for init containers; else for their making.
fn default_reason(facts: Facts<'_>, name: &str) -> &'static str {
    let is_starting = facts.memory.is_in_flight(&Operation::Start(name.to_owned()))
        || facts
            .plan
            .steps
            .iter()
            .any(|step| matches!(step, Step::Start(start) if start.name == name));
    if facts.pod.init_containers().is_empty() || is_starting {
        "ContainerCreating"
    } else {
        "PodInitializing"
    }
}

fn running(container: &ContainerStatus) -> ApiState {
    let started_at = container.started_at.map(Time);
    ApiState { running: Some(ContainerStateRunning { started_at }), ..ApiState::default() }
}

fn terminated(container: &ContainerStatus) -> ApiState {
    let reason = match (container.reason.as_str(), container.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (reason, _) => reason,
    };
    ApiState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(format!("{ID_PREFIX}{}", container.id)),
            exit_code: container.exit_code,
            reason: Some(reason.to_owned()),
            message: Some(container.message.clone()).filter(|message| !message.is_empty()),
            started_at: container.started_at.map(Time),
            finished_at: container.finished_at.map(Time),
            signal: None,
        }),
        ..ApiState::default()
    }
}
