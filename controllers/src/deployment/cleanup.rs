//! Old ReplicaSets beyond revisionHistoryLimit.

use k8s_openapi::api::apps::v1::Deployment;
use kontiki_api::Object;

use super::revisions::{Revision, Revisions};
use crate::action::{Action, Plan, Target};

const DEFAULT_LIMIT: usize = 10;

/// Deletes the oldest of those that have no pods left.
pub(super) fn plan(deployment: &Deployment, revisions: &Revisions<'_>, plan: &mut Plan) {
    let limit = deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
    let limit = limit.map_or(DEFAULT_LIMIT, |limit| usize::try_from(limit).unwrap_or(0));
    let mut old: Vec<&Revision<'_>> =
        revisions.old.iter().filter(|old| !old.edited.is_deleting()).collect();
    let surplus = old.len().saturating_sub(limit);
    old.sort_by_key(|old| old.revision());
    let deletions = old
        .into_iter()
        .take(surplus)
        .filter_map(|old| old.observed)
        .filter(|rs| is_idle(rs))
        .map(|rs| Action::delete(Target::of(rs)));
    plan.then(deletions);
}

fn is_idle(rs: &k8s_openapi::api::apps::v1::ReplicaSet) -> bool {
    let wanted = rs.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = rs.status.as_ref();
    let pods = status.map_or(0, |status| status.replicas);
    let observed = status.and_then(|status| status.observed_generation).unwrap_or(0);
    wanted == 0 && pods == 0 && rs.metadata.generation.unwrap_or(0) <= observed
}
