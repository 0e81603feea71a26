//! A fake API server: objects as JSON, versions, generations, graceful deletion, finalizers.
//!
//! It feeds a world as the informers would, checks every precondition, and panics where a plan
//! breaks one: a planner that acts on what it observed never does.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kontiki_api::Object;
use kontiki_client::Propagation;
use serde_json::{Value, json};

use super::{now, parse};
use crate::{
    action::{Action, Plan, Target, Write},
    world::{Cached, Key, Kind, World},
};

/// The API server and the world it feeds.
pub(crate) struct Fake {
    pub(crate) world: World,
    pub(crate) now: Timestamp,
    objects: BTreeMap<(Kind, Key), Value>,
    revision: u64,
}

impl Fake {
    /// A server with the objects of a text.
    pub(crate) fn new(text: &str) -> Fake {
        let mut fake =
            Fake { world: World::default(), now: now(), objects: BTreeMap::new(), revision: 100 };
        for kind in Kind::ALL {
            fake.world.set_passed(*kind, Box::new(|| u64::MAX));
        }
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (kind, object) = parse::line(line);
            // A lease was seen when it was renewed, a node when it was created.
            let renewed: Option<Timestamp> =
                object["spec"]["renewTime"].as_str().and_then(|text| text.parse().ok());
            let created: Option<Timestamp> =
                object["metadata"]["creationTimestamp"].as_str().and_then(|t| t.parse().ok());
            fake.now = renewed.or(created.filter(|_| kind == Kind::Node)).unwrap_or(now());
            fake.put(kind, object);
            fake.now = now();
        }
        fake
    }

    /// One object.
    pub(crate) fn get(&self, kind: Kind, key: &Key) -> Option<&Value> {
        self.objects.get(&(kind, key.clone()))
    }

    /// All objects of a kind.
    pub(crate) fn list(&self, kind: Kind) -> Vec<Value> {
        let of_kind = self.objects.iter().filter(|((other, _), _)| *other == kind);
        of_kind.map(|(_, object)| object.clone()).collect()
    }

    /// Stores an object and shows it to the world.
    pub(crate) fn put(&mut self, kind: Kind, mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let key = key_of(&object);
        match kind {
            Kind::ConfigMap => self.show::<ConfigMap>(&object),
            Kind::Deployment => self.show::<Deployment>(&object),
            Kind::EndpointSlice => self.show::<EndpointSlice>(&object),
            Kind::Lease => self.show::<Lease>(&object),
            Kind::Namespace => self.show::<Namespace>(&object),
            Kind::Node => self.show::<Node>(&object),
            Kind::Pod => self.show::<Pod>(&object),
            Kind::ReplicaSet => self.show::<ReplicaSet>(&object),
            Kind::Service => self.show::<Service>(&object),
            _ => {
                let metadata = json!({ "metadata": object["metadata"] });
                let shell = ConfigMap::read(&metadata).expect("valid metadata");
                self.world.graph.upsert(kind, &key, &shell.metadata);
            }
        }
        self.objects.insert((kind, key), object);
    }

    fn show<T: Cached>(&mut self, object: &Value) {
        let typed = T::read(object).unwrap_or_else(|error| panic!("{error}: {object}"));
        self.world.upsert(Arc::new(typed), self.now);
    }

    /// Removes an object and tells the world.
    pub(crate) fn remove(&mut self, kind: Kind, key: &Key) {
        self.revision += 1;
        self.objects.remove(&(kind, key.clone()));
        match kind {
            Kind::ConfigMap => drop(self.world.remove::<ConfigMap>(key, self.now)),
            Kind::Deployment => drop(self.world.remove::<Deployment>(key, self.now)),
            Kind::EndpointSlice => drop(self.world.remove::<EndpointSlice>(key, self.now)),
            Kind::Lease => drop(self.world.remove::<Lease>(key, self.now)),
            Kind::Namespace => drop(self.world.remove::<Namespace>(key, self.now)),
            Kind::Node => drop(self.world.remove::<Node>(key, self.now)),
            Kind::Pod => drop(self.world.remove::<Pod>(key, self.now)),
            Kind::ReplicaSet => drop(self.world.remove::<ReplicaSet>(key, self.now)),
            Kind::Service => drop(self.world.remove::<Service>(key, self.now)),
            _ => drop(self.world.graph.remove(kind, key)),
        }
    }

    /// Carries out a plan, calling `check` after each action.
    pub(crate) fn apply(&mut self, plan: Plan, mut check: impl FnMut(&Fake)) {
        for action in plan.steps.into_iter().flat_map(|step| step.actions) {
            self.perform(action);
            check(self);
        }
    }

    fn perform(&mut self, action: Action) {
        let kind = action.kind().expect("a cached kind");
        match action.write {
            Write::Create { object, .. } => self.create(kind, object),
            Write::Patch { target, subresource, patch } => {
                let mut object = self.expect(kind, &target);
                assert!(
                    subresource == Some("status") || patch.get("status").is_none(),
                    "a status is written by its subresource only"
                );
                merge(&mut object, &patch);
                if patch.get("spec").is_some() {
                    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
                    object["metadata"]["generation"] = json!(generation + 1);
                }
                self.put_or_finish(kind, object);
            }
            Write::Finalize { target, object } => {
                self.expect(kind, &target);
                assert_eq!(object["spec"]["finalizers"].as_array().map(Vec::len), Some(0));
                self.remove(kind, &key_of(&object));
            }
            Write::Delete { target, grace_seconds, propagation } => {
                let object = self.expect(kind, &target);
                self.delete(kind, object, grace_seconds, propagation);
            }
            Write::DeleteCollection { namespace, .. } => {
                for object in self.list(kind) {
                    if object["metadata"]["namespace"] == json!(namespace) {
                        self.delete(kind, object, None, None);
                    }
                }
            }
        }
    }

    fn create(&mut self, kind: Kind, mut object: Value) {
        let metadata = &mut object["metadata"];
        if metadata["name"].as_str().is_none() {
            let prefix = metadata["generateName"].as_str().expect("a name").to_owned();
            metadata["name"] = json!(format!("{prefix}{}", self.revision));
        }
        metadata["uid"] = json!(format!("{kind:?}/{}#{}", metadata["name"], self.revision));
        metadata["creationTimestamp"] = json!(self.now.to_string());
        metadata["generation"] = json!(1);
        let key = key_of(&object);
        assert!(self.get(kind, &key).is_none(), "{kind:?} {key} exists already");
        self.put(kind, object);
    }

    /// The target, which must be as it was observed.
    fn expect(&self, kind: Kind, target: &Target) -> Value {
        let key = Key::new(target.namespace.as_str(), target.name.as_str());
        let object = self.get(kind, &key).unwrap_or_else(|| panic!("{kind:?} {key} is gone"));
        assert_eq!(object["metadata"]["uid"], json!(target.uid));
        let version = &object["metadata"]["resourceVersion"];
        assert!(
            target.resource_version.is_empty() || *version == json!(target.resource_version),
            "{kind:?} {key} changed since it was observed"
        );
        object.clone()
    }

    fn delete(
        &mut self,
        kind: Kind,
        mut object: Value,
        grace_seconds: Option<i64>,
        propagation: Option<Propagation>,
    ) {
        let finalizer = match propagation {
            Some(Propagation::Foreground) => Some("foregroundDeletion"),
            Some(Propagation::Orphan) => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = finalizer {
            let finalizers = &mut object["metadata"]["finalizers"];
            let mut all = finalizers.as_array().cloned().unwrap_or_default();
            all.push(json!(finalizer));
            *finalizers = json!(all);
        }
        let on_node = kind == Kind::Pod && object["spec"]["nodeName"].is_string();
        let graceful = on_node && grace_seconds != Some(0);
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(self.now.to_string());
        }
        if graceful {
            self.put(kind, object);
        } else {
            self.put_or_finish(kind, object);
        }
    }

    /// Stores the object, unless it is being deleted and its last finalizer went.
    fn put_or_finish(&mut self, kind: Kind, object: Value) {
        let metadata = &object["metadata"];
        let deleting = !metadata["deletionTimestamp"].is_null();
        let count = |finalizers: &Value| finalizers.as_array().map_or(0, Vec::len);
        let own = if kind == Kind::Namespace { count(&object["spec"]["finalizers"]) } else { 0 };
        let finalizers = count(&metadata["finalizers"]) + own;
        let graceful = kind == Kind::Pod && object["spec"]["nodeName"].is_string();
        let known = self.get(kind, &key_of(&object));
        let was_deleting =
            known.is_some_and(|known| !known["metadata"]["deletionTimestamp"].is_null());
        if deleting && finalizers == 0 && !(graceful && was_deleting) {
            self.remove(kind, &key_of(&object));
        } else {
            self.put(kind, object);
        }
    }
}

pub(crate) fn key_of(object: &Value) -> Key {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    Key::new(text("namespace"), text("name"))
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("just made one").remove(name);
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}
