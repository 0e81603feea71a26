//! What a Deployment's status says of its ReplicaSets.

use std::time::Duration;

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kontiki_api::Object;

use super::{
    budget::Budget,
    progress,
    revisions::{REVISION, Revisions},
};
use crate::action::{Action, Context};

/// A condition before it is dated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub type_: &'static str,
    pub status: &'static str,
    pub reason: String,
    pub message: String,
}

/// Writes the status, and with it the revision annotation: that is how it stands there without
/// raising the generation.
pub(super) fn plan(
    deployment: &Deployment,
    budget: &Budget,
    revisions: &Revisions<'_>,
    context: Context<'_>,
) -> (Option<Action>, Option<Duration>) {
    let old = deployment.status.clone().unwrap_or_default();
    let mut status = count(deployment, &old, revisions);
    if revisions.collision {
        status.collision_count = Some(old.collision_count.unwrap_or(0) + 1);
    }
    let conditions = status.conditions.get_or_insert_default();
    set(conditions, availability(budget, status.available_replicas.unwrap_or(0)), context);
    replica_failure(conditions, revisions, context);
    let recheck = progress::update(deployment, budget, revisions, &old, &mut status, context);
    status.conditions = status.conditions.take().filter(|all| !all.is_empty());
    let mut updated = deployment.clone();
    updated.status = Some(status);
    if let Some(new) = revisions.new.as_ref().filter(|_| !deployment.is_deleting()) {
        let annotations = updated.metadata.annotations.get_or_insert_default();
        annotations.insert(REVISION.to_owned(), new.revision().to_string());
    }
    (Action::update_status_and_annotations(deployment, &updated), recheck)
}

fn count(
    deployment: &Deployment,
    old: &DeploymentStatus,
    revisions: &Revisions<'_>,
) -> DeploymentStatus {
    let statuses = || revisions.all().filter_map(|revision| revision.edited.status.as_ref());
    let replicas: i32 = statuses().map(|status| status.replicas).sum();
    let available: i32 = statuses().filter_map(|status| status.available_replicas).sum();
    let updated = revisions.new.as_ref().map_or(0, |new| new.pods());
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: Some(replicas),
        updated_replicas: Some(updated),
        ready_replicas: Some(statuses().filter_map(|status| status.ready_replicas).sum()),
        available_replicas: Some(available),
        unavailable_replicas: Some((replicas - available).max(0)),
        terminating_replicas: Some(statuses().filter_map(|s| s.terminating_replicas).sum()),
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
    }
}

fn availability(budget: &Budget, available: i32) -> Condition {
    let enough = available >= budget.min_available();
    let (status, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    Condition { type_: "Available", status, reason: reason.to_owned(), message: message.to_owned() }
}

/// A ReplicaSet that cannot create pods makes the Deployment say so.
fn replica_failure(
    conditions: &mut Vec<DeploymentCondition>,
    revisions: &Revisions<'_>,
    context: Context<'_>,
) {
    let failure = revisions.new.iter().chain(&revisions.old).find_map(|revision| {
        let conditions = revision.edited.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure").cloned()
    });
    match failure {
        None => conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
        Some(failure) => set(
            conditions,
            Condition {
                type_: "ReplicaFailure",
                status: if failure.status == "True" { "True" } else { "False" },
                reason: failure.reason.unwrap_or_default(),
                message: failure.message.unwrap_or_default(),
            },
            context,
        ),
    }
}

/// Sets a condition, unless one with the same status and reason is there already.
pub(super) fn set(
    conditions: &mut Vec<DeploymentCondition>,
    wanted: Condition,
    context: Context<'_>,
) {
    let known = conditions.iter().position(|condition| condition.type_ == wanted.type_);
    let known = known.map(|index| conditions.remove(index));
    if let Some(known) = &known
        && known.status == wanted.status
        && known.reason.as_deref() == Some(wanted.reason.as_str())
    {
        conditions.push(known.clone());
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        return;
    }
    conditions.push(dated(wanted, known.as_ref(), context));
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
}

/// A condition with its times; the transition's is kept while the status is.
pub(super) fn dated(
    wanted: Condition,
    known: Option<&DeploymentCondition>,
    context: Context<'_>,
) -> DeploymentCondition {
    let since = known
        .filter(|known| known.status == wanted.status)
        .and_then(|known| known.last_transition_time.clone());
    DeploymentCondition {
        type_: wanted.type_.to_owned(),
        status: wanted.status.to_owned(),
        reason: Some(wanted.reason),
        message: Some(wanted.message),
        last_update_time: Some(Time(context.now)),
        last_transition_time: since.or(Some(Time(context.now))),
    }
}

/// Whether the rollout has ended, by the status as observed.
pub(super) fn is_complete(deployment: &Deployment, budget: &Budget) -> bool {
    deployment.status.as_ref().is_some_and(|status| completes(deployment, budget, status))
}

/// Whether a status says that all replicas are new and available, and no old one is left.
pub(super) fn completes(
    deployment: &Deployment,
    budget: &Budget,
    status: &DeploymentStatus,
) -> bool {
    let is_all = |count: Option<i32>| count.unwrap_or(0) == budget.replicas;
    is_all(status.updated_replicas)
        && is_all(status.replicas)
        && is_all(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}
