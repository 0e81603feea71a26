//! What is in use stays: claims that pods use, volumes that are bound, and the attributes that
//! either has.
//!
//! Admission gives each a finalizer; it goes when the object is being deleted and nobody uses it.
//! Whoever came without one, since admission was told not to, gets it here.
use kontiki_api::{Object, slim::Pod};
use serde_json::{Value, json};

use crate::{
    action::{Action, Context, Plan},
    controller::{Controller, Keys},
    pods,
    world::{
        Cached, Change, Key, Kind, PersistentVolume, PersistentVolumeClaim, VolumeAttributesClass,
        World,
    },
};

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";
const ATTRIBUTES: &str = "kubernetes.io/vac-protection";

/// Protects claims.
pub(crate) struct ClaimProtection;

impl Controller for ClaimProtection {
    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection-controller"
    }

    fn queue_name(&self) -> &'static str {
        "pvcprotection"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::PersistentVolumeClaim(delta) => {
                keys.extend(delta.new.filter(|claim| concerns(*claim, CLAIM)).map(Key::of));
            }
            // A pod that goes, or is replaced by a namesake, may have been the last user.
            Change::Pod(delta) => {
                let (old, new) = (delta.old, delta.new);
                let left = new.is_none_or(|new| old.is_some_and(|old| old.uid() != new.uid()));
                let Some(pod) = old.filter(|_| left) else { return };
                let claims = claims(pod).map(|name| Key::new(pod.namespace(), name));
                keys.extend(claims.filter(|key| world.claims.contains(key)));
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        let those = world.claims.iter().filter(|claim| concerns(&***claim, CLAIM));
        keys.extend(those.map(|claim| Key::of(&**claim)));
    }

    fn plan(&self, world: &World, key: &Key, _: Context<'_>) -> Plan {
        plan::<PersistentVolumeClaim>(world, key, CLAIM, &[Kind::Pod], claim_users)
    }
}

/// Protects volumes.
pub(crate) struct VolumeProtection;

impl Controller for VolumeProtection {
    fn name(&self) -> &'static str {
        "persistentvolume-protection-controller"
    }

    fn queue_name(&self) -> &'static str {
        "pvprotection"
    }

    fn wake(&self, _: &World, change: &Change<'_>, keys: &mut Keys) {
        if let Change::PersistentVolume(delta) = change {
            keys.extend(delta.new.filter(|volume| concerns(*volume, VOLUME)).map(Key::of));
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        let those = world.volumes.iter().filter(|volume| concerns(&***volume, VOLUME));
        keys.extend(those.map(|volume| Key::of(&**volume)));
    }

    fn plan(&self, world: &World, key: &Key, _: Context<'_>) -> Plan {
        plan::<PersistentVolume>(world, key, VOLUME, &[], |_, volume| {
            (volume.status()["phase"] == "Bound").then(|| "its claim".to_owned())
        })
    }
}

/// Protects the attributes of volumes.
pub(crate) struct AttributesClassProtection;

impl Controller for AttributesClassProtection {
    fn name(&self) -> &'static str {
        "volumeattributesclass-protection-controller"
    }

    fn queue_name(&self) -> &'static str {
        "vacprotection"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        let mut named = |names: Vec<&str>| {
            let keys_of = names.into_iter().map(|name| Key::new("", name));
            keys.extend(keys_of.filter(|key| world.attribute_classes.contains(key)));
        };
        match change {
            Change::PersistentVolumeClaim(delta) => {
                named(delta.old.map(classes_of_claim).unwrap_or_default());
            }
            Change::PersistentVolume(delta) => {
                named(delta.old.map(classes_of_volume).unwrap_or_default());
            }
            Change::VolumeAttributesClass(delta) => {
                keys.extend(delta.new.filter(|class| concerns(*class, ATTRIBUTES)).map(Key::of));
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        let those = world.attribute_classes.iter().filter(|class| concerns(&***class, ATTRIBUTES));
        keys.extend(those.map(|class| Key::of(&**class)));
    }

    fn plan(&self, world: &World, key: &Key, _: Context<'_>) -> Plan {
        let kinds = [Kind::PersistentVolumeClaim, Kind::PersistentVolume];
        plan::<VolumeAttributesClass>(world, key, ATTRIBUTES, &kinds, |world, class| {
            let mut claims = world.claims.iter();
            let claim = claims.find(|claim| classes_of_claim(claim).contains(&class.name()));
            let mut volumes = world.volumes.iter();
            let volume = volumes.find(|one| classes_of_volume(one).contains(&class.name()));
            claim
                .map(|one| format!("the claim {}", Key::of(&**one)))
                .or_else(|| volume.map(|one| format!("the volume {}", one.name())))
        })
    }
}

