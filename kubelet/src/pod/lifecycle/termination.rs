//! The end of a pod: why, and in which order.
//!
//! Containers stop together, each with the pod's grace period; sidecars after them, in reverse
//! order, with what is left of it. Then the sandbox, then, if the object goes too, all the rest.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kontiki_api::Object;

use super::{KillReason, Observed, PodPlan, Step};
use crate::pod::{
    observed::{ContainerStatus, PodRuntimeStatus},
    spec::{PodExt, RestartPolicy, is_sidecar},
};

/// What remains of a used-up grace period.
const MINIMUM_GRACE: Duration = Duration::from_secs(2);
/// A pod whose object is gone gets at least this.
const REMOVED_GRACE: Duration = Duration::from_secs(1);

/// Why a pod ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its object was deleted, gracefully.
    Deleted,
    /// Its object is gone.
    Removed,
    /// All its containers ended and none may start again.
    Finished,
    /// It was active longer than it may be.
    DeadlineExceeded,
}

impl Ending {
    /// Whether nothing of the pod may stay on this node.
    pub fn is_departure(self) -> bool {
        matches!(self, Ending::Deleted | Ending::Removed)
    }
}

/// Whether and why a pod ends.
pub fn ending(observed: Observed<'_>) -> Option<Ending> {
    let Observed { pod, runtime, memory, now } = observed;
    if memory.removed {
        Some(Ending::Removed)
    } else if pod.is_deleting() {
        Some(Ending::Deleted)
    } else if matches!(pod.phase(), "Succeeded" | "Failed") {
        Some(Ending::Finished)
    } else if deadline(pod).is_some_and(|deadline| deadline <= now) {
        Some(Ending::DeadlineExceeded)
    } else if has_finished(pod, runtime) {
        // Whatever is under way: the stop of its sandbox may be, before its phase is known.
        Some(Ending::Finished)
    } else {
        None
    }
}

/// When the pod's time is over.
pub(super) fn deadline(pod: &Pod) -> Option<Timestamp> {
    let seconds = pod.pod_spec().active_deadline_seconds?;
    let started = pod.status.as_ref()?.start_time.as_ref()?.0;
    started.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
}

/// Whether no container of the pod will ever run again.
fn has_finished(pod: &Pod, runtime: &PodRuntimeStatus) -> bool {
    if pod.restart_policy() == RestartPolicy::Always {
        return false;
    }
    if init_failed(pod, runtime) {
        return true;
    }
    let never_again = |name: &str| {
        let Some(last) = runtime.latest(name) else { return false };
        last.is_exited() && (last.succeeded() || pod.restart_policy() == RestartPolicy::Never)
    };
    let containers = &pod.pod_spec().containers;
    !containers.is_empty() && containers.iter().all(|container| never_again(&container.name))
}

/// Whether an init container failed for good.
fn init_failed(pod: &Pod, runtime: &PodRuntimeStatus) -> bool {
    pod.restart_policy() == RestartPolicy::Never
        && pod.init_containers().iter().filter(|init| !is_sidecar(init)).any(|init| {
            runtime.latest(&init.name).is_some_and(|last| last.is_exited() && !last.succeeded())
        })
}

pub(super) fn plan(observed: Observed<'_>, ending: Ending, plan: &mut PodPlan) {
    let Observed { pod, runtime, memory, now } = observed;
    plan.ending = Some(ending);
    if memory.torn_down {
        plan.stopped = true;
        plan.gone = true;
        return;
    }
    let grace = grace(pod, ending);
    let (sidecars, mains): (Vec<&ContainerStatus>, Vec<&ContainerStatus>) =
        runtime.alive().partition(|c| pod.container(&c.name).is_some_and(|c| is_sidecar(&c)));
    if !mains.is_empty() {
        plan.steps.extend(mains.into_iter().map(|container| kill(container, grace)));
        return;
    }
    if let Some(last) = last_declared(pod, &sidecars) {
        let spent = memory.stopping_since.map_or(Duration::ZERO, |since| elapsed(since, now));
        plan.steps.push(kill(last, grace.saturating_sub(spent).max(MINIMUM_GRACE.min(grace))));
        return;
    }
    // A container that is just being started must come to life before it can be stopped.
    if !memory.in_flight.is_empty() {
        return;
    }
    plan.stopped = true;
    if ending.is_departure() {
        plan.start(memory, Step::TearDown);
        return;
    }
    for sandbox in runtime.sandboxes.iter().filter(|sandbox| sandbox.ready) {
        plan.start(memory, Step::StopSandbox { id: sandbox.id.clone() });
    }
}

fn grace(pod: &Pod, ending: Ending) -> Duration {
    if ending == Ending::Removed { pod.grace().max(REMOVED_GRACE) } else { pod.grace() }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

fn kill(container: &ContainerStatus, grace: Duration) -> Step {
    Step::Kill {
        id: container.id.clone(),
        name: container.name.clone(),
        grace,
        reason: KillReason::PodEnds,
    }
}

fn last_declared<'a>(pod: &Pod, alive: &[&'a ContainerStatus]) -> Option<&'a ContainerStatus> {
    let order = |container: &ContainerStatus| {
        pod.init_containers().iter().position(|init| init.name == container.name)
    };
    alive.iter().copied().max_by_key(|container| order(container))
}
