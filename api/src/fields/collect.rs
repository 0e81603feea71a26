//! The fields that an object sets: what an applier becomes the owner of, and what the creator of an
//! object does.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    element::Element,
    place::{Atom, Place},
    set::Set,
};

/// All fields that an object sets.
pub fn collect(place: Place<'_>, object: &Value) -> Set {
    walk(place, object).1
}

/// Whether the place itself is a field, and the fields below it.
fn walk(place: Place<'_>, value: &Value) -> (bool, Set) {
    let mut set = Set::default();
    match (place.atom(value), value) {
        // What a null stands for in a place without schema only its parent knows.
        (Atom::Scalar, Value::Null) if place.is_any() => return (false, set),
        (Atom::Scalar | Atom::AtomicMap | Atom::AtomicList, _) => return (true, set),
        (Atom::Map(entries), Value::Object(map)) => {
            for (key, value) in map {
                let (member, below) = walk(entries.place(key), value);
                let empty = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
                let member = member || empty || entries.named(key).is_none();
                set.attach(Element::Field(key.clone()), member, below);
            }
        }
        (Atom::List(items), Value::Array(list)) => {
            let elements: Vec<Option<Element>> =
                list.iter().map(|item| items.element(item).ok()).collect();
            let mut times: BTreeMap<Element, usize> = BTreeMap::new();
            for element in elements.iter().flatten() {
                *times.entry(element.clone()).or_default() += 1;
            }
            for (item, element) in list.iter().zip(elements) {
                let Some(element) = element else { continue };
                // Items that cannot be told apart are one field together.
                let alone = times.get(&element) == Some(&1);
                let below = if alone { walk(items.place(), item).1 } else { Set::default() };
                set.attach(element, true, below);
            }
        }
        (Atom::Map(_) | Atom::List(_), _) => {}
    }
    (false, set)
}
