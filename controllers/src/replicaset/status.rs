//! What a ReplicaSet's status says of its pods.

use std::time::Duration;

use k8s_openapi::{
    api::apps::v1::{ReplicaSet, ReplicaSetCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kontiki_api::slim::Pod;

use super::{claim::Claimed, has_template_labels, wanted};
use crate::{
    action::{Action, Context},
    pods::{self, Availability},
};

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Writes the status if it differs; says when a pod becomes available by time alone.
pub(super) fn plan(
    rs: &ReplicaSet,
    claimed: &Claimed<'_>,
    context: Context<'_>,
) -> (Option<Action>, Option<Duration>) {
    let min_ready = rs.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let availability: Vec<Availability> =
        claimed.active.iter().map(|pod| pods::availability(pod, min_ready, context.now)).collect();
    let recheck = availability
        .iter()
        .filter_map(|one| if let Availability::In(rest) = one { Some(*rest) } else { None })
        .min();
    let mut updated = rs.clone();
    let status = updated.status.get_or_insert_default();
    status.replicas = count(claimed.active.len());
    status.fully_labeled_replicas = Some(count(
        claimed.active.iter().filter(|pod: &&&Pod| has_template_labels(rs, pod)).count(),
    ));
    status.ready_replicas =
        Some(count(claimed.active.iter().filter(|pod| pods::is_ready(pod)).count()));
    status.available_replicas =
        Some(count(availability.iter().filter(|one| **one == Availability::Available).count()));
    status.terminating_replicas = Some(count(claimed.terminating));
    status.observed_generation = rs.metadata.generation;
    failure_condition(rs, claimed, context, status.conditions.get_or_insert_default());
    if status.conditions.as_ref().is_some_and(Vec::is_empty) {
        status.conditions = None;
    }
    (Action::update_status(rs, &updated), recheck)
}

fn failure_condition(
    rs: &ReplicaSet,
    claimed: &Claimed<'_>,
    context: Context<'_>,
    conditions: &mut Vec<ReplicaSetCondition>,
) {
    let short = claimed.active.len() < wanted(rs);
    let failure = context.last_failure.filter(|failure| failure.verb != "Patch");
    let Some(failure) = failure else {
        // Without a failed attempt in memory (a new leader has none) the condition falls only
        // once the number is right.
        if !short {
            conditions.retain(|condition| condition.type_ != REPLICA_FAILURE);
        }
        return;
    };
    let reason = if failure.verb == "Create" { "FailedCreate" } else { "FailedDelete" };
    let known = conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE);
    if known.is_some_and(|known| known.status == "True" && known.reason.as_deref() == Some(reason))
    {
        return;
    }
    conditions.retain(|condition| condition.type_ != REPLICA_FAILURE);
    conditions.push(ReplicaSetCondition {
        type_: REPLICA_FAILURE.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(failure.message.clone()),
        last_transition_time: Some(Time(context.now)),
    });
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
