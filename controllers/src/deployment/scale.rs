//! Scaling without rolling: the Deployment's size changed, or it is paused.
//!
//! In the middle of a rollout all ReplicaSets grow and shrink in proportion to their sizes, so
//! that a bad new version does not get all of the new pods.

use std::cmp::Reverse;

use super::{
    budget::Budget,
    revisions::{DESIRED_REPLICAS, MAX_REPLICAS, Revision, Revisions},
};

/// Whether the Deployment's size changed since its ReplicaSets were sized.
pub(super) fn is_scaling(budget: &Budget, revisions: &Revisions<'_>) -> bool {
    revisions
        .all()
        .filter(|revision| revision.replicas() > 0)
        .filter_map(|revision| revision.annotation(DESIRED_REPLICAS))
        .any(|desired| desired != budget.replicas)
}

/// Sizes the ReplicaSets for the Deployment's size.
pub(super) fn plan(budget: &Budget, revisions: &mut Revisions<'_>) {
    if let Some(only) = active_or_latest(revisions) {
        only.resize(budget.replicas, budget);
        return;
    }
    if revisions.new.as_ref().is_some_and(|new| is_saturated(new, budget)) {
        for old in revisions.old.iter_mut().filter(|old| old.replicas() > 0) {
            old.resize(0, budget);
        }
        return;
    }
    if !budget.recreate {
        proportionally(budget, revisions);
    }
}

/// The one ReplicaSet that has pods, or if none has, the latest.
fn active_or_latest<'r, 'a>(revisions: &'r mut Revisions<'a>) -> Option<&'r mut Revision<'a>> {
    let mut active = revisions.old.iter_mut().chain(&mut revisions.new);
    let count = active.by_ref().filter(|revision| revision.replicas() > 0).count();
    match count {
        0 => match &mut revisions.new {
            Some(new) => Some(new),
            None => revisions.old.last_mut(),
        },
        1 => revisions
            .old
            .iter_mut()
            .chain(&mut revisions.new)
            .find(|revision| revision.replicas() > 0),
        _ => None,
    }
}

fn is_saturated(new: &Revision<'_>, budget: &Budget) -> bool {
    new.annotation(DESIRED_REPLICAS) == Some(budget.replicas)
        && new.replicas() == budget.replicas
        && new.available() == budget.replicas
}

fn proportionally(budget: &Budget, revisions: &mut Revisions<'_>) {
    let deployment_pods: i32 = revisions.all().map(Revision::pods).sum();
    let allowed = if budget.replicas > 0 { budget.max_total() } else { 0 };
    let mut active: Vec<&mut Revision<'_>> = revisions
        .old
        .iter_mut()
        .chain(&mut revisions.new)
        .filter(|revision| revision.replicas() > 0)
        .collect();
    let to_add = allowed - active.iter().map(|revision| revision.replicas()).sum::<i32>();
    // The largest first; among equals the newer grows first and the older shrinks first.
    active.sort_by_key(|revision| (Reverse(revision.replicas()), revision.created()));
    if to_add > 0 {
        active.sort_by_key(|revision| (Reverse(revision.replicas()), Reverse(revision.created())));
    }
    let mut sizes = Vec::with_capacity(active.len());
    let mut added = 0;
    for revision in &active {
        let share = proportion(revision, budget, to_add, added, deployment_pods);
        added += share;
        sizes.push(revision.replicas() + share);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (revision, size) in active.into_iter().zip(sizes) {
        revision.resize(size, budget);
    }
}

fn proportion(
    revision: &Revision<'_>,
    budget: &Budget,
    to_add: i32,
    added: i32,
    deployment_pods: i32,
) -> i32 {
    if to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(revision, budget, deployment_pods);
    let rest = to_add - added;
    if to_add > 0 { fraction.min(rest) } else { fraction.max(rest) }
}

/// The change of one ReplicaSet's size that keeps its share of the whole.
fn fraction(revision: &Revision<'_>, budget: &Budget, deployment_pods: i32) -> i32 {
    if budget.replicas == 0 {
        return -revision.replicas();
    }
    let before =
        revision.annotation(MAX_REPLICAS).filter(|max| *max > 0).unwrap_or(deployment_pods);
    if before == 0 {
        return 0;
    }
    let scaled = i64::from(revision.replicas()) * i64::from(budget.max_total());
    let rounded = (2 * scaled + i64::from(before)) / (2 * i64::from(before));
    i32::try_from(rounded).unwrap_or(i32::MAX) - revision.replicas()
}
