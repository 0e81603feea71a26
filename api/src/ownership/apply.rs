//! Server-side apply: a configuration on top of an object.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    Scope,
    conflict::{self, Conflict},
    entries::{Entry, Fields, Id, Managed, Operation},
    update::{self, Changes},
};
use crate::{
    fields::{self, Set},
    meta,
    status::Status,
};

/// The client whose `kubectl apply` left its configuration in an annotation.
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Who owns what was there before anything was applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Why a configuration is not applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Others own what it would change.
    Conflicts(Vec<Conflict>),
    /// It makes no sense.
    BadRequest(String),
    /// It does not fit the schema, or the object does not.
    Mistyped(String),
}

impl Refusal {
    /// As the client is told.
    pub fn status(&self) -> Status {
        match self {
            Refusal::Conflicts(conflicts) => conflict::status(conflicts),
            Refusal::BadRequest(message) => Status::bad_request(message.clone()),
            Refusal::Mistyped(message) => Status::unknown_error(message.clone()),
        }
    }
}

/// A configuration to be applied, by whom and how.
#[derive(Clone, Copy, Debug)]
pub struct Configuration<'a> {
    /// What is applied.
    pub config: &'a Value,
    /// By whom.
    pub manager: &'a str,
    /// Whether what others own is taken from them.
    pub force: bool,
    /// When.
    pub now: Timestamp,
}

/// Applies a configuration to an object; `None` is one that does not exist yet. What comes out has
/// its `managedFields`, has not been brought into conformance, and may hold nulls.
pub fn apply(
    scope: &Scope<'_>,
    live: Option<&Value>,
    wanted: &Configuration<'_>,
) -> Result<Value, Refusal> {
    check(scope, wanted.config)?;
    let nothing = Value::Object(Map::new());
    let mut managed = match live {
        Some(live) => Managed::decode(&live["metadata"]["managedFields"]).map_err(|error| {
            Refusal::Mistyped(format!("failed to decode managed fields: {error}"))
        })?,
        None => Managed::default(),
    };
    let live = live.unwrap_or(&nothing);
    if managed.entries.is_empty() {
        update::track(scope, &mut managed, &nothing, live, BEFORE_FIRST_APPLY, wanted.now);
    }
    let applied = attempt(scope, live, wanted, managed.clone(), wanted.force);
    let (mut object, managed) = match applied {
        Err(conflicts) if wanted.manager == KUBECTL => {
            let others = match last_applied(scope, live) {
                Some(own) => {
                    conflicts.into_iter().filter(|conflict| !own.has(&conflict.path.0)).collect()
                }
                None => conflicts,
            };
            if !others.is_empty() {
                return Err(Refusal::Conflicts(others));
            }
            attempt(scope, live, wanted, managed, true).map_err(Refusal::Conflicts)?
        }
        other => other.map_err(Refusal::Conflicts)?,
    };
    if wanted.manager == KUBECTL && meta::annotation(&object, LAST_APPLIED).is_some() {
        meta::set_annotation(&mut object, LAST_APPLIED, &as_last_applied(wanted.config));
    }
    meta::set(&mut object, "managedFields", managed.encode());
    Ok(object)
}

fn check(scope: &Scope<'_>, config: &Value) -> Result<(), Refusal> {
    let text = |field: &str| config[field].as_str().unwrap_or_default();
    if text("apiVersion") != scope.api_version {
        return Err(Refusal::BadRequest(format!(
            "Incorrect version specified in apply patch. Specified patch version: {}, expected: {}",
            text("apiVersion"),
            scope.api_version
        )));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Refusal::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    fields::check(scope.place(), config).map_err(|mistakes| {
        Refusal::Mistyped(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): {mistakes}",
            meta::namespace(config),
            meta::name(config),
            text("apiVersion"),
            text("kind"),
        ))
    })
}

