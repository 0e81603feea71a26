//! Node lifecycle: who is lost, and what follows from it.
//!
//! A node that gave no [sign of life](crate::world::Health) for the grace period is Unknown. Its
//! pods are marked not ready, so that their endpoints leave at once; it is tainted, first against
//! new pods, then, no faster than the [brake](zone) allows, against running ones. Another loop
//! ([`eviction`]) deletes pods from tainted nodes when their tolerations run out.
//!
//! The verdict is by this process's own clock, and never earlier than a full grace period after
//! it began to lead: while nobody led, no node could have been heard.

mod conditions;
mod eviction;
mod taints;
mod zone;

use std::time::Duration;

use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::Time};
use kontiki_api::{Object, slim::Pod};

pub(crate) use self::eviction::TaintEvictionController;
use crate::{
    Options,
    action::{Action, Context, Note, Pace, Plan},
    controller::{Controller, Keys},
    pods,
    world::{Change, Key, World},
};

/// The controller of nodes' health and taints.
pub(crate) struct NodeLifecycleController {
    options: Options,
}

impl NodeLifecycleController {
    pub(crate) fn new(options: &Options) -> NodeLifecycleController {
        NodeLifecycleController { options: options.clone() }
    }
}

impl Controller for NodeLifecycleController {
    fn name(&self) -> &'static str {
        "node-lifecycle-controller"
    }

    fn event_source(&self) -> &'static str {
        "node-controller"
    }

    fn queue_name(&self) -> &'static str {
        "node_lifecycle_controller"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::Node(delta) => keys.extend(delta.sides().map(Key::of)),
            // A pod that says it is ready on a node that is lost.
            Change::Pod(delta) => {
                let ready = delta.new.filter(|pod| pods::is_ready(pod));
                let key = ready.and_then(pods::node_name).map(|name| Key::new("", name));
                let lost = |key: &Key| {
                    let node = world.nodes.get(key);
                    node.is_some_and(|node| conditions::readiness(node) == Some("Unknown"))
                };
                keys.extend(key.filter(lost));
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.nodes.keys().cloned());
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        plan(&self.options, world, key, context)
    }
}

/// What is known of a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Heard of; silent for too long after this time.
    Alive(Duration),
    /// Silent for longer than the grace period.
    Lost,
}

fn life(options: &Options, world: &World, node: &Node, context: Context<'_>) -> Life {
    let grace = if conditions::readiness(node).is_none() {
        options.node_startup_grace_period
    } else {
        options.node_monitor_grace_period
    };
    let seen = world.health.last_seen(node.name()).unwrap_or(world.leading_since);
    let silent = pods::elapsed(seen.max(world.leading_since), context.now);
    match grace.checked_sub(silent) {
        Some(rest) if !rest.is_zero() => Life::Alive(rest),
        _ => Life::Lost,
    }
}

/// Decides what one node needs next.
pub(crate) fn plan(options: &Options, world: &World, key: &Key, context: Context<'_>) -> Plan {
    let Some(node) = world.nodes.get(key) else { return Plan::nothing("it is gone") };
    if node.is_deleting() {
        return Plan::nothing("it is being deleted");
    }
    let mut plan = Plan::default();
    let life = life(options, world, node, context);
    match life {
        Life::Alive(rest) => plan.recheck(rest),
        Life::Lost => {
            if let Some(updated) = conditions::unknown(node, context.now) {
                plan.then(Action::update_status(&**node, &updated).map(|action| {
                    let message = format!("Node {} status is now: NodeNotReady", node.name());
                    action.note(Note::normal(&**node, "NodeNotReady", message))
                }));
                // The taints follow from the conditions once those are written.
                silence_pods(options, world, node, context, &mut plan);
                return plan;
            }
        }
    }
    if conditions::readiness(node) != Some("True") {
        plan.recheck(options.node_monitor_period);
    }
    if conditions::readiness(node) == Some("Unknown") {
        silence_pods(options, world, node, context, &mut plan);
    }
    let brake = || brake(options, world, context);
    let taints = taints::plan(options, node, brake, context, &mut plan);
    plan.then(taints);
    plan
}

fn brake(options: &Options, world: &World, context: Context<'_>) -> zone::Brake {
    zone::Brake::observe(world, |node| {
        conditions::readiness(node) != Some("True")
            || life(options, world, node, context) == Life::Lost
    })
}

/// Marks the pods of a lost node not ready, so that their endpoints leave.
fn silence_pods(
    options: &Options,
    world: &World,
    node: &Node,
    context: Context<'_>,
    plan: &mut Plan,
) {
    if world.nodes.len() > 1 && brake(options, world, context).all_lost() {
        plan.because("all nodes are lost at once: more likely it is us");
        return;
    }
    let actions = world
        .pods
        .iter()
        .filter(|pod| pods::node_name(pod) == Some(node.name()) && pods::is_ready(pod))
        .filter_map(|pod| not_ready(pod, context));
    let actions: Vec<Action> = actions.collect();
    plan.step(actions, Pace::Together);
}

fn not_ready(pod: &Pod, context: Context<'_>) -> Option<Action> {
    let mut updated = pod.clone();
    let conditions = updated.status.as_mut()?.conditions.as_mut()?;
    let ready = conditions.iter_mut().find(|condition| condition.type_ == "Ready")?;
    ready.status = "False".to_owned();
    ready.last_transition_time = Some(Time(context.now));
    let note = Note::warning(pod, "NodeNotReady", "Node is not ready");
    Action::update_status(pod, &updated).map(|action| action.note(note))
}

#[cfg(test)]
mod tests;
