//! What is special about each resource: one [`Row`] per resource that is stored.
//!
//! The verbs (create, update, delete, ...) know no kind. They walk one object, as a JSON value,
//! through the hooks of its row's [`Strategy`]; every hook has a default that does nothing, so a
//! strategy says only what is special. The order of a write is:
//!
//! ```text
//! decode -> default -> mutating admission -> prepare_for_{create,update} -> metadata rules
//!        -> allocate -> validate{,_update} -> validating admission -> transaction (with claims)
//! ```
//!
//! Strategies are pure: what they need of the outside arrives as an argument ([`Context`],
//! [`Allocator`]).

use std::{ops::RangeInclusive, sync::Arc};

use ipnet::IpNet;
use jiff::Timestamp;
use kontiki_api::{Catalogue, catalogue, field, ownership::Owned};
use serde_json::Value;

use crate::{strategy, user::UserInfo};

/// One stored resource: its catalogue row and what is special about it.
#[derive(Clone)]
pub struct Row {
    /// How it is named, served and scoped.
    pub resource: Arc<catalogue::Row>,
    /// What is special about it.
    pub strategy: &'static dyn Strategy,
}

/// All stored resources, from one snapshot of the catalogue. A row without a strategy of its own
/// gets the one that does nothing special.
pub fn rows(catalogue: &Catalogue) -> Vec<Row> {
    let row = |resource: &Arc<catalogue::Row>| Row {
        resource: resource.clone(),
        strategy: strategy::of(&resource.group, &resource.resource),
    };
    catalogue.rows().iter().map(row).collect()
}

/// What a strategy may know about the request it takes part in.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The request's time.
    pub now: Timestamp,
    /// Who asks.
    pub user: &'a UserInfo,
}

/// What is special about one resource. Object-safe and pure; works on the JSON value.
///
/// The table of strategies is `crate::strategy::of(group, resource) -> &'static dyn Strategy`.
/// When a hook runs, `object` is a JSON object that carries `apiVersion`, `kind` and `metadata`
/// (with `name` and, where namespaced, `namespace`).
pub trait Strategy: Send + Sync + 'static {
    /// Sets unset fields to their defaults. Runs after decoding, after every patch, and on stored
    /// objects of an older schema; must be idempotent.
    fn set_defaults(&self, object: &mut Value) {
        let _ = object;
    }

    /// Brings a new object into its initial state: clears `status`, drops fields of its owner.
    /// `metadata` (uid, creationTimestamp, generation 1) is done by the verb.
    fn prepare_for_create(&self, object: &mut Value, context: &Context<'_>) {
        let _ = (object, context);
    }

    /// Undoes what an update of the main resource may not change: typically restores `status`.
    /// The verb keeps the system's metadata, and raises `generation` when `spec` (or, without a
    /// spec, anything [`Strategy::generation_changes`] names) differs afterwards.
    fn prepare_for_update(&self, object: &mut Value, old: &Value, context: &Context<'_>) {
        let _ = context;
        restore(object, old, "status");
    }

    /// What of the metadata may be written together with a status; most kinds leave that to their
    /// authors, as upstream's do.
    fn status_metadata(&self) -> &'static [&'static str] {
        OPEN_METADATA
    }

    /// Undoes what an update through `/status` may not change: by default everything but `status`
    /// and [`Strategy::status_metadata`].
    fn prepare_for_status_update(&self, object: &mut Value, old: &Value, context: &Context<'_>) {
        let _ = context;
        keep_status(object, old, self.status_metadata());
    }

    /// Undoes what an update through another part of the object may not change: `approval` and
    /// such, which are not their own kind. By default what `/status` may not.
    fn prepare_for_part(&self, part: &str, object: &mut Value, old: &Value, context: &Context<'_>) {
        let _ = part;
        self.prepare_for_status_update(object, old, context);
    }

    /// Which fields a writer can come to own by writing a subresource (empty: the object itself).
    /// Name here what the hooks above undo: nobody owns what was not written.
    fn owned(&self, subresource: &str) -> Owned<'static> {
        match subresource {
            "status" if self.status_metadata().is_empty() => Owned::Only(&[&["status"]]),
            other => owned(other),
        }
    }

    /// Checks a new object. `metadata` is checked by the verb, except for the name's form
    /// ([`Strategy::validate_name`]).
    fn validate(&self, object: &Value) -> field::Errors {
        let _ = object;
        field::Errors::default()
    }

    /// Checks an update: everything [`Strategy::validate`] does, and what may not change.
    fn validate_update(&self, object: &Value, old: &Value) -> field::Errors {
        let _ = old;
        self.validate(object)
    }

    /// Checks an update through `/status`.
    fn validate_status_update(&self, object: &Value, old: &Value) -> field::Errors {
        let _ = (object, old);
        field::Errors::default()
    }

    /// Checks an update through another part of the object.
    fn validate_part_update(&self, part: &str, object: &Value, old: &Value) -> field::Errors {
        let _ = part;
        self.validate_status_update(object, old)
    }

    /// Why `name` is not a valid name for this resource, in upstream's words. `prefix` is set for
    /// a `generateName`.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String>;

    /// Warnings for the `Warning` header of a write.
    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let _ = (object, old);
        Vec::new()
    }

    /// Whether this change of an object raises `metadata.generation`.
    fn generation_changes(&self, object: &Value, old: &Value) -> bool {
        object.get("spec") != old.get("spec")
    }

    /// Whether `metadata.generation` is kept at all for this resource.
    fn has_generation(&self) -> bool {
        true
    }

    /// Whether an update of an object that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether an update without `resourceVersion` overwrites whatever is there.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// How long a deletion lasts. `requested` is `gracePeriodSeconds` of the request.
    fn graceful_deletion(&self, object: &Value, requested: Option<i64>) -> Grace {
        let _ = (object, requested);
        Grace::Immediate
    }

    /// Whether something else than `metadata.finalizers` still holds an object that is being
    /// deleted: `spec.finalizers` of a namespace.
    fn holds_deletion(&self, object: &Value) -> bool {
        let _ = object;
        false
    }

    /// Changes an object when its deletion begins and something holds it.
    fn begin_deletion(&self, object: &mut Value, context: &Context<'_>) {
        let _ = (object, context);
    }

    /// Whether a delete answers with the object rather than with a Status.
    fn returns_deleted_object(&self) -> bool {
        false
    }

    /// Whether [`allocate`](Strategy::allocate) may do anything.
    fn allocates(&self) -> bool {
        false
    }

    /// Fills what the cluster hands out (cluster IPs, node ports) and the object has not named.
    /// Called again, with the claims that were lost by then taken, when another request was
    /// faster.
    fn allocate(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        allocator: &dyn Allocator,
    ) -> Result<(), field::Errors> {
        let _ = (object, old, allocator);
        Ok(())
    }

    /// What this object owns exclusively in the cluster. Claims are written and released in the
    /// transaction that writes or deletes the object.
    fn claims(&self, object: &Value) -> Vec<Claim> {
        let _ = object;
        Vec::new()
    }

    /// How long an object of this resource lives; `None` is for ever. Events expire.
    fn time_to_live(&self) -> Option<std::time::Duration> {
        None
    }
}

