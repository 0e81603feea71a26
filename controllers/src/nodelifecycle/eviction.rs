//! Taint eviction: pods leave a node whose NoExecute taints they do not, or no longer, tolerate.
//!
//! The time counts from the taint's (or from when it was first seen, if it does not say), or from the
//! pod's binding if that is later; so it survives a change of leader.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, PodCondition, Taint, Toleration},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kontiki_api::{Object, slim::Pod};

use crate::{
    action::{Action, Context, Count, Note, Plan, Target},
    controller::{Controller, Keys},
    pods,
    world::{Change, Key, World},
};

/// The controller that evicts pods from tainted nodes.
pub(crate) struct TaintEvictionController;

impl Controller for TaintEvictionController {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn queue_name(&self) -> &'static str {
        "noexec_taint_pod"
    }

    fn workers(&self) -> usize {
        8
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::Pod(delta) => {
                let on_tainted = delta.new.filter(|pod| {
                    let node = node_of(world, pod);
                    node.is_some_and(|node| no_execute(node).next().is_some())
                });
                keys.extend(on_tainted.map(Key::of));
            }
            Change::Node(delta) => {
                let taints = |node: &Node| no_execute(node).cloned().collect::<Vec<Taint>>();
                let (old, new) = (delta.old.map(taints), delta.new.map(taints));
                if old.unwrap_or_default() != new.unwrap_or_default()
                    && let Some(node) = delta.new
                {
                    keys.extend(on_node(world, node.name()).map(Key::of));
                }
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        for node in world.nodes.iter().filter(|node| no_execute(node).next().is_some()) {
            keys.extend(on_node(world, node.name()).map(Key::of));
        }
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        plan(world, key, context)
    }
}

fn on_node<'a>(world: &'a World, node: &'a str) -> impl Iterator<Item = &'a Pod> {
    world.pods.iter().map(|pod| &**pod).filter(move |pod| pods::node_name(pod) == Some(node))
}

fn node_of<'a>(world: &'a World, pod: &Pod) -> Option<&'a Node> {
    world.nodes.get(&Key::new("", pods::node_name(pod)?)).map(|node| &**node)
}

fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().filter(|taint| taint.effect == "NoExecute")
}

/// Decides whether one pod must leave its node.
pub(super) fn plan(world: &World, key: &Key, context: Context<'_>) -> Plan {
    let Some(pod) = world.pods.get(key) else { return Plan::nothing("it is gone") };
    if pod.is_deleting() {
        return Plan::nothing("it is being deleted");
    }
    let Some(node) = node_of(world, pod) else { return Plan::nothing("it has no node") };
    match deadline(world, pod, node) {
        None => Plan::nothing("it tolerates its node's taints"),
        Some(deadline) => match Duration::try_from(deadline.duration_since(context.now)) {
            Ok(rest) if !rest.is_zero() => {
                let mut plan = Plan::nothing("it tolerates its node's taints for a while");
                plan.recheck(rest);
                plan
            }
            _ => evict(pod, context),
        },
    }
}

/// When the pod must leave; `None` if it may stay.
fn deadline(world: &World, pod: &Pod, node: &Node) -> Option<Timestamp> {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
    let tolerations = tolerations.unwrap_or_default();
    let bound_at = bound_at(pod);
    let leaves = |taint: &Taint| {
        let tainted = world.taints.since(node.name(), taint);
        leave_at(taint, tolerations, tainted.map_or(bound_at, |since| since.max(bound_at)))
    };
    no_execute(node).filter_map(leaves).min()
}

/// When a pod must leave because of one taint that it is exposed to since then.
fn leave_at(taint: &Taint, tolerations: &[Toleration], since: Timestamp) -> Option<Timestamp> {
    // As upstream: the first that matches counts; without a limit the pod stays.
    let matching = tolerations.iter().find(|toleration| tolerates(toleration, taint));
    let Some(toleration) = matching else { return Some(since) };
    let seconds = toleration.toleration_seconds?;
    since.checked_add(jiff::SignedDuration::from_secs(seconds.max(0))).ok()
}

/// Whether a toleration matches a taint.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "Equal" | "" => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

fn bound_at(pod: &Pod) -> Timestamp {
    let scheduled = pods::condition(pod, "PodScheduled")
        .filter(|condition| condition.status == "True")
        .and_then(|condition| condition.last_transition_time.as_ref());
    let created = pod.metadata.creation_timestamp.as_ref();
    scheduled.or(created).map(|time| time.0).unwrap_or_default()
}

fn evict(pod: &Pod, context: Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut marked = pod.clone();
    let conditions = marked.status.get_or_insert_default().conditions.get_or_insert_default();
    if !conditions.iter().any(|known| known.type_ == "DisruptionTarget" && known.status == "True") {
        conditions.retain(|known| known.type_ != "DisruptionTarget");
        conditions.push(PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some("DeletionByTaintManager".to_owned()),
            message: Some("Taint manager: deleting due to NoExecute taint".to_owned()),
            last_transition_time: Some(Time(context.now)),
            ..PodCondition::default()
        });
    }
    plan.then(Action::update_status(pod, &marked));
    let message = format!("Marking for deletion Pod {}", Key::of(pod));
    let note = Note::normal(pod, "TaintManagerEviction", message);
    let delete = Action::delete(Target::of(pod).any_version());
    plan.then([delete.note(note).counted(Count::TaintEviction)]);
    plan
}
