//! Garbage collection: what belongs to something that is gone, goes too.
//!
//! Keys are uids. An owner counts as absent only if its kind has been seen up to the revision at
//! which the dependent named it; until then the plan waits, so that a cache that lags never costs
//! an object its life. Owners of kinds that are not cached keep their dependents, and so do owners
//! that an object of the whole cluster names in some namespace; somebody is told of those.

mod owners;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kontiki_client::{Propagation, Regarding};
use serde_json::json;

use self::owners::Owners;
use crate::{
    action::{Action, Context, Note, Plan, Target, Write},
    controller::{Controller, Keys},
    world::{Change, Entry, Key, Kind, World},
};

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// The garbage collector.
pub(crate) struct GarbageCollector;

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn queue_name(&self) -> &'static str {
        "garbage_collector_attempt_to_delete"
    }

    fn workers(&self) -> usize {
        20
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        let delta = change.metadata();
        let uid = |side: Option<&ObjectMeta>| side.and_then(|metadata| metadata.uid.clone());
        let (old, new) = (uid(delta.old), uid(delta.new));
        if let (Some(new), Some(metadata)) = (&new, delta.new)
            && concerns(metadata)
            && delta.old.is_none_or(|former| differs(former, metadata))
        {
            keys.insert(key_of(new));
        }
        let gone = old.as_ref().filter(|old| new.as_ref() != Some(old));
        let began = delta.new.filter(|metadata| metadata.deletion_timestamp.is_some());
        // Who depended on it looks again; and who it depended on may have waited for it.
        for uid in gone.into_iter().chain(began.and_then(|metadata| metadata.uid.as_ref())) {
            keys.extend(world.graph.dependents(uid).map(|entry| key_of(&entry.uid)));
        }
        let owners = delta.old.and_then(|metadata| metadata.owner_references.as_ref());
        for owner in owners.into_iter().flatten() {
            if world.graph.by_uid(&owner.uid).is_some_and(|entry| entry.deleting) {
                keys.insert(key_of(&owner.uid));
            }
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        let relevant = |entry: &&Entry| !entry.owners.is_empty() || entry.deleting;
        keys.extend(world.graph.iter().filter(relevant).map(|entry| key_of(&entry.uid)));
    }

    fn plan(&self, world: &World, key: &Key, _context: Context<'_>) -> Plan {
        plan(world, &key.name)
    }
}

/// Whether there can be anything to do for an object.
fn concerns(metadata: &ObjectMeta) -> bool {
    metadata.owner_references.as_ref().is_some_and(|owners| !owners.is_empty())
        || metadata.deletion_timestamp.is_some()
}

/// Whether what the collector looks at changed.
fn differs(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid != new.uid
        || old.owner_references != new.owner_references
        || old.deletion_timestamp != new.deletion_timestamp
        || old.finalizers != new.finalizers
}

fn key_of(uid: &str) -> Key {
    Key::new("", uid)
}

/// Decides what to do with one object.
pub(crate) fn plan(world: &World, uid: &str) -> Plan {
    let Some(entry) = world.graph.by_uid(uid) else { return Plan::nothing("it is gone") };
    if entry.deleting {
        let awaits = unseen(world, entry);
        if !awaits.is_empty() {
            return Plan { awaits, ..Plan::nothing("dependents may not have been seen yet") };
        }
        return if entry.has_finalizer(ORPHAN) {
            orphan_dependents(world, entry)
        } else if entry.has_finalizer(FOREGROUND) {
            await_dependents(world, entry)
        } else {
            Plan::nothing("it is being deleted")
        };
    }
    if entry.owners.is_empty() {
        return Plan::nothing("it has no owner");
    }
    let owners = match Owners::observe(world, entry) {
        Err(awaits) => {
            return Plan { awaits, ..Plan::nothing("its owner may not have been seen yet") };
        }
        Ok(owners) => owners,
    };
    let mut plan = if owners.impossible {
        Plan::nothing("it is of the whole cluster and cannot be owned by what is in a namespace")
    } else {
        collect(world, entry, &owners)
    };
    plan.notes.extend(owners.elsewhere.iter().map(|owner| misplaced(entry, owner)));
    plan
}

/// The kinds of which dependents may be missing that were there when the deletion was asked for:
/// what is decided about dependents must be about all of them.
fn unseen(world: &World, entry: &Entry) -> Vec<(Kind, u64)> {
    if !entry.has_finalizer(ORPHAN) && !entry.has_finalizer(FOREGROUND) {
        return Vec::new();
    }
    let revision: u64 = entry.resource_version.parse().unwrap_or(0);
    let behind = Kind::ALL.iter().filter(|kind| world.passed(**kind) < revision);
    behind.map(|kind| (*kind, revision)).collect()
}

