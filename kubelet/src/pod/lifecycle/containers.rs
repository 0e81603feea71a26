//! The pod's containers: start, restart after a back-off, stop when a probe says so.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::{KillReason, Observed, PodPlan, Start, Step};
use crate::pod::{
    memory::{Failure, Operation},
    observed::{ContainerState, ContainerStatus, SandboxStatus},
    spec::{PodExt, ProbeKind, RestartPolicy, seconds_or_zero},
};

pub(super) fn plan(observed: Observed<'_>, sandbox: &SandboxStatus, plan: &mut PodPlan) {
    let mut held_back = false;
    for container in &observed.pod.pod_spec().containers {
        let latest = observed.runtime.latest_in(&sandbox.id, &container.name);
        // What ended for good in an earlier sandbox stays so.
        let latest = latest.or_else(|| {
            let policy = observed.pod.container_restart_policy(container);
            observed
                .runtime
                .latest(&container.name)
                .filter(|last| last.is_exited() && policy != RestartPolicy::Always)
        });
        if !held_back || latest.is_some_and(ContainerStatus::is_running) {
            keep_running(observed, container, latest, plan);
        }
        held_back |= is_in_its_hook(observed, container, plan);
    }
}

/// Whether a container with a post-start hook is being started. Until the hook has ended, nothing
/// that is declared later starts, which pods count on: a proxy lets the application wait for it so.
pub(super) fn is_in_its_hook(
    observed: Observed<'_>,
    container: &Container,
    plan: &PodPlan,
) -> bool {
    let starts = Operation::Start(container.name.clone());
    container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some())
        && (observed.memory.is_in_flight(&starts)
            || plan.steps.iter().any(|step| step.operation() == starts))
}

/// Plans a container that should run: an ended one by its restart policy.
pub(super) fn keep_running(
    observed: Observed<'_>,
    container: &Container,
    latest: Option<&ContainerStatus>,
    plan: &mut PodPlan,
) {
    match latest {
        Some(latest) if latest.is_running() => {
            kill_if_probes_say_so(observed, container, latest, plan)
        }
        Some(latest) if latest.is_exited() => {
            let again = match observed.pod.container_restart_policy(container) {
                RestartPolicy::Always => true,
                RestartPolicy::OnFailure => !latest.succeeded(),
                RestartPolicy::Never => false,
            };
            if again {
                start(observed, container, Some(latest), plan);
            }
        }
        latest => start(observed, container, latest, plan),
    }
}

fn kill_if_probes_say_so(
    observed: Observed<'_>,
    container: &Container,
    latest: &ContainerStatus,
    plan: &mut PodPlan,
) {
    let failed = |kind| observed.memory.verdict(&latest.id, kind) == Some(false);
    let (kind, reason) = if failed(ProbeKind::Liveness) {
        (ProbeKind::Liveness, KillReason::Liveness)
    } else if failed(ProbeKind::Startup) {
        (ProbeKind::Startup, KillReason::Startup)
    } else {
        return;
    };
    let own = kind.of(container).and_then(|probe| probe.termination_grace_period_seconds);
    let grace: Duration = own.map_or_else(|| observed.pod.grace(), seconds_or_zero);
    let kill = Step::Kill { id: latest.id.clone(), name: container.name.clone(), grace, reason };
    plan.start(observed.memory, kill);
}

/// Starts a container, the first time or again, as soon as back-offs allow.
pub(super) fn start(
    observed: Observed<'_>,
    container: &Container,
    latest: Option<&ContainerStatus>,
    plan: &mut PodPlan,
) {
    let Observed { pod, runtime, memory, now } = observed;
    let name = &container.name;
    if memory.is_in_flight(&Operation::Start(name.clone())) {
        return;
    }
    if let Some(failure) = memory.failures.get(name)
        && plan.waits_for(failure, now)
    {
        let (reason, message) = shown(failure, container, observed);
        plan.wait(name, reason, message);
        return;
    }
    if let Some(ended) = latest.filter(|latest| latest.is_exited())
        && let Some(backoff) = memory.backoffs.get(name)
    {
        let until = backoff.waits_until(ended.finished_at.unwrap_or(ended.created_at));
        if until > now {
            let message = format!(
                "back-off {} restarting failed container={name} pod={}",
                go_duration(backoff.delay),
                pod.log_name()
            );
            plan.wait(name, "CrashLoopBackOff", message);
            plan.recheck(Some(until));
            return;
        }
    }
    let (attempt, replaces) = match runtime.latest(name) {
        None => (0, None),
        // A half-made one: its number was never used.
        Some(made) if made.state == ContainerState::Created => {
            (made.attempt, Some(made.id.clone()))
        }
        Some(last) => (last.attempt + 1, None),
    };
    let start = Start { name: name.clone(), attempt, replaces, target: None };
    plan.start(memory, Step::Start(start));
}

/// A failure as `kubectl` shows it: a pull that failed a moment ago as such, then as its back-off.
fn shown(
    failure: &Failure,
    container: &Container,
    observed: Observed<'_>,
) -> (&'static str, String) {
    if failure.reason == "ErrImagePull" && failure.stale_at() <= observed.now {
        let image = container.image.as_deref().unwrap_or_default();
        let message =
            format!("Back-off pulling image {image:?}: {}: {}", failure.reason, failure.message);
        return ("ImagePullBackOff", message);
    }
    (failure.reason, failure.message.clone())
}

/// `1m20s`, as Go prints durations.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}
