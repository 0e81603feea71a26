//! Dead containers: the one before the newest is kept, for `kubectl logs --previous`; older ones
//! go, and sandboxes with nothing left in them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Observed, PodPlan, Step};

/// Containers kept per name, the newest included.
const KEPT: usize = 2;

pub(super) fn plan(observed: Observed<'_>, plan: &mut PodPlan) {
    let runtime = observed.runtime;
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kept_sandboxes: BTreeSet<&str> = BTreeSet::new();
    let mut containers = Vec::new();
    for container in &runtime.containers {
        let nth = seen.entry(&container.name).or_default();
        *nth += 1;
        if *nth > KEPT && container.is_exited() {
            containers.push(container.id.clone());
        } else {
            kept_sandboxes.insert(&container.sandbox_id);
        }
    }
    let sandboxes: Vec<String> = runtime
        .sandboxes
        .iter()
        .skip(1)
        .filter(|sandbox| !sandbox.ready && !kept_sandboxes.contains(sandbox.id.as_str()))
        .map(|sandbox| sandbox.id.clone())
        .collect();
    if !containers.is_empty() || !sandboxes.is_empty() {
        plan.start(observed.memory, Step::Collect { containers, sandboxes });
    }
}
