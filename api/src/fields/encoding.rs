//! FieldsV1: a set as a JSON object. A step is a key (`f:NAME`, `k:{KEYS}`, `v:VALUE`, `i:INDEX`),
//! what is below it its value; `.` says that a step with something below it is a member too.

use serde::Serializer;
use serde_json::{Map, Value};

use super::{
    element::Element,
    set::{Node, Set},
};

const SELF: &str = ".";

/// Writes a set as FieldsV1.
pub fn encode(set: &Set) -> Value {
    Value::Object(encode_nodes(set.nodes(), false))
}

fn encode_nodes(nodes: &[Node], member: bool) -> Map<String, Value> {
    let mut map = Map::with_capacity(nodes.len() + usize::from(member));
    if member && !nodes.is_empty() {
        map.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
    for node in nodes {
        let below = encode_nodes(node.children.nodes(), node.member);
        map.insert(key(&node.element), Value::Object(below));
    }
    map
}

fn key(element: &Element) -> String {
    match element {
        Element::Field(name) => {
            let mut key = String::with_capacity(name.len() + 2);
            key.push_str("f:");
            key.push_str(name);
            key
        }
        Element::Key(keys) => {
            let mut key = b"k:".to_vec();
            let pairs = keys.iter().map(|(name, value)| (name, value));
            let written = serde_json::Serializer::new(&mut key).collect_map(pairs);
            // Only maps whose keys are not strings fail, and writers other than memory.
            debug_assert!(written.is_ok(), "{written:?}");
            String::from_utf8(key).unwrap_or_default()
        }
        Element::Value(value) => format!("v:{value}"),
        Element::Index(index) => format!("i:{index}"),
    }
}

/// Reads FieldsV1; what is wrong with it if it is none.
pub fn decode(fields: &Value) -> Result<Set, String> {
    let Value::Object(map) = fields else {
        return Err(format!("expected an object, got {fields}"));
    };
    let mut set = Set::default();
    for (key, below) in map {
        if key == SELF {
            continue;
        }
        let children = decode(below)?;
        let member = children.is_empty() || below.get(SELF).is_some();
        set.attach(element(key)?, member, children);
    }
    Ok(set)
}

/// Whether a value is FieldsV1; what is wrong with it if not. Builds nothing.
pub fn well_formed(fields: &Value) -> Result<(), String> {
    let Value::Object(map) = fields else {
        return Err(format!("expected an object, got {fields}"));
    };
    for (key, below) in map {
        // Most steps are fields, which need no parsing.
        if key != SELF && !key.starts_with("f:") {
            element(key)?;
        }
        well_formed(below)?;
    }
    Ok(())
}

fn element(key: &str) -> Result<Element, String> {
    let parsed = |text: &str| -> Result<Value, String> {
        serde_json::from_str(text).map_err(|error| format!("{key}: {error}"))
    };
    match key.split_once(':') {
        Some(("f", name)) => Ok(Element::Field(name.to_owned())),
        Some(("v", text)) => parsed(text).map(Element::Value),
        Some(("i", text)) => {
            text.parse().map(Element::Index).map_err(|error| format!("{key}: {error}"))
        }
        Some(("k", text)) => match parsed(text)? {
            Value::Object(map) if !map.is_empty() => {
                let mut keys: Vec<(String, Value)> = map.into_iter().collect();
                keys.sort_by(|a, b| a.0.cmp(&b.0));
                Ok(Element::Key(keys))
            }
            _ => Err(format!("{key}: expected an object of keys")),
        },
        _ => Err(format!("unknown path element {key:?}")),
    }
}

/// Whether every member of the set is a member of encoded fields, without decoding them.
pub fn holds_all(fields: &Value, set: &Set) -> bool {
    set.nodes().iter().all(|node| match fields.get(key(&node.element)) {
        Some(below) => (!node.member || is_member(below)) && holds_all(below, &node.children),
        None => false,
    })
}

/// Whether some member of the set is a member of encoded fields, without decoding them.
pub fn holds_any(fields: &Value, set: &Set) -> bool {
    set.nodes().iter().any(|node| match fields.get(key(&node.element)) {
        Some(below) => (node.member && is_member(below)) || holds_any(below, &node.children),
        None => false,
    })
}

fn is_member(below: &Value) -> bool {
    below.as_object().is_none_or(|map| map.is_empty() || map.contains_key(SELF))
}
