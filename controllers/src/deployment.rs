//! Deployments: a ReplicaSet per template, and replicas moved between them within a budget.
//!
//! One plan looks at the Deployment and all its ReplicaSets, edits copies of them
//! ([`revisions::Revision`]), and writes what differs. How replicas move is the strategy's
//! ([`rolling`], [`recreate`]); a paused Deployment and one whose size changed only
//! [`scale`].
//!
//! Invariants of every plan: the ReplicaSets' sizes never sum up to more than
//! `replicas + maxSurge`, unless they did before; and no available pod is taken away while fewer
//! than `replicas - maxUnavailable + 1` are available.

mod budget;
mod cleanup;
mod hash;
mod progress;
mod recreate;
mod revisions;
mod rolling;
mod scale;
mod status;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kontiki_api::Object;

use self::{budget::Budget, revisions::Revisions};
use crate::{
    action::{Action, Context, Note, Plan, controller_reference},
    controller::{Controller, Keys},
    pods, selector,
    world::{Change, Key, Kind, World},
};

/// The controller of Deployments.
pub(crate) struct DeploymentController;

impl Controller for DeploymentController {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn queue_name(&self) -> &'static str {
        "deployment"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::Deployment(delta) => keys.extend(delta.sides().map(Key::of)),
            Change::ReplicaSet(delta) => {
                for rs in delta.sides() {
                    keys.extend(interested(world, rs));
                }
            }
            // Only Recreate looks at pods: it waits for the old ones to be gone.
            Change::Pod(delta) => {
                let pod = delta.latest();
                let owner = pod.and_then(|pod| pods::controller_of(&pod.metadata));
                let rs = owner.and_then(|owner| world.graph.by_uid(&owner.uid));
                let rs = rs.filter(|entry| entry.kind == Kind::ReplicaSet);
                if let Some(rs) = rs.and_then(|entry| world.replica_sets.get(&entry.key)) {
                    keys.extend(interested(world, rs).into_iter().filter(|key| {
                        world.deployments.get(key).is_some_and(|d| budget::is_recreate(d))
                    }));
                }
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.deployments.keys().cloned());
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        plan(world, key, context)
    }
}

/// The Deployments that a ReplicaSet's change concerns.
fn interested(world: &World, rs: &ReplicaSet) -> Vec<Key> {
    if let Some(owner) = pods::controller_of(&rs.metadata) {
        let own = owner.kind == "Deployment";
        return own.then(|| Key::new(rs.namespace(), owner.name.as_str())).into_iter().collect();
    }
    world
        .deployments
        .in_namespace(rs.namespace())
        .filter(|deployment| selects(deployment, rs))
        .map(|deployment| Key::of(&**deployment))
        .collect()
}

fn selects(deployment: &Deployment, rs: &ReplicaSet) -> bool {
    deployment.spec.as_ref().is_some_and(|spec| {
        !selector::is_empty(&spec.selector)
            && selector::matches(&spec.selector, rs.metadata.labels.as_ref())
    })
}

/// Decides what one Deployment needs next.
pub(crate) fn plan(world: &World, key: &Key, context: Context<'_>) -> Plan {
    let Some(deployment) = world.deployments.get(key) else {
        return Plan::nothing("it is gone");
    };
    let Some(spec) = deployment.spec.as_ref() else { return Plan::nothing("it has no spec") };
    if selector::is_empty(&spec.selector) {
        return selects_all(deployment);
    }
    let mut plan = Plan::default();
    let owned = claim(world, deployment, &mut plan);
    if !plan.is_idle() {
        // What is ours has to be settled before anything is counted.
        return plan;
    }
    let budget = Budget::of(deployment);
    let mut revisions = Revisions::classify(deployment, &owned);
    if !deployment.is_deleting() {
        roll(world, deployment, &budget, &mut revisions, context, &mut plan);
    }
    let (actions, recheck) = status::plan(deployment, &budget, &revisions, context);
    plan.then(actions);
    if let Some(delay) = recheck {
        plan.recheck(delay);
    }
    plan
}

/// Moves replicas as the strategy wants it.
fn roll(
    world: &World,
    deployment: &Deployment,
    budget: &Budget,
    revisions: &mut Revisions<'_>,
    context: Context<'_>,
    plan: &mut Plan,
) {
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
    revisions.sync_revision();
    if paused || scale::is_scaling(budget, revisions) {
        scale::plan(budget, revisions);
        if paused {
            cleanup::plan(deployment, revisions, plan);
            plan.because("it is paused");
        }
    } else {
        let may_create = !budget.recreate || recreate::old_pods_are_gone(world, revisions);
        if may_create {
            let key = |name: &str| Key::new(deployment.namespace(), name);
            let taken = |name: &str| world.replica_sets.contains(&key(name));
            revisions.ensure_new(budget, taken, context.now);
        }
        if budget.recreate {
            recreate::plan(world, budget, revisions, plan);
        } else {
            rolling::plan(budget, revisions, plan);
        }
        if status::is_complete(deployment, budget) {
            cleanup::plan(deployment, revisions, plan);
        }
    }
    let writes = revisions.writes(deployment);
    plan.then(writes);
}

/// The Deployment's ReplicaSets; orphans that match are adopted, strangers released.
fn claim<'a>(world: &'a World, deployment: &'a Deployment, plan: &mut Plan) -> Vec<&'a ReplicaSet> {
    let mut owned = Vec::new();
    let mut actions = Vec::new();
    for rs in world.replica_sets.in_namespace(deployment.namespace()) {
        let ours = pods::is_controlled_by(&rs.metadata, deployment.uid());
        let free = pods::controller_of(&rs.metadata).is_none();
        match (ours, free, selects(deployment, rs)) {
            (true, _, true) => owned.push(&**rs),
            (true, _, false) if !deployment.is_deleting() => {
                let mut released = (**rs).clone();
                let owners = released.metadata.owner_references.get_or_insert_default();
                owners.retain(|owner| owner.uid != deployment.uid());
                actions.extend(Action::update(&**rs, &released));
            }
            (false, true, true) if !deployment.is_deleting() && !rs.is_deleting() => {
                let mut adopted = (**rs).clone();
                let owners = adopted.metadata.owner_references.get_or_insert_default();
                owners.push(controller_reference(deployment));
                actions.extend(Action::update(&**rs, &adopted));
                plan.because(format!("ReplicaSet {} is being adopted", rs.name()));
            }
            _ => {}
        }
    }
    plan.then(actions);
    owned
}

fn selects_all(deployment: &Deployment) -> Plan {
    let mut plan = Plan::nothing("its selector is empty");
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    if observed < deployment.metadata.generation {
        let message = "This deployment is selecting all pods. A non-empty selector is required.";
        plan.notes.push(Note::warning(deployment, "SelectingAll", message));
        let mut updated = deployment.clone();
        updated.status.get_or_insert_default().observed_generation = deployment.metadata.generation;
        plan.then(Action::update_status(deployment, &updated));
    }
    plan
}

#[cfg(test)]
mod tests;
