//! The objects of a fake API server: JSON by kind and key, with versions, generations,
//! preconditions, graceful deletion and finalizers; and the log of all that happened.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::world::{Key, Kind};

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    AlreadyExists,
    Conflict,
}

/// One entry of the log.
#[derive(Clone)]
pub(crate) struct Happened {
    pub(crate) revision: u64,
    pub(crate) kind: Kind,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub(crate) what: &'static str,
    pub(crate) object: Value,
}

/// See the module.
pub(crate) struct Objects {
    objects: BTreeMap<(Kind, Key), Value>,
    pub(crate) revision: u64,
    pub(crate) log: Vec<Happened>,
}

impl Objects {
    pub(crate) fn new() -> Objects {
        Objects { objects: BTreeMap::new(), revision: 100, log: Vec::new() }
    }

    pub(crate) fn get(&self, kind: Kind, key: &Key) -> Option<&Value> {
        self.objects.get(&(kind, key.clone()))
    }

    pub(crate) fn list(&self, kind: Kind, namespace: &str) -> Vec<Value> {
        self.objects
            .iter()
            .filter(|((other, key), _)| {
                *other == kind && (namespace.is_empty() || key.namespace == namespace)
            })
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Stores an object as it is.
    pub(crate) fn put(&mut self, kind: Kind, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let former = self.objects.insert((kind, key_of(&object)), object.clone());
        let what = if former.is_some() { "MODIFIED" } else { "ADDED" };
        self.log.push(Happened { revision: self.revision, kind, what, object: object.clone() });
        object
    }

    pub(crate) fn remove(&mut self, kind: Kind, key: &Key) -> Option<Value> {
        let mut object = self.objects.remove(&(kind, key.clone()))?;
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let what = "DELETED";
        self.log.push(Happened { revision: self.revision, kind, what, object: object.clone() });
        Some(object)
    }

    pub(crate) fn create(
        &mut self,
        kind: Kind,
        mut object: Value,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let metadata = &mut object["metadata"];
        if metadata["name"].as_str().is_none() {
            let prefix = metadata["generateName"].as_str().expect("a name").to_owned();
            metadata["name"] = json!(format!("{prefix}{}", self.revision));
        }
        metadata["uid"] = json!(format!("{kind:?}/{}#{}", metadata["name"], self.revision));
        metadata["creationTimestamp"] = json!(now.to_string());
        metadata["generation"] = json!(1);
        if kind == Kind::Namespace {
            object["spec"]["finalizers"] = json!(["kubernetes"]);
        }
        if self.get(kind, &key_of(&object)).is_some() {
            return Err(Refusal::AlreadyExists);
        }
        Ok(self.put(kind, object))
    }

    pub(crate) fn patch(&mut self, kind: Kind, key: &Key, patch: &Value) -> Result<Value, Refusal> {
        let former = self.get(kind, key).ok_or(Refusal::NotFound)?;
        let mut object = former.clone();
        merge(&mut object, patch);
        for field in ["uid", "resourceVersion"] {
            if object["metadata"][field] != former["metadata"][field] {
                return Err(Refusal::Conflict);
            }
        }
        if object == *former {
            return Ok(object);
        }
        if patch.get("spec").is_some() {
            let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        if patch["metadata"].get("finalizers").is_none() {
            return Ok(self.put(kind, object));
        }
        Ok(self.put_or_finish(kind, object))
    }

    pub(crate) fn finalize(&mut self, key: &Key, object: Value) -> Result<Value, Refusal> {
        let former = self.get(Kind::Namespace, key).ok_or(Refusal::NotFound)?;
        if former["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return Err(Refusal::Conflict);
        }
        Ok(self.put_or_finish(Kind::Namespace, object))
    }

    /// Deletes with DeleteOptions.
    pub(crate) fn delete(
        &mut self,
        kind: Kind,
        key: &Key,
        options: &Value,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let mut object = self.get(kind, key).ok_or(Refusal::NotFound)?.clone();
        for field in ["uid", "resourceVersion"] {
            let wanted = &options["preconditions"][field];
            if !wanted.is_null() && *wanted != object["metadata"][field] {
                return Err(Refusal::Conflict);
            }
        }
        let finalizer = match options["propagationPolicy"].as_str() {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = finalizer {
            let finalizers = &mut object["metadata"]["finalizers"];
            let mut all = finalizers.as_array().cloned().unwrap_or_default();
            all.push(json!(finalizer));
            *finalizers = json!(all);
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(now.to_string());
        } else if runs(kind, &object) && options["gracePeriodSeconds"] != json!(0) {
            return Ok(object);
        }
        if runs(kind, &object) && options["gracePeriodSeconds"] != json!(0) {
            return Ok(self.put(kind, object));
        }
        object["spec"]["nodeName"] = Value::Null;
        Ok(self.put_or_finish(kind, object))
    }

    /// Stores the object, unless it is being deleted and nothing holds it any more.
    fn put_or_finish(&mut self, kind: Kind, object: Value) -> Value {
        let deleting = !object["metadata"]["deletionTimestamp"].is_null();
        let count = |finalizers: &Value| finalizers.as_array().map_or(0, Vec::len);
        let own = if kind == Kind::Namespace { count(&object["spec"]["finalizers"]) } else { 0 };
        let held = count(&object["metadata"]["finalizers"]) + own > 0 || runs(kind, &object);
        if deleting && !held {
            let key = key_of(&object);
            return self.remove(kind, &key).unwrap_or(object);
        }
        self.put(kind, object)
    }
}

/// Whether it is a pod that a kubelet has to end first.
fn runs(kind: Kind, object: &Value) -> bool {
    kind == Kind::Pod && object["spec"]["nodeName"].is_string()
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