/// How a deletion goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// The object is removed as soon as no finalizer holds it.
    Immediate,
    /// It is marked with a deletionTimestamp this many seconds ahead; whoever runs it removes it
    /// with a grace period of 0. 0 seconds is immediate.
    Period(i64),
}

/// Something in the cluster that belongs to one object at a time.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What is claimed, unique per pool: `clusterips/10.43.0.17`, `nodeports/tcp/30080`.
    pub key: String,
    /// What the request is told when another object has it.
    pub taken: field::Error,
}

/// The pools that [`Strategy::allocate`] draws from.
pub trait Allocator {
    /// The ranges of Service addresses, at most one per family, the primary first.
    fn service_cidrs(&self) -> &[IpNet];
    /// All ranges that addresses may come from: those, and what was added since.
    fn service_ranges(&self) -> Vec<IpNet> {
        self.service_cidrs().to_vec()
    }
    /// The range of node ports.
    fn node_ports(&self) -> RangeInclusive<u16>;
    /// Whether a claim is taken, as far as this server knows; the transaction has the last word.
    fn is_taken(&self, claim: &str) -> bool;
    /// A random number below `bound`.
    fn random_below(&self, bound: u64) -> u64;
}

/// What can be owned through a subresource of most kinds.
pub fn owned(subresource: &str) -> Owned<'static> {
    match subresource {
        "" => Owned::Without(&[&["status"]]),
        "status" => Owned::Only(&[&["status"], &["metadata"]]),
        _ => Owned::Without(&[]),
    }
}

/// The metadata that is its author's to write.
pub const OPEN_METADATA: &[&str] = &["annotations", "finalizers", "labels", "ownerReferences"];

/// Puts everything of `old` back but the status, and of the metadata what the verb has set and
/// what else may be written with a status.
pub fn keep_status(object: &mut Value, old: &Value, metadata: &[&str]) {
    let status = object.get_mut("status").map(Value::take);
    let written = object.get_mut("metadata").map(Value::take);
    *object = old.clone();
    set_or_remove(object, "status", status);
    if let (Some(written), Some(kept)) = (written, object.get_mut("metadata")) {
        for field in ["resourceVersion", "managedFields"].iter().chain(metadata) {
            restore(kept, &written, field);
        }
    }
}

/// Puts back the metadata that is its author's to write, where a write is about something else.
pub fn keep_metadata(object: &mut Value, old: &Value) {
    if let Some(new) = object.get_mut("metadata") {
        for field in OPEN_METADATA {
            restore(new, &old["metadata"], field);
        }
    }
}

/// Puts `field` of `old` back into `object`, or removes it if `old` has none.
pub fn restore(object: &mut Value, old: &Value, field: &str) {
    set_or_remove(object, field, old.get(field).cloned());
}

fn set_or_remove(object: &mut Value, field: &str, value: Option<Value>) {
    if let Value::Object(map) = object {
        match value {
            Some(value) => {
                map.insert(field.to_owned(), value);
            }
            None => {
                map.shift_remove(field);
            }
        }
    }
}
