//! The vocabulary of plans: what a controller wants written, and why.
//!
//! All controllers speak these few verbs, and only the runtime carries them out; so preconditions,
//! Events, metrics and back-off exist once. A planner changes a copy of an observed object and
//! asks for the [difference](Action::update): nothing to write means no action, and whatever it
//! writes holds only for exactly the version that was observed.

mod diff;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kontiki_api::Object;
use kontiki_client::{Propagation, Regarding};
use serde_json::{Value, json};

use crate::{
    namespace::content::Content,
    world::{Cached, Entry, Kind, Resource},
};

/// One object, and the version of it that was observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its resource.
    pub resource: Resource,
    /// Its namespace; empty for cluster-wide objects.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: a namesake is never hit instead.
    pub uid: String,
    /// The version observed; empty where any will do.
    pub resource_version: String,
}

impl Target {
    /// An observed object.
    pub fn of<T: Object>(object: &T) -> Target {
        Target {
            resource: resource_of::<T>(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            resource_version: object.metadata().resource_version.clone().unwrap_or_default(),
        }
    }

    /// An object of which only metadata was observed.
    pub fn entry(entry: &Entry) -> Target {
        Target {
            resource: entry.kind.resource(),
            namespace: entry.key.namespace.clone(),
            name: entry.key.name.clone(),
            uid: entry.uid.clone(),
            resource_version: entry.resource_version.clone(),
        }
    }

    /// The same object in whatever version.
    pub fn any_version(mut self) -> Target {
        self.resource_version.clear();
        self
    }
}

fn resource_of<T: Object>() -> Resource {
    Resource {
        group: T::GROUP.to_owned(),
        version: T::VERSION.to_owned(),
        plural: T::RESOURCE.to_owned(),
        kind: T::KIND.to_owned(),
        namespaced: T::NAMESPACED,
    }
}

/// What is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A new object; with only a `generateName` the runtime picks the name, once.
    Create {
        /// Its resource.
        resource: Resource,
        /// Its namespace.
        namespace: String,
        /// The object.
        object: Value,
    },
    /// A JSON merge patch; carries uid and resourceVersion of the target.
    Patch {
        /// The object.
        target: Target,
        /// `status`, or none for the object itself.
        subresource: Option<&'static str>,
        /// The difference.
        patch: Value,
    },
    /// The `finalize` subresource of a Namespace.
    Finalize {
        /// The namespace.
        target: Target,
        /// The whole object without our finalizer.
        object: Value,
    },
    /// Deletion of one object.
    Delete {
        /// The object.
        target: Target,
        /// Grace period that overrides the object's own.
        grace_seconds: Option<i64>,
        /// What happens to its dependents.
        propagation: Option<Propagation>,
    },
    /// Deletion of everything of one resource in one namespace.
    DeleteCollection {
        /// The resource.
        resource: Resource,
        /// The namespace.
        namespace: String,
    },
}

/// A write, with the Events that tell of its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// The write.
    pub write: Write,
    /// Told when it succeeded. `{name}` stands for the object's name.
    pub on_success: Option<Note>,
    /// Told when it was refused. `{error}` stands for the reason.
    pub on_failure: Option<Note>,
    /// What upstream counts it as, if it succeeds.
    pub counted: Option<Count>,
}

/// What upstream counts some writes as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    /// A lost node whose pods begin to be evicted.
    NodeEviction {
        /// Its zone.
        zone: String,
    },
    /// A pod deleted without its kubelet.
    PodForceDeletion {
        /// Its namespace.
        namespace: String,
        /// Why: `orphaned`, `out-of-service`, `terminated`, `unscheduled`.
        reason: &'static str,
    },
    /// A pod deleted for its node's taints.
    TaintEviction,
}

impl Action {
    /// A bare write.
    pub fn new(write: Write) -> Action {
        Action { write, on_success: None, on_failure: None, counted: None }
    }

    /// Creates an object.
    pub fn create<T: Object>(object: &T) -> Action {
        Action::new(Write::Create {
            resource: resource_of::<T>(),
            namespace: object.namespace().to_owned(),
            object: object.to_value(),
        })
    }

    /// Changes an object outside its status; `None` if nothing differs.
    pub fn update<T: Object>(old: &T, new: &T) -> Option<Action> {
        let patch = diff::object(&old.to_value(), &new.to_value())?;
        Some(Action::patch(Target::of(old), None, patch))
    }

    /// Changes an object's status; `None` if nothing differs.
    pub fn update_status<T: Object>(old: &T, new: &T) -> Option<Action> {
        let patch = diff::status(&old.to_value(), &new.to_value())?;
        Some(Action::patch(Target::of(old), Some("status"), patch))
    }

    /// Changes an object's status, and the annotations that go with it, of a kind whose status may
    /// be written with those; `None` if nothing differs.
    pub fn update_status_and_annotations<T: Object>(old: &T, new: &T) -> Option<Action> {
        let patch = diff::status_and_annotations(&old.to_value(), &new.to_value())?;
        Some(Action::patch(Target::of(old), Some("status"), patch))
    }

    /// Changes an object's status by another of its subresources; `None` if nothing differs.
    pub fn update_by<T: Object>(subresource: &'static str, old: &T, new: &T) -> Option<Action> {
        let patch = diff::status(&old.to_value(), &new.to_value())?;
        Some(Action::patch(Target::of(old), Some(subresource), patch))
    }

    /// Changes the metadata of an object of which nothing else was observed.
    pub fn patch_metadata(entry: &Entry, metadata: &Value) -> Action {
        Action::patch(Target::entry(entry), None, json!({ "metadata": metadata }))
    }

