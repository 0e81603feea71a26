//! Pod garbage collection: pods that no kubelet will ever clean up.
//!
//! Pods of nodes whose Node object is gone, pods that were deleted before they had a node, pods
//! stuck on nodes declared out of service, and ended pods beyond a threshold.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::{Node, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kontiki_api::{Object, slim::Pod};

use crate::{
    Options,
    action::{Action, Context, Count, Pace, Plan, Target},
    controller::{Controller, Keys},
    pods,
    world::{Change, Key, Kind, World},
};

/// Why pods of nodes that are gone go.
const ORPHANED: &str = "orphaned";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// The collector of abandoned pods.
pub(crate) struct PodGarbageCollector {
    options: Options,
}

impl PodGarbageCollector {
    pub(crate) fn new(options: &Options) -> PodGarbageCollector {
        PodGarbageCollector { options: options.clone() }
    }
}

/// The key under which ended pods are counted; no pod has an empty namespace.
fn ended_pods() -> Key {
    Key::new("", "terminated")
}

impl Controller for PodGarbageCollector {
    fn name(&self) -> &'static str {
        "pod-garbage-collector-controller"
    }

    fn queue_name(&self) -> &'static str {
        "gc"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::Pod(delta) => {
                let Some(pod) = delta.new else { return };
                if pods::is_terminal(pod) {
                    keys.insert(ended_pods());
                }
                if concerns(world, pod) {
                    keys.insert(Key::of(pod));
                }
            }
            Change::Node(delta) => {
                let gone = delta.new.is_none();
                let stopped = delta.new.is_some_and(is_out_of_service);
                let name = delta.latest().map(Object::name).unwrap_or_default();
                if gone || stopped {
                    let on_node =
                        world.pods.iter().filter(|pod| pods::node_name(pod) == Some(name));
                    keys.extend(on_node.map(|pod| Key::of(&**pod)));
                }
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.insert(ended_pods());
        keys.extend(world.pods.iter().filter(|pod| concerns(world, pod)).map(|p| Key::of(&**p)));
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        if *key == ended_pods() {
            return trim_ended(&self.options, world);
        }
        plan(&self.options, world, key, context)
    }
}

fn node_of<'a>(world: &'a World, pod: &Pod) -> Option<&'a Node> {
    world.nodes.get(&Key::new("", pods::node_name(pod)?)).map(|node| &**node)
}

/// Whether a pod may have nobody to look after it.
fn concerns(world: &World, pod: &Pod) -> bool {
    match node_of(world, pod) {
        None => pods::node_name(pod).is_some() || pod.is_deleting(),
        Some(node) => pod.is_deleting() && is_out_of_service(node),
    }
}

fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().any(|taint| taint.key == OUT_OF_SERVICE)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Decides what becomes of one pod.
pub(crate) fn plan(options: &Options, world: &World, key: &Key, context: Context<'_>) -> Plan {
    let Some(pod) = world.pods.get(key) else { return Plan::nothing("it is gone") };
    let Some(name) = pods::node_name(pod) else {
        return if pod.is_deleting() {
            force(pod, "unscheduled", context)
        } else {
            Plan::nothing("it has no node yet")
        };
    };
    if let Some(node) = node_of(world, pod) {
        let abandoned = pod.is_deleting() && is_out_of_service(node) && !is_ready(node);
        return if abandoned {
            force(pod, "out-of-service", context)
        } else {
            Plan::nothing("it has a node")
        };
    }
    let bound: u64 =
        pod.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
    if world.passed(Kind::Node) < bound {
        let awaits = vec![(Kind::Node, bound)];
        return Plan { awaits, ..Plan::nothing("its node may not have been seen yet") };
    }
    let since = world.health.missing_since(name).unwrap_or(world.leading_since);
    let missing = pods::elapsed(since.max(world.leading_since), context.now);
    match options.orphaned_pod_quarantine.checked_sub(missing) {
        Some(rest) if !rest.is_zero() => wait(rest),
        _ => force(pod, ORPHANED, context),
    }
}

fn wait(rest: Duration) -> Plan {
    let mut plan = Plan::nothing("its node may come back");
    plan.recheck(rest);
    plan
}

/// Deletes a pod at once, after saying that it has failed.
fn force(pod: &Pod, reason: &'static str, context: Context<'_>) -> Plan {
    let mut plan = Plan::default();
    if !pods::is_terminal(pod) {
        let mut failed = pod.clone();
        let status = failed.status.get_or_insert_default();
        status.phase = Some("Failed".to_owned());
        if reason == ORPHANED {
            let conditions = status.conditions.get_or_insert_default();
            conditions.retain(|known| known.type_ != "DisruptionTarget");
            conditions.push(PodCondition {
                type_: "DisruptionTarget".to_owned(),
                status: "True".to_owned(),
                reason: Some("DeletionByPodGC".to_owned()),
                message: Some("PodGC: node no longer exists".to_owned()),
                last_transition_time: Some(Time(context.now)),
                ..PodCondition::default()
            });
        }
        plan.then(Action::update_status(pod, &failed));
    }
    plan.then([delete_now(pod, reason)]);
    plan
}

/// Deletes the oldest ended pods beyond the threshold.
fn trim_ended(options: &Options, world: &World) -> Plan {
    if options.terminated_pod_gc_threshold == 0 {
        return Plan::nothing("ended pods are kept");
    }
    let ended = world.pods.iter().filter(|pod| pods::is_terminal(pod) && !pod.is_deleting());
    let mut by_age: BTreeMap<_, &Pod> = BTreeMap::new();
    for pod in ended {
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        by_age.insert((created, Key::of(&**pod)), pod);
    }
    let surplus = by_age.len().saturating_sub(options.terminated_pod_gc_threshold);
    let mut plan = Plan::default();
    let oldest = by_age.into_values().take(surplus);
    plan.step(oldest.map(|pod| delete_now(pod, "terminated")), Pace::Together);
    plan
}

fn delete_now(pod: &Pod, reason: &'static str) -> Action {
    let namespace = pod.namespace().to_owned();
    Action::delete_now(Target::of(pod).any_version())
        .counted(Count::PodForceDeletion { namespace, reason })
}

#[cfg(test)]
mod tests;