/// Tells of an owner that is not where a dependent may refer to.
fn misplaced(entry: &Entry, owner: &OwnerReference) -> Note {
    let namespace = &entry.key.namespace;
    Note {
        about: Regarding {
            api_version: entry.kind.resource().api_version(),
            kind: entry.kind.resource().kind,
            key: entry.key.clone(),
            uid: entry.uid.clone(),
            field_path: None,
        },
        warning: true,
        reason: "OwnerRefInvalidNamespace",
        message: format!(
            "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in \
             namespace {namespace:?}",
            owner.api_version, owner.kind, owner.name, owner.uid
        ),
    }
}

/// An object that is not being deleted, and its owners.
fn collect(world: &World, entry: &Entry, owners: &Owners) -> Plan {
    if owners.solid {
        if owners.dangling.is_empty() && owners.waiting.is_empty() {
            return Plan::nothing("an owner is there");
        }
        let leaving =
            |uid: &str| owners.dangling.iter().chain(&owners.waiting).any(|other| other == uid);
        let mut plan = Plan::default();
        plan.then([without_owners(entry, leaving)]);
        return plan;
    }
    let mut plan = Plan::default();
    let dependents: Vec<&Entry> = world.graph.dependents(&entry.uid).collect();
    if !owners.waiting.is_empty() && !dependents.is_empty() {
        // An owner waits in the foreground: so do we for ours. If one of ours waits for its own
        // dependents already, the references could form a circle: then nobody blocks.
        if dependents.iter().any(|other| other.deleting && other.has_finalizer(FOREGROUND)) {
            plan.then(unblock(entry));
        }
        plan.then([delete(entry, Propagation::Foreground)]);
        return plan;
    }
    let propagation = if entry.has_finalizer(ORPHAN) {
        Propagation::Orphan
    } else if entry.has_finalizer(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    plan.then([delete(entry, propagation)]);
    plan
}

fn delete(entry: &Entry, propagation: Propagation) -> Action {
    Action::new(Write::Delete {
        // Its version too: whoever gave it another owner meanwhile has saved it.
        target: Target::entry(entry),
        grace_seconds: None,
        propagation: Some(propagation),
    })
}

/// Foreground deletion: the finalizer goes when no blocking dependent is left.
fn await_dependents(world: &World, entry: &Entry) -> Plan {
    let blocking = world.graph.dependents(&entry.uid).filter(|dependent| {
        dependent
            .owners
            .iter()
            .any(|owner| owner.uid == entry.uid && owner.block_owner_deletion.unwrap_or(false))
    });
    let blocking = blocking.count();
    if blocking > 0 {
        return Plan::nothing(format!("{blocking} dependents block its deletion"));
    }
    let mut plan = Plan::default();
    plan.then([without_finalizer(entry, FOREGROUND)]);
    plan
}

/// Orphaning deletion: dependents forget the owner, then the finalizer goes.
fn orphan_dependents(world: &World, entry: &Entry) -> Plan {
    let mut plan = Plan::default();
    let leaving = |uid: &str| uid == entry.uid;
    plan.then(world.graph.dependents(&entry.uid).map(|other| without_owners(other, leaving)));
    plan.then([without_finalizer(entry, ORPHAN)]);
    plan
}

fn without_owners(entry: &Entry, leaving: impl Fn(&str) -> bool) -> Action {
    let kept: Vec<_> = entry.owners.iter().filter(|owner| !leaving(&owner.uid)).collect();
    let kept = if kept.is_empty() { serde_json::Value::Null } else { json!(kept) };
    Action::patch_metadata(entry, &json!({ "ownerReferences": kept }))
}

fn without_finalizer(entry: &Entry, finalizer: &str) -> Action {
    let kept: Vec<_> = entry.finalizers.iter().filter(|name| *name != finalizer).collect();
    let kept = if kept.is_empty() { serde_json::Value::Null } else { json!(kept) };
    Action::patch_metadata(entry, &json!({ "finalizers": kept }))
}

fn unblock(entry: &Entry) -> Option<Action> {
    let mut owners = entry.owners.clone();
    let mut changed = false;
    for owner in &mut owners {
        changed |= owner.block_owner_deletion == Some(true);
        owner.block_owner_deletion = Some(false);
    }
    changed.then(|| Action::patch_metadata(entry, &json!({ "ownerReferences": owners })))
}

#[cfg(test)]
mod tests;
