//! What changed between two objects, as sets of fields.
//!
//! Costs what differs: equal parts are passed over as wholes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    element::Element,
    place::{Atom, Entries, Items, Place},
    set::Set,
};
use crate::schema::Field;

/// The fields in which an object differs from an older one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Fields that only the new one has.
    pub added: Set,
    /// Fields that have another value.
    pub modified: Set,
    /// Fields that only the old one has.
    pub removed: Set,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// The same in every part.
    #[must_use]
    pub fn map(&self, keep: impl Fn(&Set) -> Set) -> Diff {
        Diff {
            added: keep(&self.added),
            modified: keep(&self.modified),
            removed: keep(&self.removed),
        }
    }

    fn attach(&mut self, element: Element, mark: Mark, below: Diff) {
        let Diff { added, modified, removed } = below;
        self.added.attach(element.clone(), mark == Mark::Added, added);
        self.modified.attach(element.clone(), mark == Mark::Modified, modified);
        self.removed.attach(element, mark == Mark::Removed, removed);
    }
}

/// What happened to a place itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Same,
    Added,
    Modified,
    Removed,
}

/// Compares an object with an older one.
pub fn compare(place: Place<'_>, old: &Value, new: &Value) -> Diff {
    walk(place, Some(old), Some(new)).1
}

fn walk(place: Place<'_>, old: Option<&Value>, new: Option<&Value>) -> (Mark, Diff) {
    let mut diff = Diff::default();
    let mark = match (old, new) {
        (None, None) => return (Mark::Same, diff),
        (Some(old), Some(new)) if old == new => return (Mark::Same, diff),
        (None, Some(_)) => Mark::Added,
        (Some(_), None) => Mark::Removed,
        (Some(_), Some(_)) => Mark::Modified,
    };
    // Where the schema leaves it open, a map may have become something else.
    let shapes = [old, new].map(|side| side.filter(|value| !value.is_null()));
    let atom = |value: Option<&Value>| place.atom(value.unwrap_or(&Value::Null));
    let leaf = match (atom(shapes[0].or(shapes[1])), atom(shapes[1].or(shapes[0]))) {
        (Atom::Map(old_entries), Atom::Map(entries)) => {
            Maps::of(old, new).compare(old_entries, entries, &mut diff)
        }
        (Atom::List(items), _) => {
            let (old, new) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            lists(items, old.map(Vec::as_slice), new.map(Vec::as_slice), &mut diff)
        }
        (Atom::Map(entries), _) => {
            Maps::of(old, None).compare(entries, entries, &mut diff);
            true
        }
        (_, Atom::Map(entries)) => {
            Maps::of(None, new).compare(entries, entries, &mut diff);
            true
        }
        _ => true,
    };
    // Both sides of something with parts are there: the parts have been compared.
    if mark == Mark::Modified && !leaf { (Mark::Same, diff) } else { (mark, diff) }
}

/// The fields of an object that was not there before: what comparing it with an empty one would
/// give as added and as modified, together, for a part of the cost.
pub fn appeared(place: Place<'_>, object: &Value) -> Set {
    let is_empty = object.as_object().is_some_and(Map::is_empty);
    if is_empty { Set::default() } else { new(place, object, true).1 }
}

/// Whether a place itself is a new field, and the fields below it; `present` says that the old one
/// is there, with nothing in it. Follows [`walk`].
fn new(place: Place<'_>, value: &Value, present: bool) -> (bool, Set) {
    let mut set = Set::default();
    if present && value.is_null() {
        return (false, set);
    }
    let leaf = match (place.atom(value), value) {
        (Atom::Map(entries), Value::Object(map)) if !map.is_empty() => {
            for (key, value) in map {
                let written = present && entries.named(key).is_some_and(Field::is_always_written);
                if written && is_zero(value) {
                    continue;
                }
                let (member, below) = new(entries.place(key), value, written);
                set.attach(Element::Field(key.clone()), member, below);
            }
            false
        }
        (Atom::List(items), Value::Array(list)) if !list.is_empty() => {
            for (element, [_, list]) in pairs(items, &[], list) {
                let (member, below) = match list.as_slice() {
                    [only] => new(items.place(), only, false),
                    _ => (true, Set::default()),
                };
                set.attach(element, member, below);
            }
            false
        }
        _ => true,
    };
    (leaf || !present, set)
}

