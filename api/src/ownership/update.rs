//! What a write other than an apply does to ownership.
//!
//! On the hot path of every write, so it costs what the write changed: the two objects are
//! compared, and a manager's stored fields are decoded only if the change touches them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    MANAGER_BYTES_MAX, Scope,
    entries::{Entry, Fields, Id, Managed, Operation},
};
use crate::{
    fields::{self, Diff, Element, Place, Set},
    meta,
};

/// How many managers that update (rather than apply) are told apart.
const UPDATERS_MAX: usize = 10;
/// Who the oldest of them become together.
const OLD_UPDATES: &str = "ancient-changes";

/// Nobody owns that an object is what it is.
const IDENTITY: &[&str] = &["apiVersion", "kind", "metadata"];
/// Nor what of its metadata is its identity, or the server's.
const FILLED_IN: &[&str] = &[
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Brings `managedFields` of an object that is about to be written up to date. `live` is the
/// object as it is, none if it is being created.
pub fn update(
    scope: &Scope<'_>,
    live: Option<&Value>,
    new: &mut Value,
    manager: &str,
    now: Timestamp,
) {
    let sent = meta::metadata_mut(new).shift_remove("managedFields");
    let Some(mut managed) = known_managers(scope, live, sent.as_ref()) else {
        return;
    };
    if live.is_none() && managed.entries.is_empty() {
        managed.entries.extend(creator(scope, new, manager, now));
    } else if !managed.entries.is_empty() || live.is_none() {
        let empty = Value::Object(serde_json::Map::new());
        track(scope, &mut managed, live.unwrap_or(&empty), new, manager, now);
    }
    meta::set(new, "managedFields", managed.encode());
}

/// The only manager of an object that is created: what [`track`] makes of nothing, for a part of
/// the cost.
fn creator(scope: &Scope<'_>, new: &Value, manager: &str, now: Timestamp) -> Option<Entry> {
    let mut own = fields::appeared(scope.place(), new);
    scope.owned.restrict(&mut own);
    own.cut(&["metadata", "managedFields"]);
    IDENTITY.iter().for_each(|name| own.disown(&[name]));
    FILLED_IN.iter().for_each(|name| own.disown(&["metadata", name]));
    (!own.is_empty()).then(|| Entry {
        api_version: scope.api_version.to_owned(),
        id: Id::new(manager, Operation::Update, scope.api_version, scope.subresource),
        time: Some(meta::time(now)),
        fields: Fields::Set(own),
    })
}

/// The managers before the write. A client that knows of managed fields may change them; one that
/// does not, and sends none, leaves them as they are. `None` says that it cleared them.
fn known_managers(
    scope: &Scope<'_>,
    live: Option<&Value>,
    sent: Option<&Value>,
) -> Option<Managed> {
    let of_live = || live.map(Managed::of_object).unwrap_or_default();
    let Some(sent) = sent.filter(|_| scope.subresource.is_empty()) else {
        return Some(of_live());
    };
    if live.is_some_and(|live| live["metadata"]["managedFields"] == *sent) {
        return Some(of_live());
    }
    if is_reset(sent) {
        // Nobody is tracked again until something is applied.
        return live.is_none().then(Managed::default);
    }
    match Managed::decode(sent) {
        Ok(managed) if !managed.entries.is_empty() => Some(managed),
        _ => Some(of_live()),
    }
}

/// A list of one empty entry clears; an empty list does not, so that clients which know nothing
/// of managed fields do not clear them by accident.
fn is_reset(sent: &Value) -> bool {
    let [only] = sent.as_array().map_or(&[][..], Vec::as_slice) else { return false };
    only.as_object().is_some_and(|entry| entry.values().all(|value| value == ""))
}

/// Makes `manager` the owner of what differs.
pub(super) fn track(
    scope: &Scope<'_>,
    managed: &mut Managed,
    old: &Value,
    new: &Value,
    manager: &str,
    now: Timestamp,
) {
    let changes = Changes::new(scope, managed, old, new);
    release(managed, &changes, None);
    let changed = changes.of(scope.api_version).map(|change| &change.set);
    let own = changed.map(owned_by_writer).unwrap_or_default();
    if !own.is_empty() {
        let id = Id::new(manager, Operation::Update, scope.api_version, scope.subresource);
        let time = Some(meta::time(now));
        match managed.get_mut(&id) {
            Some(entry) => {
                if !entry.fields.hold_all(&own) {
                    entry.fields = Fields::Set(entry.fields.set().union(&own));
                }
                entry.time = time;
            }
            None => managed.entries.push(Entry {
                api_version: scope.api_version.to_owned(),
                id,
                time,
                fields: Fields::Set(own),
            }),
        }
    }
    managed.drop_empty();
    cap_updaters(managed);
}

/// What a write changes, as far as it can be owned, in one version.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// What it adds and modifies.
    pub(super) set: Set,
    /// What it removes.
    removed: Set,
}

/// What a write changes, in the versions of all managers.
pub(super) struct Changes(BTreeMap<String, Change>);

