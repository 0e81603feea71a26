//! Rolling updates: move replicas from old ReplicaSets to the new one within the budget.

use super::{
    budget::Budget,
    revisions::{Revision, Revisions},
};
use crate::action::Plan;

/// Moves as many replicas as the budget allows now.
pub(super) fn plan(budget: &Budget, revisions: &mut Revisions<'_>, plan: &mut Plan) {
    let total = revisions.total();
    let Some(new) = &mut revisions.new else {
        plan.because("the new ReplicaSet's name is taken");
        return;
    };
    grow_new(new, total, budget);
    shrink_old(budget, revisions);
    if let Some(new) = &revisions.new {
        let (available, wanted) = (new.available(), new.replicas());
        if available < wanted {
            plan.because(format!("{} has {available} of {wanted} replicas available", new.name()));
        }
    }
}

fn grow_new(new: &mut Revision<'_>, total: i32, budget: &Budget) {
    let size = new.replicas();
    if size > budget.replicas {
        new.resize(budget.replicas, budget);
    } else if size < budget.replicas && total < budget.max_total() {
        let room = (budget.max_total() - total).min(budget.replicas - size);
        new.resize(size + room, budget);
    }
}

fn shrink_old(budget: &Budget, revisions: &mut Revisions<'_>) {
    let (new_size, new_available) =
        revisions.new.as_ref().map_or((0, 0), |new| (new.replicas(), new.available()));
    let total = revisions.total();
    let removable = total - budget.min_available() - (new_size - new_available);
    if removable <= 0 {
        return;
    }
    remove_unhealthy(budget, revisions, removable);
    remove_available(budget, revisions);
}

/// Old pods that are not available protect nothing: they go first.
fn remove_unhealthy(budget: &Budget, revisions: &mut Revisions<'_>, removable: i32) {
    let mut left = removable;
    for old in &mut revisions.old {
        let count = left.min(old.replicas() - old.available());
        if count > 0 {
            old.resize(old.replicas() - count, budget);
            left -= count;
        }
    }
}

/// Available pods beyond the fewest that must stay.
fn remove_available(budget: &Budget, revisions: &mut Revisions<'_>) {
    let available: i32 = revisions.all().map(Revision::available).sum();
    let mut left = available - budget.min_available();
    for old in &mut revisions.old {
        let count = left.min(old.replicas());
        if count > 0 {
            old.resize(old.replicas() - count, budget);
            left -= count;
        }
    }
}
