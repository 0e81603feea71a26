//! How many pods there should be: the scale of all that controls the pods of a budget.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kontiki_api::{Object, slim::Pod};

use crate::{
    pods,
    world::{Cached, Key, Kind, ReplicationController, StatefulSet, World},
};

/// The sum over the controllers of these pods. Pods that nobody controls do not count.
pub(super) fn expected(world: &World, all: &[&Pod]) -> Result<i64, String> {
    let mut scales: BTreeMap<String, i64> = BTreeMap::new();
    for pod in all {
        let Some(owner) = pods::controller_of(&pod.metadata) else { continue };
        if scales.contains_key(&owner.uid) {
            continue;
        }
        let Some((uid, scale)) = scale_of(world, pod.namespace(), owner)? else {
            return Err(format!("found no controllers for pod {:?}", pod.name()));
        };
        scales.insert(uid, scale);
    }
    Ok(scales.values().sum())
}

/// The uid and scale of what controls a pod, or of what controls that.
fn scale_of(
    world: &World,
    namespace: &str,
    owner: &OwnerReference,
) -> Result<Option<(String, i64)>, String> {
    let Some(kind) = Kind::from_reference(&owner.api_version, &owner.kind) else { return Ok(None) };
    let key = Key::new(namespace, owner.name.as_str());
    let replicas = |count: Option<i64>| count.unwrap_or(1);
    Ok(match kind {
        Kind::ReplicaSet => find::<ReplicaSet>(world, &key, &owner.uid).map(|set| {
            let above = deployment_of(world, namespace, &set.metadata);
            let deployment = above.map(|one| {
                let spec = one.spec.as_ref().and_then(|spec| spec.replicas);
                (one.uid().to_owned(), replicas(spec.map(i64::from)))
            });
            let spec = set.spec.as_ref().and_then(|spec| spec.replicas);
            deployment.unwrap_or_else(|| (set.uid().to_owned(), replicas(spec.map(i64::from))))
        }),
        Kind::Deployment => find::<Deployment>(world, &key, &owner.uid).map(|one| {
            let spec = one.spec.as_ref().and_then(|spec| spec.replicas);
            (one.uid().to_owned(), replicas(spec.map(i64::from)))
        }),
        Kind::ReplicationController => find::<ReplicationController>(world, &key, &owner.uid)
            .map(|one| (one.uid().to_owned(), replicas(one.spec()["replicas"].as_i64()))),
        Kind::StatefulSet => find::<StatefulSet>(world, &key, &owner.uid)
            .map(|one| (one.uid().to_owned(), replicas(one.spec()["replicas"].as_i64()))),
        other => {
            let resource = other.resource();
            let dot = if resource.group.is_empty() { "" } else { "." };
            return Err(format!(
                "{}{dot}{} does not implement the scale subresource",
                resource.plural, resource.group
            ));
        }
    })
}

fn find<'a, T: Cached>(world: &'a World, key: &Key, uid: &str) -> Option<&'a T> {
    T::table(world).get(key).map(|found| &**found).filter(|found| found.uid() == uid)
}

/// The Deployment that controls a ReplicaSet.
fn deployment_of<'a>(
    world: &'a World,
    namespace: &str,
    metadata: &ObjectMeta,
) -> Option<&'a Deployment> {
    let owner = pods::controller_of(metadata).filter(|owner| owner.kind == Deployment::KIND)?;
    find(world, &Key::new(namespace, owner.name.as_str()), &owner.uid)
}
