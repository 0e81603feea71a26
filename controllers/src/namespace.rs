//! Namespaces: a namespace that was deleted takes everything in it along.
//!
//! What it contains is asked of the API server resource by resource ([`content`]), since not all
//! kinds are cached. Pods go first, so that nothing they rely on is taken from under them; when
//! all is gone the finalizer `kubernetes` is removed, and with it the namespace.

pub(crate) mod content;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::{Namespace, NamespaceCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kontiki_api::Object;

use self::content::Content;
use crate::{
    action::{Action, Context, Pace, Plan, Target, Write},
    controller::{Controller, Keys, Question},
    world::{Change, Key, World},
};

const FINALIZER: &str = "kubernetes";
/// What was just deleted may already be gone by then.
const RECHECK_SOON: Duration = Duration::from_millis(100);
/// Finalizers of others take their time; cached kinds wake us earlier.
const RECHECK: Duration = Duration::from_secs(5);

/// The controller of namespaces' deletion.
pub(crate) struct NamespaceController;

impl Controller for NamespaceController {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn queue_name(&self) -> &'static str {
        "namespace"
    }

    fn workers(&self) -> usize {
        10
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        if let Change::Namespace(delta) = change {
            keys.extend(delta.new.filter(|namespace| namespace.is_deleting()).map(Key::of));
            return;
        }
        let delta = change.metadata();
        if delta.new.is_none() {
            let namespace = delta.old.and_then(|metadata| metadata.namespace.as_deref());
            let key = Key::new("", namespace.unwrap_or_default());
            if world.namespaces.get(&key).is_some_and(|namespace| namespace.is_deleting()) {
                keys.insert(key);
            }
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        let deleting = world.namespaces.iter().filter(|namespace| namespace.is_deleting());
        keys.extend(deleting.map(|namespace| Key::of(&**namespace)));
    }

    fn asks(&self, world: &World, key: &Key) -> Option<Question> {
        let namespace = world.namespaces.get(key)?;
        let concerns = namespace.is_deleting() && is_ours(namespace);
        concerns.then(|| Question::Content(key.name.clone()))
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        plan(world, key, context)
    }
}

fn is_ours(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    finalizers.is_some_and(|all| all.iter().any(|finalizer| finalizer == FINALIZER))
}

/// Decides what one namespace needs next.
pub(crate) fn plan(world: &World, key: &Key, context: Context<'_>) -> Plan {
    let Some(namespace) = world.namespaces.get(key) else { return Plan::nothing("it is gone") };
    if !namespace.is_deleting() {
        return Plan::nothing("it is in use");
    }
    if !is_ours(namespace) {
        return Plan::nothing("others have to finalize it");
    }
    let Some(content) = context.content else {
        return Plan::nothing("its content is not known");
    };
    let mut plan = Plan::default();
    if content.is_gone() {
        plan.then([finalize(namespace)]);
        return plan;
    }
    let mut updated = (**namespace).clone();
    let status = updated.status.get_or_insert_default();
    status.phase = Some("Terminating".to_owned());
    set_conditions(status.conditions.get_or_insert_default(), content, context);
    plan.then(Action::update_status(&**namespace, &updated));
    let deletions = deletions(namespace, content);
    plan.recheck(if deletions.is_empty() { RECHECK } else { RECHECK_SOON });
    if deletions.is_empty() {
        plan.because("what is left is being deleted already");
    }
    plan.step(deletions, Pace::Together);
    plan
}

/// Deletions of what nobody deleted yet: pods first, everything else once no pod is left.
fn deletions(namespace: &Namespace, content: &Content) -> Vec<Action> {
    let pods_remain = content.rows.iter().any(|row| row.is_pods() && row.remaining > 0);
    content
        .rows
        .iter()
        .filter(|row| row.undeleted > 0 && (row.is_pods() || !pods_remain))
        .map(|row| {
            Action::new(Write::DeleteCollection {
                resource: row.resource.clone(),
                namespace: namespace.name().to_owned(),
            })
        })
        .collect()
}

fn finalize(namespace: &Namespace) -> Action {
    let mut finalized = namespace.clone();
    if let Some(finalizers) = finalized.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    Action::new(Write::Finalize { target: Target::of(namespace), object: finalized.to_value() })
}

fn set_conditions(
    conditions: &mut Vec<NamespaceCondition>,
    content: &Content,
    context: Context<'_>,
) {
    let mut set = |type_: &str, bad: Option<String>, bad_reason: &str, good: (&str, &str)| {
        let (status, reason, message) = match bad {
            Some(message) => ("True", bad_reason, message),
            None => ("False", good.0, good.1.to_owned()),
        };
        let known = conditions.iter_mut().find(|known| known.type_ == type_);
        let condition = NamespaceCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(context.now)),
        };
        match known {
            Some(known) if known.status == condition.status && known.reason == condition.reason => {
                known.message = condition.message;
            }
            Some(known) => *known = condition,
            None => conditions.push(condition),
        }
    };
    set(
        "NamespaceDeletionDiscoveryFailure",
        content.describe_failures(),
        "DiscoveryFailed",
        ("ResourcesDiscovered", "All resources successfully discovered"),
    );
    set(
        "NamespaceDeletionGroupVersionParsingFailure",
        None,
        "GroupVersionParsingFailed",
        ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    );
    let refused = context.last_failure.filter(|failure| failure.verb == "DeleteCollection");
    let mut failed = content.unlisted.clone();
    failed.extend(refused.map(|failure| failure.message.clone()));
    failed.sort();
    let failed = (!failed.is_empty()).then(|| {
        let (count, all) = (failed.len(), failed.join(", "));
        format!("Failed to delete all resource types, {count} remaining: {all}")
    });
    set(
        "NamespaceDeletionContentFailure",
        failed,
        "ContentDeletionFailed",
        ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
    );
    set(
        "NamespaceContentRemaining",
        content.describe_remaining(),
        "SomeResourcesRemain",
        ("ContentRemoved", "All content successfully removed"),
    );
    set(
        "NamespaceFinalizersRemaining",
        content.describe_finalizers(),
        "SomeFinalizersRemain",
        ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
    );
}

/// Objects by finalizer, as the survey counts them.
pub(crate) type FinalizerCounts = BTreeMap<String, usize>;

#[cfg(test)]
mod tests;
