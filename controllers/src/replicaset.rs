//! ReplicaSets: keep as many active pods as asked for.
//!
//! A pod that is being deleted or has ended does not count, so pods stuck on a dead node are
//! replaced. Pods that match the selector and belong to nobody are adopted; pods of ours that
//! stopped matching are released.

mod claim;
pub(crate) mod rank;
mod status;

use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kontiki_api::{Object, slim::Pod};

use crate::{
    action::{Action, Context, Note, Pace, Plan, Target, controller_reference},
    controller::{Controller, Keys},
    pods, selector,
    world::{Change, Key, Kind, World},
};

/// Pods created or deleted by one plan at most.
const BURST_REPLICAS: usize = 500;

/// The controller of ReplicaSets.
pub(crate) struct ReplicaSetController;

impl Controller for ReplicaSetController {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn queue_name(&self) -> &'static str {
        "replicaset"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::ReplicaSet(delta) => keys.extend(delta.sides().map(Key::of)),
            Change::Pod(delta) => {
                for pod in delta.sides() {
                    keys.extend(interested(world, pod));
                }
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.replica_sets.keys().cloned());
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        plan(world, key, context)
    }
}

/// The ReplicaSets that a pod's change concerns: its controller, or whoever may adopt it.
fn interested(world: &World, pod: &Pod) -> Vec<Key> {
    if let Some(owner) = pods::controller_of(&pod.metadata) {
        let own = owner.kind == "ReplicaSet";
        return own.then(|| Key::new(pod.namespace(), owner.name.as_str())).into_iter().collect();
    }
    world
        .replica_sets
        .in_namespace(pod.namespace())
        .filter(|rs| claim::selects(rs, pod))
        .map(|rs| Key::of(&**rs))
        .collect()
}

/// Decides what one ReplicaSet needs next.
pub(crate) fn plan(world: &World, key: &Key, context: Context<'_>) -> Plan {
    let Some(rs) = world.replica_sets.get(key) else { return Plan::nothing("it is gone") };
    let claimed = claim::plan(world, rs);
    let mut plan = Plan::default();
    let (status, recheck) = status::plan(rs, &claimed, context);
    plan.recheck_after = recheck;
    plan.then(status);
    plan.then(claimed.actions);
    if rs.is_deleting() {
        plan.because("it is being deleted");
        return plan;
    }
    let namespace = world.namespaces.get(&Key::new("", rs.namespace()));
    if namespace.is_some_and(|namespace| namespace.is_deleting()) {
        plan.because("its namespace is being deleted");
        return plan;
    }
    manage(world, rs, &claimed.active, context.now, &mut plan);
    plan
}

/// Creates or deletes pods towards the number asked for.
fn manage(world: &World, rs: &ReplicaSet, active: &[&Pod], now: Timestamp, plan: &mut Plan) {
    let wanted = wanted(rs);
    if active.len() < wanted {
        let missing = (wanted - active.len()).min(BURST_REPLICAS);
        let pod = new_pod(rs);
        let actions = (0..missing).map(|_| {
            Action::create(&pod)
                .note(Note::normal(rs, "SuccessfulCreate", "Created pod: {name}"))
                .note_failure(Note::warning(rs, "FailedCreate", "Error creating: {error}"))
        });
        plan.step(actions, Pace::SlowStart);
    } else if active.len() > wanted {
        let surplus = (active.len() - wanted).min(BURST_REPLICAS);
        let victims = rank::victims(active, &related_per_node(world, rs), surplus, now);
        let actions = victims.into_iter().map(|pod| {
            Action::delete(Target::of(pod).any_version())
                .note(Note::normal(rs, "SuccessfulDelete", "Deleted pod: {name}"))
                .note_failure(Note::warning(rs, "FailedDelete", "Error deleting: {error}"))
        });
        plan.step(actions, Pace::Together);
    }
}

pub(crate) fn wanted(rs: &ReplicaSet) -> usize {
    let replicas = rs.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or_default()
}

/// The pod that the template describes.
fn new_pod(rs: &ReplicaSet) -> v1::Pod {
    let template = rs.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    v1::Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", rs.name())),
            namespace: Some(rs.namespace().to_owned()),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![controller_reference(rs)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// How many active pods of this ReplicaSet and its siblings each node runs.
fn related_per_node<'a>(
    world: &'a World,
    rs: &'a ReplicaSet,
) -> std::collections::HashMap<&'a str, usize> {
    let siblings: Vec<&str> = match pods::controller_of(&rs.metadata) {
        Some(owner) => world
            .graph
            .dependents(&owner.uid)
            .filter(|entry| entry.kind == Kind::ReplicaSet)
            .map(|entry| entry.uid.as_str())
            .collect(),
        None => vec![rs.uid()],
    };
    let mut per_node = std::collections::HashMap::new();
    for uid in siblings {
        for pod in world.owned::<Pod>(uid).filter(|pod| pods::is_active(pod)) {
            if let Some(node) = pods::node_name(pod) {
                *per_node.entry(node).or_default() += 1;
            }
        }
    }
    per_node
}

/// Whether a ReplicaSet's labels requirement selects a pod; used by status too.
fn has_template_labels(rs: &ReplicaSet, pod: &Pod) -> bool {
    let labels = rs
        .spec
        .as_ref()
        .and_then(|spec| spec.template.as_ref())
        .and_then(|template| template.metadata.as_ref())
        .and_then(|metadata| metadata.labels.as_ref());
    labels.is_none_or(|labels| selector::matches_pairs(labels, pod.metadata.labels.as_ref()))
}

#[cfg(test)]
mod tests;