    /// Changes the metadata of an object.
    pub fn patch_object<T: Object>(object: &T, metadata: &Value) -> Action {
        Action::patch(Target::of(object), None, json!({ "metadata": metadata }))
    }

    fn patch(target: Target, subresource: Option<&'static str>, patch: Value) -> Action {
        Action::new(Write::Patch { target, subresource, patch })
    }

    /// Deletes an object.
    pub fn delete(target: Target) -> Action {
        Action::new(Write::Delete { target, grace_seconds: None, propagation: None })
    }

    /// Deletes a pod without waiting for its kubelet.
    pub fn delete_now(target: Target) -> Action {
        Action::new(Write::Delete { target, grace_seconds: Some(0), propagation: None })
    }

    /// Adds the Event that tells of success.
    pub fn note(mut self, note: Note) -> Action {
        self.on_success = Some(note);
        self
    }

    /// Adds the Event that tells of failure.
    pub fn note_failure(mut self, note: Note) -> Action {
        self.on_failure = Some(note);
        self
    }

    /// Says what it counts as.
    pub fn counted(mut self, count: Count) -> Action {
        self.counted = Some(count);
        self
    }

    /// The cached kind it writes, if it is one.
    pub fn kind(&self) -> Option<Kind> {
        let resource = match &self.write {
            Write::Create { resource, .. } | Write::DeleteCollection { resource, .. } => resource,
            Write::Patch { target, .. }
            | Write::Finalize { target, .. }
            | Write::Delete { target, .. } => &target.resource,
        };
        Kind::from_reference(&resource.api_version(), &resource.kind)
    }
}

/// An Event to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// What it is about.
    pub about: Regarding,
    /// Whether it warns.
    pub warning: bool,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// Readable message.
    pub message: String,
}

impl Note {
    /// Something that went as it should.
    pub fn normal<T: Object>(about: &T, reason: &'static str, message: impl Into<String>) -> Note {
        Note { about: Regarding::object(about), warning: false, reason, message: message.into() }
    }

    /// Something that did not.
    pub fn warning<T: Object>(about: &T, reason: &'static str, message: impl Into<String>) -> Note {
        Note { about: Regarding::object(about), warning: true, reason, message: message.into() }
    }
}

/// A reference to the owner that controls an object.
pub fn controller_reference<T: Object>(owner: &T) -> OwnerReference {
    OwnerReference {
        api_version: T::api_version(),
        kind: T::KIND.to_owned(),
        name: owner.name().to_owned(),
        uid: owner.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// How the actions of one step follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// One after the other; the first failure ends the plan.
    InOrder,
    /// In batches of 1, 2, 4, ...; a failure ends the plan after its batch. A mistake that hits
    /// every create then costs one refused request, not hundreds.
    SlowStart,
    /// All at once; failures do not stop the others.
    Together,
}

/// Actions that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The actions.
    pub actions: Vec<Action>,
    /// Their pace.
    pub pace: Pace,
}

/// The next steps towards what one key's object asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What to write, in order.
    pub steps: Vec<Step>,
    /// Events that do not depend on a write.
    pub notes: Vec<Note>,
    /// Why nothing (more) is written, in readable words.
    pub reasons: Vec<String>,
    /// When to plan again though nothing changed.
    pub recheck_after: Option<Duration>,
    /// Plan again once these kinds have been seen up to these revisions.
    pub awaits: Vec<(Kind, u64)>,
}

impl Plan {
    /// A plan that does nothing, with its reason.
    pub fn nothing(reason: impl Into<String>) -> Plan {
        Plan { reasons: vec![reason.into()], ..Plan::default() }
    }

    /// Adds actions in order.
    pub fn then(&mut self, actions: impl IntoIterator<Item = Action>) {
        self.step(actions, Pace::InOrder);
    }

    /// Adds actions as a step of their own.
    pub fn step(&mut self, actions: impl IntoIterator<Item = Action>, pace: Pace) {
        let actions: Vec<Action> = actions.into_iter().collect();
        if !actions.is_empty() {
            self.steps.push(Step { actions, pace });
        }
    }

    /// Adds a reason for waiting.
    pub fn because(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    /// Plans again after `delay`, or earlier if asked for elsewhere.
    pub fn recheck(&mut self, delay: Duration) {
        self.recheck_after = Some(self.recheck_after.map_or(delay, |known| known.min(delay)));
    }

    /// All actions in order.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.steps.iter().flat_map(|step| &step.actions)
    }

    /// Whether nothing is written.
    pub fn is_idle(&self) -> bool {
        self.steps.is_empty()
    }
}

/// What a planner knows besides the world.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time.
    pub now: jiff::Timestamp,
    /// How the last attempt at this key failed, if it did.
    pub last_failure: Option<&'a Failure>,
    /// What the namespace contains that the controller asked to be surveyed.
    pub content: Option<&'a Content>,
    /// Whether what the controller asked about is allowed.
    pub allowed: &'a [bool],
}

/// A write that the API server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was tried: `Create`, `Patch`, `Delete`.
    pub verb: &'static str,
    /// The status reason (`Forbidden`, `Invalid`, ...).
    pub reason: String,
    /// The message.
    pub message: String,
}

/// Metadata of a new object owned by `owner`, in its namespace.
pub fn owned_metadata<T: Cached>(owner: &T) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(owner.namespace().to_owned()),
        owner_references: Some(vec![controller_reference(owner)]),
        ..ObjectMeta::default()
    }
}
