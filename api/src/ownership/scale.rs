//! Ownership of an object's replicas, seen through its Scale.
//!
//! A Scale has one field that can be owned, `.spec.replicas`. Before a write of it, whoever owns
//! the replicas of the object owns those of the Scale; afterwards, whoever owns those of the Scale
//! owns those of the object.

use serde_json::Value;

use super::entries::{Entry, Fields, Id, Managed, Operation};
use crate::fields::{Path, Set};

/// The group and version of every Scale.
pub const SCALE_VERSION: &str = "autoscaling/v1";

/// Where the object has its replicas.
#[derive(Clone, Debug)]
pub struct Scaling {
    /// The object's group and version.
    pub api_version: String,
    /// The path of its replicas.
    pub replicas: Path,
}

fn replicas_of_scale() -> Path {
    Path::of(&["spec", "replicas"])
}

/// `managedFields` of the Scale of an object.
pub fn to_scale(scaling: &Scaling, object: &Value) -> Option<Value> {
    let mut managed = Managed::default();
    for entry in Managed::of_object(object).entries {
        let known = entry.api_version == scaling.api_version;
        if known && entry.fields.set().has(&scaling.replicas.0) {
            let mut id = entry.id;
            if id.operation == Operation::Update {
                SCALE_VERSION.clone_into(&mut id.api_version);
            }
            managed.put(Entry {
                id,
                api_version: SCALE_VERSION.to_owned(),
                time: entry.time,
                fields: Fields::Set(Set::of([replicas_of_scale()])),
            });
        }
    }
    managed.encode()
}

/// `managedFields` of an object after a write of its Scale.
pub fn to_parent(scaling: &Scaling, object: &Value, scale: &Value) -> Option<Value> {
    let path = &scaling.replicas;
    let mut of_scale = Managed::of_object(scale);
    let mut managed = Managed::default();
    let mut times = Vec::new();
    for mut entry in Managed::of_object(object).entries {
        if entry.api_version != scaling.api_version {
            continue;
        }
        times.push((entry.id.clone(), entry.time.clone()));
        let set = entry.fields.set();
        if set.has(&path.0) {
            let mut id = entry.id.clone();
            if id.operation == Operation::Update {
                SCALE_VERSION.clone_into(&mut id.api_version);
            }
            if of_scale.take(&id).is_none() {
                entry.fields = Fields::Set(set.difference(&Set::of([path.clone()])));
            }
        }
        managed.put(entry);
    }
    for entry in of_scale.entries {
        if !entry.fields.set().has(&replicas_of_scale().0) {
            continue;
        }
        let operation = entry.id.operation;
        let id = Id::new(&entry.id.manager, operation, &scaling.api_version, &entry.id.subresource);
        let own = Set::of([path.clone()]);
        let before = managed.get(&id).map(|entry| entry.fields.set());
        managed.put(Entry {
            id,
            api_version: scaling.api_version.clone(),
            time: entry.time,
            fields: Fields::Set(before.map_or(own.clone(), |before| before.union(&own))),
        });
    }
    managed.drop_empty();
    managed.encode()
}