/// Whether there is something to do: to protect it, or to let it go.
fn concerns<T: Object>(object: &T, finalizer: &str) -> bool {
    object.is_deleting() == has(object, finalizer)
}

fn has<T: Object>(object: &T, finalizer: &str) -> bool {
    object.metadata().finalizers.iter().flatten().any(|one| one == finalizer)
}

/// Decides what one object needs: its finalizer, or to lose it once nobody of `users` holds it.
/// Users that were there when its deletion was asked for must have been seen.
fn plan<T: Cached>(
    world: &World,
    key: &Key,
    finalizer: &str,
    users: &[Kind],
    user: fn(&World, &T) -> Option<String>,
) -> Plan {
    let Some(object) = T::table(world).get(key) else { return Plan::nothing("it is gone") };
    if !concerns(&**object, finalizer) {
        return Plan::nothing("it is protected, or let go");
    }
    let mut updated = (**object).clone();
    let finalizers = updated.metadata_mut().finalizers.get_or_insert_default();
    if object.is_deleting() {
        let version = object.metadata().resource_version.as_deref();
        let version = version.and_then(|text| text.parse().ok()).unwrap_or(0);
        let behind = users.iter().filter(|kind| world.passed(**kind) < version);
        let awaits: Vec<(Kind, u64)> = behind.map(|kind| (*kind, version)).collect();
        if !awaits.is_empty() {
            return Plan { awaits, ..Plan::nothing("its users may not have been seen yet") };
        }
        if let Some(user) = user(world, object) {
            return Plan::nothing(format!("{user} uses it"));
        }
        finalizers.retain(|one| one != finalizer);
    } else {
        finalizers.push(finalizer.to_owned());
    }
    let finalizers = json!(finalizers);
    let mut plan = Plan::default();
    plan.then([Action::patch_object(&**object, &json!({ "finalizers": finalizers }))]);
    plan
}

/// The pod that uses a claim. Pods without a node use nothing: no kubelet starts them any more.
fn claim_users(world: &World, claim: &PersistentVolumeClaim) -> Option<String> {
    let pods = world.pods.in_namespace(claim.namespace());
    let mut users = pods.filter(|pod| pods::node_name(pod).is_some() && uses(pod, claim));
    users.next().map(|pod| format!("the pod {}", pod.name()))
}

fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    volumes.into_iter().flatten().any(|volume| {
        let named = volume.persistent_volume_claim.as_ref();
        named.is_some_and(|named| named.claim_name == claim.name())
            || volume.ephemeral.is_some()
                && format!("{}-{}", pod.name(), volume.name) == claim.name()
                && pods::is_controlled_by(claim.metadata(), pod.uid())
    })
}

/// The names of the claims that a pod uses.
fn claims(pod: &Pod) -> impl Iterator<Item = String> + '_ {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    volumes.into_iter().flatten().filter_map(|volume| {
        let named = volume.persistent_volume_claim.as_ref().map(|named| named.claim_name.clone());
        named.or_else(|| {
            volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod.name(), volume.name))
        })
    })
}

fn classes_of_claim(claim: &PersistentVolumeClaim) -> Vec<&str> {
    let named = [
        &claim.spec()["volumeAttributesClassName"],
        &claim.status()["currentVolumeAttributesClassName"],
        &claim.status()["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ];
    named.into_iter().filter_map(Value::as_str).collect()
}

fn classes_of_volume(volume: &PersistentVolume) -> Vec<&str> {
    volume.spec()["volumeAttributesClassName"].as_str().into_iter().collect()
}

#[cfg(test)]
mod tests;
