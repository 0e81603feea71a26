//! Init containers: one after the other, each to its good end; sidecars among them are started in
//! their place in the order and then run for as long as the pod.

use k8s_openapi::api::core::v1::Container;

use super::{Observed, PodPlan, containers};
use crate::pod::{
    observed::{ContainerStatus, SandboxStatus},
    spec::{PodExt, ProbeKind, is_sidecar},
};

/// Plans the init containers. Whether the pod's containers may be looked at.
pub(super) fn plan(observed: Observed<'_>, sandbox: &SandboxStatus, plan: &mut PodPlan) -> bool {
    let Observed { pod, runtime, .. } = observed;
    // Once a container of the pod was made in this sandbox, the init containers were through; they
    // may have been collected since.
    let was_through = pod
        .pod_spec()
        .containers
        .iter()
        .any(|container| runtime.latest_in(&sandbox.id, &container.name).is_some());
    for container in pod.init_containers() {
        let latest = runtime.latest_in(&sandbox.id, &container.name);
        let done = if is_sidecar(container) {
            containers::keep_running(observed, container, latest, plan);
            was_through
                || (is_started(observed, container, latest)
                    && !containers::is_in_its_hook(observed, container, plan))
        } else {
            was_through || run_to_its_end(observed, container, latest, plan)
        };
        if !done {
            return false;
        }
    }
    true
}

/// A sidecar lets the next one start once it has itself started.
fn is_started(
    observed: Observed<'_>,
    container: &Container,
    latest: Option<&ContainerStatus>,
) -> bool {
    let Some(latest) = latest.filter(|latest| latest.is_running()) else { return false };
    container.startup_probe.is_none()
        || observed.memory.verdict(&latest.id, ProbeKind::Startup) == Some(true)
}

fn run_to_its_end(
    observed: Observed<'_>,
    container: &Container,
    latest: Option<&ContainerStatus>,
    plan: &mut PodPlan,
) -> bool {
    match latest {
        Some(latest) if latest.succeeded() => true,
        Some(latest) if latest.is_running() => false,
        latest => {
            containers::start(observed, container, latest, plan);
            false
        }
    }
}
