//! An object without some of its fields.

use serde_json::{Map, Value};

use super::{
    element::Element,
    place::{Atom, Place},
    set::Set,
};

/// The object without the fields of a set. What is emptied by that is null, which is no value.
pub fn remove(place: Place<'_>, object: &Value, fields: &Set) -> Value {
    match (place.atom(object), object) {
        (Atom::Scalar, value) => value.clone(),
        (Atom::List(items), Value::Array(list)) => {
            let mut kept = Vec::with_capacity(list.len());
            for item in list {
                let Ok(element) = items.element(item) else { continue };
                if fields.has_element(&element) {
                    continue;
                }
                let below = fields.below(&element);
                kept.push(if below.is_empty() {
                    item.clone()
                } else {
                    remove(items.place(), item, below)
                });
            }
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        (Atom::Map(entries), Value::Object(map)) => {
            let mut kept = Map::with_capacity(map.len());
            for (key, value) in map {
                let element = Element::Field(key.clone());
                if fields.has_element(&element) {
                    continue;
                }
                let below = fields.below(&element);
                let value = if below.is_empty() {
                    value.clone()
                } else {
                    remove(entries.place(key), value, below)
                };
                kept.insert(key.clone(), value);
            }
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        // Whoever owned something inside of what is now one field owned all of it.
        _ => Value::Null,
    }
}

/// The set with every field on the way to its members that the schema names: a struct's field
/// goes together with all that is in it, an entry of a map does not.
pub fn with_named_fields(place: Place<'_>, set: &Set) -> Set {
    let mut named = Set::default();
    for node in set.nodes() {
        // Sets hold no values, so where the schema leaves it open there is nothing named.
        let (member, below) = match (&node.element, place.atom(&Value::Null)) {
            (Element::Field(key), Atom::Map(entries)) => {
                let known = entries.named(key).is_some() && !node.children.is_empty();
                (known, with_named_fields(entries.place(key), &node.children))
            }
            (_, Atom::List(items)) => (false, with_named_fields(items.place(), &node.children)),
            _ => (false, node.children.clone()),
        };
        named.attach(node.element.clone(), node.member || member, below);
    }
    named
}
