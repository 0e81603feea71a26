//! The phase of a pod, from its containers.

use k8s_openapi::api::core::v1::{Container, ContainerStatus};

use super::Facts;
use crate::pod::spec::{PodExt, RestartPolicy, is_sidecar};

#[derive(Default)]
struct Counts {
    unknown: usize,
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

pub(super) fn phase(
    facts: Facts<'_>,
    containers: &[ContainerStatus],
    init: &[ContainerStatus],
) -> String {
    let pod = facts.pod;
    // What was stopped on purpose is done, whatever the restart policy says.
    let ends = facts.plan.ending.is_some() && facts.plan.stopped;
    let (pending_init, failed_init) = init_progress(pod.init_containers(), init);
    if failed_init && pod.restart_policy() == RestartPolicy::Never {
        return "Failed".to_owned();
    }
    let counts = count(containers);
    let phase = if (pending_init && !ends) || counts.waiting > 0 {
        "Pending"
    } else if counts.running > 0 && counts.unknown == 0 {
        "Running"
    } else if counts.running == 0 && counts.stopped > 0 && counts.unknown == 0 {
        match pod.restart_policy() {
            _ if ends && counts.stopped != counts.succeeded => "Failed",
            RestartPolicy::Always if !ends => "Running",
            _ if counts.stopped == counts.succeeded => "Succeeded",
            RestartPolicy::Never => "Failed",
            RestartPolicy::OnFailure | RestartPolicy::Always => "Running",
        }
    } else {
        "Pending"
    };
    phase.to_owned()
}

fn count(containers: &[ContainerStatus]) -> Counts {
    let mut counts = Counts::default();
    for status in containers {
        let Some(state) = &status.state else {
            counts.unknown += 1;
            continue;
        };
        if state.running.is_some() {
            counts.running += 1;
        } else if let Some(terminated) = &state.terminated {
            counts.stopped += 1;
            counts.succeeded += usize::from(terminated.exit_code == 0);
        } else if status.last_state.as_ref().is_some_and(|last| last.terminated.is_some()) {
            counts.stopped += 1;
        } else {
            counts.waiting += 1;
        }
    }
    counts
}

/// Whether an init container has still to come to its end, and whether one failed.
fn init_progress(containers: &[Container], statuses: &[ContainerStatus]) -> (bool, bool) {
    let (mut pending, mut failed) = (false, false);
    for (container, status) in containers.iter().zip(statuses) {
        let state = status.state.as_ref();
        let terminated = state.and_then(|state| state.terminated.as_ref());
        if is_sidecar(container) {
            pending |= !status.started.unwrap_or(false)
                && terminated.is_none()
                && status.last_state.is_none();
            continue;
        }
        match terminated {
            Some(terminated) if terminated.exit_code == 0 => {}
            Some(_) => failed = true,
            None => {
                let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
                failed |= last.is_some_and(|last| last.exit_code != 0);
                pending = true;
            }
        }
    }
    (pending || failed, failed)
}