/// The merged object and its managers, or what is in the way.
fn attempt(
    scope: &Scope<'_>,
    live: &Value,
    wanted: &Configuration<'_>,
    mut managed: Managed,
    force: bool,
) -> Result<(Value, Managed), Vec<Conflict>> {
    let place = scope.place();
    let id = Id::new(wanted.manager, Operation::Apply, scope.api_version, scope.subresource);
    let merged = fields::merge(place, live, wanted.config);
    let last = managed.get(&id).map(|entry| (entry.api_version.clone(), entry.fields.set()));
    let time = managed.get(&id).and_then(|entry| entry.time.clone());
    let set = scope.owned.keep(&fields::collect(place, wanted.config));
    managed.put(Entry {
        id: id.clone(),
        api_version: scope.api_version.to_owned(),
        time,
        fields: Fields::Set(set.clone()),
    });
    let merged = match last {
        Some((version, last)) if version == scope.api_version && !last.is_empty() => {
            prune(scope, &merged, &managed, &last)
        }
        _ => merged,
    };
    let changes = Changes::new(scope, &managed, live, &merged);
    if !force {
        let conflicts = conflicts(&managed, &id, &changes);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
    }
    update::release(&mut managed, &changes, Some(&id));
    if let Some(entry) = managed.get_mut(&id) {
        entry.fields = Fields::Set(update::owned_by_writer(&set));
        if merged != *live {
            entry.time = Some(meta::time(wanted.now));
        }
    }
    managed.drop_empty();
    Ok((merged, managed))
}

fn conflicts(managed: &Managed, own: &Id, changes: &Changes) -> Vec<Conflict> {
    let mut others: Vec<&Entry> = managed.entries.iter().filter(|entry| entry.id != *own).collect();
    others.sort_by(|a, b| a.id.cmp(&b.id));
    let mut conflicts = Vec::new();
    for entry in others {
        let Some(change) = changes.of(&entry.api_version) else { continue };
        if entry.fields.hold_any(&change.set) {
            let fought = entry.fields.set().intersection(&change.set);
            let paths = fought.paths().into_iter();
            conflicts.extend(paths.map(|path| Conflict { manager: entry.id.clone(), path }));
        }
    }
    conflicts
}

/// Removes what the applier named last time, does not name now, and no other applier names.
fn prune(scope: &Scope<'_>, merged: &Value, managed: &Managed, last: &Set) -> Value {
    let place = scope.place();
    let named = |set: &Set| fields::with_named_fields(place, set);
    let pruned = fields::remove(place, merged, &named(last));
    // Back comes what some applier, or the new configuration, names.
    let appliers = managed.entries.iter().filter(|entry| {
        entry.id.operation == Operation::Apply && entry.api_version == scope.api_version
    });
    let applied = appliers.fold(Set::default(), |all, entry| all.union(&entry.fields.set()));
    let merged_set = named(&fields::collect(place, merged));
    let pruned_set = named(&fields::collect(place, &pruned));
    let kept = pruned_set.union(&named(&applied));
    let pruned = fields::remove(place, merged, &merged_set.difference(&kept));
    // And what went only because it stood in something that was removed.
    let pruned_set = named(&fields::collect(place, &pruned));
    let gone = merged_set.difference(&pruned_set).intersection(&named(last));
    fields::remove(place, merged, &gone)
}

/// What `kubectl apply` says that it applied, as far as the object still has it: fields that the
/// same person may change now by server-side apply, whoever owns them.
fn last_applied(scope: &Scope<'_>, live: &Value) -> Option<Set> {
    let text = meta::annotation(live, LAST_APPLIED).filter(|text| !text.is_empty())?;
    let applied: Value = serde_json::from_str(text).ok()?;
    if applied["apiVersion"] != scope.api_version {
        return None;
    }
    let place = scope.place();
    fields::check(place, &applied).ok()?;
    let diff = fields::compare(place, &applied, live);
    let own = fields::collect(place, &applied);
    Some(own.difference(&diff.modified).difference(&diff.added).difference(&diff.removed))
}

/// A configuration as the annotation keeps it.
fn as_last_applied(config: &Value) -> String {
    let mut config = config.clone();
    let metadata = meta::metadata_mut(&mut config);
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
        if annotations.is_empty() {
            metadata.shift_remove("annotations");
        }
    }
    let mut text = config.to_string();
    text.push('\n');
    text
}
