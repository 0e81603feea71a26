//! PodDisruptionBudgets: how many of the pods they are about may be disturbed now.
//!
//! What is wanted follows from the scale of whatever controls the pods; what is there is counted.
//! Evictions write into the status which pods they are about to delete: those count as gone until
//! they are, or until it is clear that nobody deletes them. Where the scale cannot be told, nothing
//! may be disturbed.
//!
//! A pod that was told of its disruption and then not disturbed is told so, too: the condition
//! `DisruptionTarget` turns false after a while.

mod scale;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::PodCondition, apimachinery::pkg::apis::meta::v1::Time};
use kontiki_api::{Object, slim::Pod, typed};
use serde_json::{Map, Value, json};

use crate::{
    action::{Action, Context, Note, Plan},
    controller::{Controller, Keys},
    pods, selector,
    world::{Change, Delta, Key, PodDisruptionBudget, World},
};

/// How long a granted eviction may take to delete its pod.
const DELETION_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a pod is said to be disturbed although nothing happens to it.
const STALE_AFTER: Duration = Duration::from_secs(120);
const DISRUPTION_TARGET: &str = "DisruptionTarget";
/// Before the names of pods among the keys; no budget's name has a slash.
const POD: &str = "pod/";

/// The controller of PodDisruptionBudgets.
pub(crate) struct DisruptionController;

impl Controller for DisruptionController {
    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn queue_name(&self) -> &'static str {
        "disruption"
    }

    fn event_source(&self) -> &'static str {
        "controllermanager"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::PodDisruptionBudget(delta) => keys.extend(delta.new.map(Key::of)),
            Change::Pod(delta) => {
                if counts_otherwise(delta) {
                    for pod in delta.sides() {
                        keys.extend(guards(world, pod).map(Key::of));
                    }
                }
                keys.extend(delta.new.filter(|pod| is_stale_in(pod).is_some()).map(pod_key));
            }
            Change::Deployment(delta) => {
                wake_scaled(world, delta, |one| one.spec.as_ref()?.replicas.map(i64::from), keys);
            }
            Change::ReplicaSet(delta) => {
                wake_scaled(world, delta, |one| one.spec.as_ref()?.replicas.map(i64::from), keys);
            }
            Change::ReplicationController(delta) => {
                wake_scaled(world, delta, |one| one.spec()["replicas"].as_i64(), keys);
            }
            Change::StatefulSet(delta) => {
                wake_scaled(world, delta, |one| one.spec()["replicas"].as_i64(), keys);
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.budgets.keys().cloned());
        let stale = world.pods.iter().filter(|pod| is_stale_in(pod).is_some());
        keys.extend(stale.map(|pod| pod_key(pod)));
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        match key.name.strip_prefix(POD) {
            Some(name) => plan_pod(world, &Key::new(key.namespace.as_str(), name), context.now),
            None => plan(world, key, context.now),
        }
    }
}

fn pod_key(pod: &Pod) -> Key {
    Key::new(pod.namespace(), format!("{POD}{}", pod.name()))
}

/// Whether a change of a pod may change what a budget says.
fn counts_otherwise(delta: &Delta<'_, Pod>) -> bool {
    let (Some(old), Some(new)) = (delta.old, delta.new) else { return true };
    let essence = |pod: &Pod| (pods::is_ready(pod), pod.is_deleting());
    essence(old) != essence(new)
        || old.uid() != new.uid()
        || old.metadata.labels != new.metadata.labels
        || old.metadata.owner_references != new.metadata.owner_references
}

/// All budgets where something has another scale than before.
fn wake_scaled<T: Object>(
    world: &World,
    delta: &Delta<'_, T>,
    scale: fn(&T) -> Option<i64>,
    keys: &mut Keys,
) {
    let (old, new) = (delta.old.and_then(scale), delta.new.and_then(scale));
    if let Some(changed) = delta.latest().filter(|_| old != new) {
        keys.extend(world.budgets.in_namespace(changed.namespace()).map(|one| Key::of(&**one)));
    }
}

/// The budgets that are about a pod.
fn guards<'a>(
    world: &'a World,
    pod: &'a Pod,
) -> impl Iterator<Item = &'a PodDisruptionBudget> + 'a {
    let all = world.budgets.in_namespace(pod.namespace()).map(|budget| &**budget);
    all.filter(|budget| selects(budget, pod))
}

