//! Whose pod is it: adoption of pods that match and belong to nobody, release of ours that stopped
//! matching.

use k8s_openapi::api::apps::v1::ReplicaSet;
use kontiki_api::{Object, slim::Pod};

use crate::{
    action::{Action, controller_reference},
    pods, selector,
    world::{Kind, World},
};

/// The pods of a ReplicaSet, and what makes them so.
pub(super) struct Claimed<'a> {
    /// Pods that count as replicas.
    pub active: Vec<&'a Pod>,
    /// Pods on their way out.
    pub terminating: usize,
    /// Adoptions and releases.
    pub actions: Vec<Action>,
}

/// Whether a ReplicaSet selects a pod.
pub(super) fn selects(rs: &ReplicaSet, pod: &Pod) -> bool {
    rs.spec.as_ref().is_some_and(|spec| {
        !selector::is_empty(&spec.selector)
            && selector::matches(&spec.selector, pod.metadata.labels.as_ref())
    })
}

/// Decides which pods are the ReplicaSet's.
pub(super) fn plan<'a>(world: &'a World, rs: &'a ReplicaSet) -> Claimed<'a> {
    let mut claimed = Claimed { active: Vec::new(), terminating: 0, actions: Vec::new() };
    for pod in world.owned::<Pod>(rs.uid()) {
        if !pods::is_controlled_by(&pod.metadata, rs.uid()) {
            continue;
        }
        if selects(rs, pod) {
            if pods::is_active(pod) {
                claimed.active.push(pod);
            } else if !pods::is_terminal(pod) {
                claimed.terminating += 1;
            }
        } else if !rs.is_deleting() && pods::is_active(pod) {
            claimed.actions.extend(release(rs, pod));
        }
    }
    if rs.is_deleting() {
        return claimed;
    }
    for key in world.graph.uncontrolled(Kind::Pod, rs.namespace()) {
        let Some(pod) = world.pods.get(key) else { continue };
        if pods::is_active(pod) && selects(rs, pod) {
            claimed.actions.extend(adopt(rs, pod));
            claimed.active.push(pod);
        }
    }
    claimed
}

fn adopt(rs: &ReplicaSet, pod: &Pod) -> Option<Action> {
    let mut adopted = pod.clone();
    adopted.metadata.owner_references.get_or_insert_default().push(controller_reference(rs));
    Action::update(pod, &adopted)
}

fn release(rs: &ReplicaSet, pod: &Pod) -> Option<Action> {
    let mut released = pod.clone();
    let owners = released.metadata.owner_references.get_or_insert_default();
    owners.retain(|owner| owner.uid != rs.uid());
    Action::update(pod, &released)
}