/// The entries of both sides of a map; `present` says that the old one is there, if only as null.
struct Maps<'v> {
    old: Option<&'v Map<String, Value>>,
    new: Option<&'v Map<String, Value>>,
    present: bool,
}

impl<'v> Maps<'v> {
    fn of(old: Option<&'v Value>, new: Option<&'v Value>) -> Maps<'v> {
        Maps {
            old: old.and_then(Value::as_object),
            new: new.and_then(Value::as_object),
            present: old.is_some(),
        }
    }

    /// Compares entries; whether the map is a leaf, because both sides are empty.
    fn compare(&self, old_entries: Entries<'_>, entries: Entries<'_>, diff: &mut Diff) -> bool {
        let empty = |map: Option<&Map<String, Value>>| map.is_none_or(Map::is_empty);
        if empty(self.old) && empty(self.new) {
            return true;
        }
        for (key, value) in self.new.into_iter().flatten() {
            let mut before = self.old.and_then(|old| old.get(key));
            if before == Some(value) {
                continue;
            }
            if before.is_none() && self.present {
                // Upstream's encoding has it on the old side too, with nothing in it.
                if entries.named(key).is_some_and(Field::is_always_written) {
                    if is_zero(value) {
                        continue;
                    }
                    before = Some(&NOTHING);
                }
            }
            let (mark, below) = walk(entries.place(key), before, Some(value));
            if mark != Mark::Same || !below.is_empty() {
                diff.attach(Element::Field(key.clone()), mark, below);
            }
        }
        for (key, value) in self.old.into_iter().flatten() {
            if !self.new.is_some_and(|new| new.contains_key(key)) {
                let (mark, below) = walk(old_entries.place(key), Some(value), None);
                diff.attach(Element::Field(key.clone()), mark, below);
            }
        }
        false
    }
}

static NOTHING: Value = Value::Null;

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Compares items; whether the list was a leaf, because both sides are empty.
fn lists(items: Items<'_>, old: Option<&[Value]>, new: Option<&[Value]>, diff: &mut Diff) -> bool {
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    if old.is_empty() && new.is_empty() {
        return true;
    }
    for (element, [old, new]) in pairs(items, old, new) {
        let (mark, below) = match (old.as_slice(), new.as_slice()) {
            ([] | [_], [] | [_]) => walk(items.place(), old.first().copied(), new.first().copied()),
            // Items that cannot be told apart are one field together.
            ([_, _, ..], [_, _, ..]) if old == new => (Mark::Same, Diff::default()),
            ([_, _, ..], [_, _, ..]) => (Mark::Modified, Diff::default()),
            ([_, _, ..], now) => {
                let (mark, below) = walk(items.place(), None, now.first().copied());
                diff.attach(element.clone(), mark, below);
                (Mark::Removed, Diff::default())
            }
            (before, _) => {
                let (mark, below) = walk(items.place(), before.first().copied(), None);
                diff.attach(element.clone(), mark, below);
                (Mark::Added, Diff::default())
            }
        };
        if mark != Mark::Same || !below.is_empty() {
            diff.attach(element, mark, below);
        }
    }
    false
}

/// The items of both lists by what tells them apart.
fn pairs<'v>(
    items: Items<'_>,
    old: &'v [Value],
    new: &'v [Value],
) -> BTreeMap<Element, [Vec<&'v Value>; 2]> {
    let mut pairs: BTreeMap<Element, [Vec<&'v Value>; 2]> = BTreeMap::new();
    for (side, list) in [old, new].into_iter().enumerate() {
        for item in list {
            if let Ok(element) = items.element(item) {
                pairs.entry(element).or_default()[side].push(item);
            }
        }
    }
    pairs
}