/// Whether a budget is about a pod; one without a selector is about none.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let wanted = &budget.spec()["selector"];
    !wanted.is_null()
        && typed::label_selector(wanted)
            .is_ok_and(|wanted| selector::matches(&wanted, pod.metadata.labels.as_ref()))
}

/// How many pods there should be, and how many must be healthy.
struct Wanted {
    expected: i64,
    healthy: i64,
}

/// Decides what the status of one budget must say.
pub(crate) fn plan(world: &World, key: &Key, now: Timestamp) -> Plan {
    let Some(budget) = world.budgets.get(key) else { return Plan::nothing("it is gone") };
    let pods: Vec<&Pod> = match typed::label_selector(&budget.spec()["selector"]) {
        Ok(_) if budget.spec()["selector"].is_null() => Vec::new(),
        Ok(wanted) => {
            let all = world.pods.in_namespace(&key.namespace).map(|pod| &**pod);
            all.filter(|pod| selector::matches(&wanted, pod.metadata.labels.as_ref())).collect()
        }
        Err(error) => return fail_safe(budget, &error.to_string(), now),
    };
    let wanted = match wanted(world, budget, &pods) {
        Ok(wanted) => wanted,
        Err(why) => return fail_safe(budget, &why, now),
    };
    let mut plan = Plan::default();
    let disrupted = disrupted(budget, &pods, now, &mut plan);
    let is_healthy = |pod: &&&Pod| {
        !pod.is_deleting() && !disrupted.contains_key(pod.name()) && pods::is_ready(pod)
    };
    let healthy = i64::try_from(pods.iter().filter(is_healthy).count()).unwrap_or(i64::MAX);
    // Without pods nothing is allowed: the first of them may be there before we are.
    let spare = (healthy - wanted.healthy).max(0);
    let allowed = if wanted.expected <= 0 { 0 } else { spare };
    let generation = budget.metadata().generation.unwrap_or_default();
    let (state, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let mut status = json!({
        "currentHealthy": healthy,
        "desiredHealthy": wanted.healthy,
        "disruptionsAllowed": allowed,
        "expectedPods": wanted.expected,
        "observedGeneration": generation,
        "conditions": conditions(budget, state, reason, "", generation, now),
    });
    if !disrupted.is_empty() {
        status["disruptedPods"] = Value::Object(disrupted);
    }
    let mut updated = (**budget).clone();
    *updated.field_mut("status") = status;
    let mut write = Action::update_status(&**budget, &updated);
    if pods.is_empty() {
        let note = Note::normal(&**budget, "NoPods", "No matching pods found");
        write = write.map(|write| write.note(note));
    }
    plan.then(write);
    plan
}

/// What the budget asks for, of the pods that there are or should be.
fn wanted(world: &World, budget: &PodDisruptionBudget, pods: &[&Pod]) -> Result<Wanted, String> {
    let (most, least) = (&budget.spec()["maxUnavailable"], &budget.spec()["minAvailable"]);
    if !most.is_null() {
        let expected = scale::expected(world, pods)?;
        return Ok(Wanted { expected, healthy: (expected - share(most, expected)?).max(0) });
    }
    if let Some(healthy) = least.as_i64() {
        let expected = i64::try_from(pods.len()).unwrap_or(i64::MAX);
        return Ok(Wanted { expected, healthy });
    }
    if least.is_null() {
        return Ok(Wanted { expected: 0, healthy: 0 });
    }
    let expected = scale::expected(world, pods)?;
    Ok(Wanted { expected, healthy: share(least, expected)? })
}

/// A number, or a share of a total in percent, rounded up.
fn share(value: &Value, total: i64) -> Result<i64, String> {
    if let Some(number) = value.as_i64() {
        return Ok(number);
    }
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    let percent = percent.ok_or_else(|| {
        format!("invalid value for IntOrString: invalid type: string is not a percentage: {value}")
    })?;
    Ok((percent * total + 99).div_euclid(100))
}

/// Pods whose eviction was granted and that are still there.
fn disrupted(
    budget: &PodDisruptionBudget,
    pods: &[&Pod],
    now: Timestamp,
    plan: &mut Plan,
) -> Map<String, Value> {
    let granted = &budget.status()["disruptedPods"];
    let mut kept = Map::new();
    for pod in pods.iter().filter(|pod| !pod.is_deleting()) {
        let Some(at) = granted[pod.name()].as_str() else { continue };
        let since = at.parse::<Timestamp>().map_or(DELETION_TIMEOUT, |at| pods::elapsed(at, now));
        match DELETION_TIMEOUT.checked_sub(since) {
            Some(rest) if !rest.is_zero() => {
                kept.insert(pod.name().to_owned(), at.into());
                plan.recheck(rest);
            }
            _ => {
                let (namespace, name) = (budget.namespace(), budget.name());
                let message = format!(
                    "Pod was expected by PDB {namespace}/{name} to be deleted but it wasn't"
                );
                plan.notes.push(Note::warning(*pod, "NotDeleted", message));
            }
        }
    }
    kept
}

/// Nothing may be disturbed, since it cannot be told what is wanted.
fn fail_safe(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> Plan {
    let observed = budget.status()["observedGeneration"].as_i64().unwrap_or_default();
    let mut updated = budget.clone();
    let conditions = conditions(budget, "False", "SyncFailed", why, observed, now);
    let status = updated.field_mut("status");
    status["disruptionsAllowed"] = 0.into();
    for count in ["currentHealthy", "desiredHealthy", "expectedPods"] {
        if status[count].is_null() {
            status[count] = 0.into();
        }
    }
    status["conditions"] = conditions;
    let mut plan = Plan::default();
    let message = format!("Failed to calculate the number of expected pods: {why}");
    let note = Note::warning(budget, "CalculateExpectedPodCountFailed", message);
    plan.then(Action::update_status(budget, &updated).map(|write| write.note(note)));
    plan.because(why);
    plan
}

/// The budget's conditions with this one among them; its time changes with its status.
fn conditions(
    budget: &PodDisruptionBudget,
    status: &str,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) -> Value {
    const TYPE: &str = "DisruptionAllowed";
    let mut all = budget.status()["conditions"].as_array().cloned().unwrap_or_default();
    let known = all.iter_mut().find(|one| one["type"] == TYPE);
    let since = known
        .as_ref()
        .filter(|known| known["status"] == status)
        .map(|known| known["lastTransitionTime"].clone());
    let condition = json!({
        "type": TYPE, "status": status, "reason": reason, "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": since.unwrap_or_else(|| seconds(now).into()),
    });
    match known {
        Some(known) => *known = condition,
        None => all.push(condition),
    }
    Value::Array(all)
}

/// A time as status fields carry it.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// How long a pod's disruption is still believed; `None` if it was not told of one.
fn is_stale_in(pod: &Pod) -> Option<&PodCondition> {
    let condition = pods::condition(pod, DISRUPTION_TARGET)?;
    let told = condition.status == "True"
        && condition.reason.as_deref() != Some("TerminationByKubelet")
        && !pod.is_deleting()
        && !pods::is_terminal(pod);
    told.then_some(condition)
}

/// Takes back what a pod was told of a disruption that did not come.
fn plan_pod(world: &World, key: &Key, now: Timestamp) -> Plan {
    let Some(pod) = world.pods.get(key) else { return Plan::nothing("it is gone") };
    let Some(condition) = is_stale_in(pod) else {
        return Plan::nothing("it expects no disruption");
    };
    let since = condition.last_transition_time.as_ref().map_or(now, |time| time.0);
    let mut plan = Plan::default();
    match STALE_AFTER.checked_sub(pods::elapsed(since, now)) {
        Some(rest) if !rest.is_zero() => {
            plan.because("its disruption may still come");
            plan.recheck(rest);
        }
        _ => {
            let mut updated = (**pod).clone();
            let status = updated.status.get_or_insert_default();
            for condition in status.conditions.iter_mut().flatten() {
                if condition.type_ == DISRUPTION_TARGET {
                    *condition = PodCondition {
                        type_: DISRUPTION_TARGET.to_owned(),
                        status: "False".to_owned(),
                        last_transition_time: Some(Time(now)),
                        ..PodCondition::default()
                    };
                }
            }
            plan.then(Action::update_status(&**pod, &updated));
        }
    }
    plan
}

#[cfg(test)]
mod tests;
