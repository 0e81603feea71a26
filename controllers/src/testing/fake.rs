//! A fake API server that shows a world everything at once.
//!
//! It panics where a plan breaks a precondition: a planner that acts on what it observed never
//! does, as long as nobody else writes.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace, Node, Service},
    discovery::v1::EndpointSlice,
};
use kontiki_api::{Object, slim::Pod};
use serde_json::{Value, json};

use super::{
    now,
    objects::{Happened, Objects, key_of},
    parse,
};
use crate::{
    action::{Action, Plan, Target, Write},
    world::{
        Cached, CertificateSigningRequest, ClusterRole, Endpoints, IPAddress, Job, Key, Kind,
        PersistentVolume, PersistentVolumeClaim, PodDisruptionBudget, ReplicationController,
        Secret, ServiceCIDR, StatefulSet, VolumeAttributesClass, World,
    },
};

/// The API server and the world it feeds.
pub(crate) struct Fake {
    pub(crate) world: World,
    pub(crate) now: Timestamp,
    objects: Objects,
    shown: usize,
}

impl Fake {
    /// A server with the objects of a text.
    pub(crate) fn new(text: &str) -> Fake {
        let world = World::default();
        let mut fake = Fake { world, now: now(), objects: Objects::new(), shown: 0 };
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
        self.objects.get(kind, key)
    }

    /// All objects of a kind.
    pub(crate) fn list(&self, kind: Kind) -> Vec<Value> {
        self.objects.list(kind, "")
    }

    /// Stores an object.
    pub(crate) fn put(&mut self, kind: Kind, object: Value) {
        self.objects.put(kind, object);
        self.show();
    }

    /// Removes an object.
    pub(crate) fn remove(&mut self, kind: Kind, key: &Key) {
        self.objects.remove(kind, key);
        self.show();
    }

    /// Shows the world what happened since.
    fn show(&mut self) {
        for happened in self.objects.log.split_off(self.shown) {
            let Happened { kind, what, object, .. } = happened;
            let gone = what == "DELETED";
            match kind {
                Kind::ConfigMap => self.tell::<ConfigMap>(&object, gone),
                Kind::Deployment => self.tell::<Deployment>(&object, gone),
                Kind::EndpointSlice => self.tell::<EndpointSlice>(&object, gone),
                Kind::Lease => self.tell::<Lease>(&object, gone),
                Kind::Namespace => self.tell::<Namespace>(&object, gone),
                Kind::Node => self.tell::<Node>(&object, gone),
                Kind::Pod => self.tell::<Pod>(&object, gone),
                Kind::ReplicaSet => self.tell::<ReplicaSet>(&object, gone),
                Kind::Service => self.tell::<Service>(&object, gone),
                Kind::CertificateSigningRequest => {
                    self.tell::<CertificateSigningRequest>(&object, gone);
                }
                Kind::ClusterRole => self.tell::<ClusterRole>(&object, gone),
                Kind::Endpoints => self.tell::<Endpoints>(&object, gone),
                Kind::IPAddress => self.tell::<IPAddress>(&object, gone),
                Kind::Job => self.tell::<Job>(&object, gone),
                Kind::PersistentVolume => self.tell::<PersistentVolume>(&object, gone),
                Kind::PersistentVolumeClaim => self.tell::<PersistentVolumeClaim>(&object, gone),
                Kind::PodDisruptionBudget => self.tell::<PodDisruptionBudget>(&object, gone),
                Kind::ReplicationController => self.tell::<ReplicationController>(&object, gone),
                Kind::Secret => self.tell::<Secret>(&object, gone),
                Kind::ServiceCIDR => self.tell::<ServiceCIDR>(&object, gone),
                Kind::StatefulSet => self.tell::<StatefulSet>(&object, gone),
                Kind::VolumeAttributesClass => self.tell::<VolumeAttributesClass>(&object, gone),
                _ if gone => drop(self.world.graph.remove(kind, &key_of(&object))),
                _ => {
                    let metadata = json!({ "metadata": object["metadata"] });
                    let shell = ConfigMap::read(&metadata).expect("valid metadata");
                    self.world.graph.upsert(kind, &key_of(&object), &shell.metadata);
                }
            }
        }
    }

    fn tell<T: Cached>(&mut self, object: &Value, gone: bool) {
        if gone {
            self.world.remove::<T>(&key_of(object), self.now);
        } else {
            let typed = T::read(object).unwrap_or_else(|error| panic!("{error}: {object}"));
            self.world.upsert(Arc::new(typed), self.now);
        }
    }

    /// Carries out a plan, calling `check` after each action.
    pub(crate) fn apply(&mut self, plan: Plan, mut check: impl FnMut(&Fake)) {
        for action in plan.steps.into_iter().flat_map(|step| step.actions) {
            self.perform(action);
            self.show();
            check(self);
        }
    }

    fn perform(&mut self, action: Action) {
        let kind = action.kind().expect("a cached kind");
        let now = self.now;
        let key = |target: &Target| Key::new(target.namespace.as_str(), target.name.as_str());
        let text = format!("{action:?}");
        let answer = match action.write {
            Write::Create { object, .. } => self.objects.create(kind, object, now),
            Write::Patch { target, subresource, mut patch } => {
                assert!(
                    subresource.is_some() || patch.get("status").is_none(),
                    "a status is written by a subresource only"
                );
                patch["metadata"]["uid"] = json!(target.uid);
                if !target.resource_version.is_empty() {
                    patch["metadata"]["resourceVersion"] = json!(target.resource_version);
                }
                self.objects.patch(kind, &key(&target), &patch)
            }
            Write::Finalize { target, object } => self.objects.finalize(&key(&target), object),
            Write::Delete { target, grace_seconds, propagation } => {
                let mut options = json!({ "preconditions": { "uid": target.uid } });
                if let Some(seconds) = grace_seconds {
                    options["gracePeriodSeconds"] = json!(seconds);
                }
                if let Some(propagation) = propagation {
                    options["propagationPolicy"] = json!(format!("{propagation:?}"));
                }
                self.objects.delete(kind, &key(&target), &options, now)
            }
            Write::DeleteCollection { namespace, .. } => {
                for object in self.objects.list(kind, &namespace) {
                    let deleted = self.objects.delete(kind, &key_of(&object), &json!({}), now);
                    deleted.expect("just listed");
                }
                Ok(Value::Null)
            }
        };
        if let Err(refusal) = answer {
            panic!("{refusal:?}: {text}");
        }
    }
}