impl Changes {
    pub(super) fn new(scope: &Scope<'_>, managed: &Managed, old: &Value, new: &Value) -> Changes {
        let mut versions = BTreeMap::new();
        let own = Change::between(scope, scope.place(), old, new);
        versions.insert(scope.api_version.to_owned(), own);
        for entry in &managed.entries {
            let version = entry.api_version.as_str();
            if versions.contains_key(version) {
                continue;
            }
            // Fields named in a version that is not served cannot be compared with.
            let converted = |object: &Value| (scope.convert)(object, scope.api_version, version);
            if let (Some(place), Some(old), Some(new)) =
                (scope.place_in(version), converted(old), converted(new))
            {
                let change = Change::between(scope, place, &old, &new);
                versions.insert(version.to_owned(), change);
            }
        }
        Changes(versions)
    }

    pub(super) fn of(&self, api_version: &str) -> Option<&Change> {
        self.0.get(api_version)
    }
}

impl Change {
    fn between(scope: &Scope<'_>, place: Place<'_>, old: &Value, new: &Value) -> Change {
        let stripped = Set::of_names(&[&["metadata", "managedFields"]]);
        let Diff { added, modified, removed } =
            fields::compare(place, old, new).map(|set| scope.owned.keep(set).without(&stripped));
        Change { set: modified.union(&added), removed }
    }
}

/// Takes what changed and what is gone from everybody but one.
pub(super) fn release(managed: &mut Managed, changes: &Changes, except: Option<&Id>) {
    managed.entries.retain(|entry| changes.of(&entry.api_version).is_some());
    for entry in managed.entries.iter_mut().filter(|entry| Some(&entry.id) != except) {
        let Some(Change { set, removed }) = changes.of(&entry.api_version) else { continue };
        if entry.fields.hold_any(set) || entry.fields.hold_any(removed) {
            let left = entry.fields.set().difference(set).difference(removed);
            entry.fields = Fields::Set(left);
        }
    }
}

/// What a writer owns of what it wrote: not the identity of the object and what the server fills
/// in.
pub(super) fn owned_by_writer(set: &Set) -> Set {
    let field = |name: &str| Element::Field(name.to_owned());
    let mut stripped = Set::default();
    for name in IDENTITY {
        stripped.insert(&[field(name)]);
    }
    for name in FILLED_IN {
        stripped.insert(&[field("metadata"), field(name)]);
    }
    set.difference(&stripped)
}

/// Merges the oldest updaters of each version into one, until few enough are left.
pub(super) fn cap_updaters(managed: &mut Managed) {
    let mut updaters: Vec<(Option<String>, Id)> = managed
        .entries
        .iter()
        .filter(|entry| entry.id.operation == Operation::Update)
        .map(|entry| (entry.time.clone(), entry.id.clone()))
        .collect();
    let mut excess = updaters.len().saturating_sub(UPDATERS_MAX);
    if excess == 0 {
        return;
    }
    updaters.sort();
    let mut first_of_version: BTreeMap<String, Id> = BTreeMap::new();
    for (time, id) in updaters {
        if excess == 0 {
            return;
        }
        let Some(first) = first_of_version.get(&id.api_version).cloned() else {
            first_of_version.insert(id.api_version.clone(), id);
            continue;
        };
        let bucket = Id::new(OLD_UPDATES, Operation::Update, &id.api_version, "");
        if managed.get(&bucket).is_none()
            && let Some(mut entry) = managed.take(&first)
        {
            entry.id = bucket.clone();
            managed.put(entry);
        }
        if id == bucket {
            continue;
        }
        if let Some(merged) = managed.take(&id)
            && let Some(entry) = managed.get_mut(&bucket)
        {
            entry.fields = Fields::Set(merged.fields.set().union(&entry.fields.set()));
            entry.time = time;
            excess -= 1;
        }
    }
}

/// Keeps the old times if nothing but times would change: a write that changes nothing else is
/// none. Compare after everything else has been decided about the object.
pub fn settle_times(new: &mut Value, old: &Value) {
    let managed = &new["metadata"]["managedFields"];
    let before = &old["metadata"]["managedFields"];
    if managed == before || !same_but_for_times(managed, before) {
        return;
    }
    let before = before.clone();
    let managed = std::mem::replace(&mut new["metadata"]["managedFields"], before);
    if *new != *old {
        new["metadata"]["managedFields"] = managed;
    }
}

fn same_but_for_times(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_array(), b.as_array()) else { return false };
    let identity = |entry: &Value| {
        ["manager", "operation", "apiVersion", "subresource"]
            .map(|field| entry[field].as_str().unwrap_or_default().to_owned())
    };
    a.len() == b.len()
        && a.iter().all(|entry| {
            let found = b.iter().find(|other| identity(entry) == identity(other));
            found.is_some_and(|other| entry["fieldsV1"] == other["fieldsV1"])
        })
}

/// The manager that a client is if it does not say: the first part of its user agent.
pub fn manager_of_user_agent(user_agent: &str) -> String {
    let first = user_agent.split('/').next().unwrap_or_default();
    let mut name = String::new();
    for letter in first.chars().filter(|letter| !letter.is_control()) {
        if name.len() + letter.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        name.push(letter);
    }
    name
}
