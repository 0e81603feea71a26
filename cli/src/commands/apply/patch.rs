//! The three-way patch: what to send so that the live object becomes what the file says.
//!
//! A field of the file that differs from the live object is set; a field that was in the file last
//! time and is not any more is deleted; everything else belongs to others. Lists whose items have
//! a key are compared item by item.

use kontiki_api::schema::{Field, Schema, Semantics, Shape, TypeId};
use serde_json::{Map, Value, json};

/// A strategic merge patch for a known kind, a plain merge patch (RFC 7396) otherwise.
pub(super) fn three_way(
    schema: &Schema,
    kind: Option<TypeId>,
    original: &Value,
    modified: &Value,
    live: &Value,
) -> Value {
    let shape = kind.map(Shape::Struct);
    let empty = Map::new();
    let map = |value: &'_ Value| value.as_object().cloned().unwrap_or_else(|| empty.clone());
    Value::Object(Differ { schema }.map(shape.as_ref(), &map(original), &map(modified), &map(live)))
}

struct Differ<'a> {
    schema: &'a Schema,
}

impl Differ<'_> {
    fn map(
        &self,
        shape: Option<&Shape>,
        original: &Map<String, Value>,
        modified: &Map<String, Value>,
        live: &Map<String, Value>,
    ) -> Map<String, Value> {
        let mut patch = Map::new();
        for (name, wanted) in modified {
            let (shape, semantics) = self.field(shape, name);
            let was = original.get(name);
            match (wanted, live.get(name)) {
                (Value::Null, None | Some(Value::Null)) => {}
                (Value::Object(wanted), Some(Value::Object(is))) => {
                    let empty = Map::new();
                    let was = was.and_then(Value::as_object).unwrap_or(&empty);
                    let inner = self.map(shape, was, wanted, is);
                    if !inner.is_empty() {
                        patch.insert(name.clone(), Value::Object(inner));
                    }
                }
                (Value::Array(wanted), Some(Value::Array(is)))
                    if semantics.is_some_and(|s| s.merge) =>
                {
                    let was = was.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                    let key = semantics.and_then(|s| s.merge_key.as_deref());
                    match key {
                        Some(key) => {
                            self.keyed(&mut patch, name, key, shape, [was, wanted, is]);
                        }
                        None => primitives(&mut patch, name, [was, wanted, is]),
                    }
                }
                (wanted, is) if Some(wanted) != is => {
                    patch.insert(name.clone(), wanted.clone());
                }
                _ => {}
            }
        }
        for name in original.keys() {
            if !modified.contains_key(name) && live.contains_key(name) {
                patch.insert(name.clone(), Value::Null);
            }
        }
        patch
    }

    /// What the schema says about a field: its shape and how it merges.
    fn field(&self, shape: Option<&Shape>, name: &str) -> (Option<&Shape>, Option<&Semantics>) {
        let Some(Shape::Struct(id)) = shape else { return (None, None) };
        match self.schema.get(*id).field(name) {
            Some(Field { shape, semantics, .. }) => (Some(shape), Some(semantics)),
            None => (None, None),
        }
    }

    /// A list of objects that a key tells apart. The order of the file is kept.
    fn keyed(
        &self,
        patch: &mut Map<String, Value>,
        name: &str,
        key: &str,
        shape: Option<&Shape>,
        [original, modified, live]: [&[Value]; 3],
    ) {
        let item_shape = match shape {
            Some(Shape::List(item)) => Some(item.as_ref()),
            _ => None,
        };
        let empty = Map::new();
        let with = |list: &'_ [Value], value: &Value| -> Option<Map<String, Value>> {
            list.iter().find(|item| item[key] == *value).and_then(|i| i.as_object().cloned())
        };
        let mut items = Vec::new();
        for wanted in modified.iter().filter_map(Value::as_object) {
            let value = wanted.get(key).cloned().unwrap_or_default();
            let Some(is) = with(live, &value) else {
                items.push(Value::Object(wanted.clone()));
                continue;
            };
            let was = with(original, &value).unwrap_or_else(|| empty.clone());
            let mut inner = self.map(item_shape, &was, wanted, &is);
            if !inner.is_empty() {
                inner.insert(key.to_owned(), value);
                items.push(Value::Object(inner));
            }
        }
        for gone in original {
            let value = &gone[key];
            if with(modified, value).is_none() && with(live, value).is_some() {
                items.push(json!({ "$patch": "delete", key: value }));
            }
        }
        if items.is_empty() {
            return;
        }
        let order: Vec<Value> = modified.iter().map(|item| json!({ key: item[key] })).collect();
        patch.insert(format!("$setElementOrder/{name}"), order.into());
        patch.insert(name.to_owned(), items.into());
    }
}

