//! The Progressing condition: what `kubectl rollout status` waits for.
//!
//! A rollout that makes no progress for progressDeadlineSeconds is declared stuck; nothing is
//! done about it but saying so.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use kontiki_api::Object;

use super::{
    budget::Budget,
    revisions::Revisions,
    status::{Condition, completes, dated, set},
};
use crate::action::Context;

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
/// A deadline of this many seconds means none.
const NO_DEADLINE: i32 = i32::MAX;

/// Brings the Progressing condition up to date; says when to look again though nothing changes.
pub(super) fn update(
    deployment: &Deployment,
    budget: &Budget,
    revisions: &Revisions<'_>,
    old: &DeploymentStatus,
    status: &mut DeploymentStatus,
    context: Context<'_>,
) -> Option<Duration> {
    let spec = deployment.spec.as_ref()?;
    let deadline = spec.progress_deadline_seconds.filter(|deadline| *deadline != NO_DEADLINE);
    let Some(deadline) = deadline else {
        status.conditions.get_or_insert_default().retain(|known| known.type_ != PROGRESSING);
        return None;
    };
    if deployment.is_deleting() {
        return None;
    }
    let current = find(old).cloned();
    let reason = current.as_ref().and_then(|known| known.reason.as_deref()).unwrap_or_default();
    let conditions = status.conditions.get_or_insert_default();
    match (spec.paused.unwrap_or(false), reason) {
        (true, PAUSED) => return None,
        (true, _) => {
            set(conditions, condition("Unknown", PAUSED, "Deployment is paused"), context);
            return None;
        }
        (false, PAUSED) => {
            let resumed = condition("Unknown", "DeploymentResumed", "Deployment is resumed");
            set(conditions, resumed, context);
            return Some(Duration::ZERO);
        }
        _ => {}
    }
    let name = revisions.new.as_ref().map(|new| new.name().to_owned());
    let verdict = judge(deployment, budget, revisions, old, status, current.as_ref(), context.now);
    let subject = match &name {
        Some(name) => format!("ReplicaSet {name:?}"),
        None => format!("Deployment {:?}", deployment.name()),
    };
    let conditions = status.conditions.get_or_insert_default();
    match verdict {
        Verdict::Unchanged => {}
        Verdict::Created => {
            let message = format!("Created new replica set {:?}", name.unwrap_or_default());
            set(conditions, condition("True", "NewReplicaSetCreated", message), context);
        }
        Verdict::Found => {
            let message = format!("Found new replica set {:?}", name.unwrap_or_default());
            set(conditions, condition("True", "FoundNewReplicaSet", message), context);
        }
        Verdict::Complete => {
            let message = format!("{subject} has successfully progressed.");
            set(conditions, condition("True", AVAILABLE, message), context);
        }
        Verdict::Progressing => {
            // Replaced even if equal: its update time is what the deadline counts from.
            let message = format!("{subject} is progressing.");
            conditions.retain(|known| known.type_ != PROGRESSING);
            let wanted = condition("True", "ReplicaSetUpdated", message);
            conditions.push(dated(wanted, current.as_ref(), context));
            conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        }
        Verdict::TimedOut => {
            let message = format!("{subject} has timed out progressing.");
            set(conditions, condition("False", TIMED_OUT, message), context);
        }
    }
    remaining(find(status)?, deadline, context.now)
}

enum Verdict {
    Unchanged,
    Created,
    Found,
    Complete,
    Progressing,
    TimedOut,
}

fn judge(
    deployment: &Deployment,
    budget: &Budget,
    revisions: &Revisions<'_>,
    old: &DeploymentStatus,
    status: &DeploymentStatus,
    current: Option<&DeploymentCondition>,
    now: Timestamp,
) -> Verdict {
    if revisions.new.as_ref().is_some_and(|new| new.observed.is_none()) {
        return Verdict::Created;
    }
    let reason = current.and_then(|known| known.reason.as_deref()).unwrap_or_default();
    let all_updated = status.replicas == status.updated_replicas;
    if reason == AVAILABLE && all_updated && names_new(revisions, current) {
        return Verdict::Unchanged;
    }
    if completes(deployment, budget, status) {
        return Verdict::Complete;
    }
    let Some(current) = current else {
        return if revisions.new.is_some() { Verdict::Found } else { Verdict::Unchanged };
    };
    if is_progressing(old, status) {
        return Verdict::Progressing;
    }
    // The verdict on an earlier ReplicaSet says nothing of this one, and would never time out.
    if reason == AVAILABLE {
        return if names_new(revisions, Some(current)) {
            Verdict::Unchanged
        } else {
            Verdict::Found
        };
    }
    let deadline = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds);
    if reason == TIMED_OUT || remaining(current, deadline.unwrap_or(NO_DEADLINE), now).is_none() {
        return Verdict::TimedOut;
    }
    Verdict::Unchanged
}

fn names_new(revisions: &Revisions<'_>, condition: Option<&DeploymentCondition>) -> bool {
    let message = condition.and_then(|known| known.message.as_deref()).unwrap_or_default();
    match &revisions.new {
        Some(new) => {
            !message.contains("ReplicaSet") || message.contains(&format!("{:?}", new.name()))
        }
        None => true,
    }
}

/// Whether the counts moved in the right direction.
fn is_progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let grew = |before: Option<i32>, after: Option<i32>| after.unwrap_or(0) > before.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| {
        status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0)
    };
    grew(old.updated_replicas, new.updated_replicas)
        || outdated(new) < outdated(old)
        || grew(old.ready_replicas, new.ready_replicas)
        || grew(old.available_replicas, new.available_replicas)
}

/// Time left of the deadline; `None` once it has passed, or none applies.
fn remaining(condition: &DeploymentCondition, deadline: i32, now: Timestamp) -> Option<Duration> {
    let reason = condition.reason.as_deref().unwrap_or_default();
    if matches!(reason, AVAILABLE | TIMED_OUT | PAUSED) {
        return None;
    }
    let from = condition.last_update_time.as_ref()?.0;
    let end = from.checked_add(SignedDuration::from_secs(i64::from(deadline))).ok()?;
    Duration::try_from(end.duration_since(now)).ok().filter(|rest| !rest.is_zero())
}

fn condition(status: &'static str, reason: &str, message: impl Into<String>) -> Condition {
    Condition { type_: PROGRESSING, status, reason: reason.to_owned(), message: message.into() }
}

fn find(status: &DeploymentStatus) -> Option<&DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == PROGRESSING)
}
