//! Small moves on JSON values, for defaults and preparation.

use serde_json::{Map, Value};

/// A map below a key; `None` if there is none.
pub(super) fn child<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    value.get_mut(key).filter(|child| child.is_object())
}

/// A map below a key, made if absent.
///
/// # Panics
/// If the value is not an object; decoded objects are.
pub(super) fn child_or_new<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    let map = value.as_object_mut().expect("a decoded object");
    let child = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if child.is_null() {
        *child = Value::Object(Map::new());
    }
    child
}

/// The items of a list below a key; none if there is no list.
pub(super) fn items<'a>(value: &'a mut Value, key: &str) -> std::slice::IterMut<'a, Value> {
    match value.get_mut(key) {
        Some(Value::Array(items)) => items.iter_mut(),
        _ => Default::default(),
    }
}

/// Sets a field unless it is set. An empty string counts as unset.
pub(super) fn default(value: &mut Value, key: &str, to: impl Into<Value>) {
    if is_unset(value, key) {
        set(value, key, to);
    }
}

/// Whether a field is absent, null or an empty string.
pub(super) fn is_unset(value: &Value, key: &str) -> bool {
    match value.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        _ => false,
    }
}

/// Sets a field.
pub(super) fn set(value: &mut Value, key: &str, to: impl Into<Value>) {
    if let Value::Object(map) = value {
        map.insert(key.to_owned(), to.into());
    }
}

/// Removes a field.
pub(super) fn unset(value: &mut Value, key: &str) {
    if let Value::Object(map) = value {
        map.shift_remove(key);
    }
}

/// A text field; empty if absent.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