/// A list of plain values that merges, such as finalizers.
fn primitives(
    patch: &mut Map<String, Value>,
    name: &str,
    [original, modified, live]: [&[Value]; 3],
) {
    let missing: Vec<Value> = modified.iter().filter(|v| !live.contains(v)).cloned().collect();
    let gone: Vec<Value> = original
        .iter()
        .filter(|value| !modified.contains(value) && live.contains(value))
        .cloned()
        .collect();
    if !missing.is_empty() {
        patch.insert(name.to_owned(), missing.into());
    }
    if !gone.is_empty() {
        patch.insert(format!("$deleteFromPrimitiveList/{name}"), gone.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(containers: &Value, replicas: Option<u32>) -> Value {
        let mut object = json!({
            "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": containers}}},
        });
        if let Some(replicas) = replicas {
            object["spec"]["replicas"] = json!(replicas);
        }
        object
    }

    fn check(original: &Value, modified: &Value, live: &Value, expected: &Value) {
        let schema = Schema::builtin();
        let kind = schema.kind("apps", "v1", "Deployment");
        assert!(kind.is_some());
        let patch = three_way(schema, kind, original, modified, live);
        assert_eq!(patch, *expected);
        let mut result = live.clone();
        let id = kind.unwrap();
        kontiki_api::patch::strategic_merge(schema, id, &mut result, patch).unwrap();
        let again = three_way(schema, kind, modified, modified, &result);
        assert_eq!(again, json!({}), "applied twice, the second time changes nothing");
    }

    #[test]
    fn what_others_set_stays() {
        let file = deployment(&json!([{"name": "a", "image": "x:1"}]), None);
        let live = deployment(
            &json!([{"name": "a", "image": "x:1", "imagePullPolicy": "Always"},
                    {"name": "injected", "image": "sidecar"}]),
            Some(5),
        );
        check(&file, &file, &live, &json!({}));
    }

    #[test]
    fn one_image_changes_in_one_container() {
        let was = deployment(&json!([{"name": "a", "image": "x:1"}]), Some(3));
        let file = deployment(&json!([{"name": "a", "image": "x:2"}]), Some(3));
        let expected = json!({"spec": {"template": {"spec": {
            "$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"image": "x:2", "name": "a"}],
        }}}});
        check(&was, &file, &was, &expected);
    }

    #[test]
    fn what_left_the_file_is_deleted() {
        let was = deployment(
            &json!([{"name": "a", "image": "x", "args": ["y"]}, {"name": "b", "image": "z"}]),
            Some(3),
        );
        let file = deployment(&json!([{"name": "a", "image": "x"}]), None);
        let expected = json!({"spec": {
            "replicas": null,
            "template": {"spec": {
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"args": null, "name": "a"}, {"$patch": "delete", "name": "b"}],
            }},
        }});
        check(&was, &file, &was, &expected);
    }

    #[test]
    fn unknown_kinds_get_a_plain_merge_patch() {
        let patch = three_way(
            Schema::builtin(),
            None,
            &json!({"spec": {"a": 1, "list": [{"name": "x"}]}}),
            &json!({"spec": {"list": [{"name": "y"}]}}),
            &json!({"spec": {"a": 1, "list": [{"name": "x"}]}}),
        );
        assert_eq!(patch, json!({"spec": {"list": [{"name": "y"}], "a": null}}));
    }
}
