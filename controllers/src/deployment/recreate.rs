//! Recreate: all old pods are gone before the first new one is created.

use kontiki_api::{Object, slim::Pod};

use super::{budget::Budget, revisions::Revisions};
use crate::{action::Plan, pods, world::World};

/// Takes the old ReplicaSets to zero, and then the new one to its size.
pub(super) fn plan(world: &World, budget: &Budget, revisions: &mut Revisions<'_>, plan: &mut Plan) {
    let active = revisions.old.iter().any(|old| old.replicas() > 0);
    for old in revisions.old.iter_mut().filter(|old| old.replicas() > 0) {
        old.resize(0, budget);
    }
    if active || !old_pods_are_gone(world, revisions) {
        plan.because("old pods are still running");
        return;
    }
    if let Some(new) = revisions.new.as_mut().filter(|new| new.replicas() != budget.replicas) {
        new.resize(budget.replicas, budget);
    }
}

/// Whether no pod of an old ReplicaSet can still be running, terminating ones included.
pub(super) fn old_pods_are_gone(world: &World, revisions: &Revisions<'_>) -> bool {
    revisions.old.iter().all(|old| {
        old.replicas() == 0
            && world.owned::<Pod>(old.edited.uid()).all(|pod| pods::is_terminal(pod))
    })
}
