//! No sandbox, or a broken one: stop what ran in it, make the next.

use super::{KillReason, Observed, PodPlan, Step};
use crate::pod::spec::PodExt;

pub(super) fn plan(observed: Observed<'_>, plan: &mut PodPlan) {
    let Observed { pod, runtime, memory, now } = observed;
    let stranded: Vec<Step> = runtime
        .alive()
        .map(|container| Step::Kill {
            id: container.id.clone(),
            name: container.name.clone(),
            grace: pod.grace(),
            reason: KillReason::SandboxChanged,
        })
        .collect();
    if !stranded.is_empty() {
        plan.steps.extend(stranded);
        return;
    }
    if let Some(failure) = &memory.sandbox_failure
        && plan.waits_for(failure, now)
    {
        return;
    }
    let attempt = runtime.sandboxes.iter().map(|sandbox| sandbox.attempt + 1).max().unwrap_or(0);
    plan.start(memory, Step::CreateSandbox { attempt });
}
