//! Ephemeral containers: put into a running pod to look around. Each is started once, whatever the
//! init containers do, and what becomes of it concerns nobody: it does not start again, and the
//! pod's phase does not see it.

use super::{Observed, PodPlan, Step, containers};
use crate::pod::{
    observed::ContainerState,
    spec::{PodExt, as_container},
};

pub(super) fn plan(observed: Observed<'_>, plan: &mut PodPlan) {
    for ephemeral in observed.pod.ephemeral_containers() {
        let latest = observed.runtime.latest(&ephemeral.name);
        if latest.is_some_and(|latest| latest.state != ContainerState::Created) {
            continue;
        }
        let started = plan.steps.len();
        containers::start(observed, &as_container(ephemeral), latest, plan);
        let target = ephemeral.target_container_name.as_deref().filter(|name| !name.is_empty());
        let Some(target) = target else { continue };
        let target = observed.runtime.latest(target).filter(|target| target.is_running());
        for step in &mut plan.steps[started..] {
            if let Step::Start(start) = step {
                start.target = target.map(|target| target.id.clone());
            }
        }
    }
}
