//! The JSON merge patch between two versions of an object.

use serde_json::{Map, Value, json};

/// The patch for everything but the status.
pub(super) fn object(old: &Value, new: &Value) -> Option<Value> {
    let mut patch = merge_patch(old, new)?;
    patch.as_object_mut()?.remove("status");
    (!is_empty(&patch)).then_some(patch)
}

/// The patch for the status alone.
pub(super) fn status(old: &Value, new: &Value) -> Option<Value> {
    let empty = Value::Object(Map::new());
    let old = old.get("status").unwrap_or(&empty);
    let new = new.get("status").unwrap_or(&empty);
    let patch = merge_patch(old, new)?;
    Some(Value::Object(Map::from_iter([("status".to_owned(), patch)])))
}

/// The patch for the status and the annotations.
pub(super) fn status_and_annotations(old: &Value, new: &Value) -> Option<Value> {
    let annotations =
        |object: &Value| json!({"metadata": {"annotations": object["metadata"]["annotations"]}});
    let patch = [status(old, new), merge_patch(&annotations(old), &annotations(new))];
    let parts = patch.into_iter().flatten().filter_map(|part| match part {
        Value::Object(fields) => Some(fields),
        _ => None,
    });
    let patch: Map<String, Value> = parts.flatten().collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn is_empty(patch: &Value) -> bool {
    patch.as_object().is_some_and(Map::is_empty)
}

/// What turns `old` into `new` (RFC 7396); `None` if they are equal.
fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(former) => {
                if let Some(change) = merge_patch(former, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let old = json!({"a": 1, "b": {"c": [1], "d": 2}, "e": 3, "status": {"x": 1}});
        let new = json!({"a": 1, "b": {"c": [1, 2], "d": 2}, "f": 4, "status": {"x": 2}});
        assert_eq!(object(&old, &new), Some(json!({"e": null, "b": {"c": [1, 2]}, "f": 4})));
        assert_eq!(status(&old, &new), Some(json!({"status": {"x": 2}})));
        assert_eq!(object(&old, &old), None);
        assert_eq!(status(&old, &old), None);
        let noted = json!({"metadata": {"annotations": {"n": "1"}}, "status": {"x": 1}, "a": 7});
        let expected = json!({"metadata": {"annotations": {"n": "1"}}});
        assert_eq!(status_and_annotations(&old, &noted), Some(expected));
        assert_eq!(status_and_annotations(&noted, &noted), None);
    }
}
