//! Components: the types' schemas, with what Kubernetes' clients look for in them.

use std::collections::BTreeSet;

use kontiki_api::{
    Catalogue,
    catalogue::{GroupVersion, Row},
    schema::{Field, ListType, Schema, Shape},
};
use serde_json::{Map, Value, json};

const REFERENCE: &str = "#/components/schemas/";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
/// What every path may refer to.
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// The OpenAPI name of a kind's type.
pub(super) fn name_of(group: &str, version: &str, kind: &str) -> Option<String> {
    let schema = Schema::builtin();
    schema.kind(group, version, kind).map(|id| schema.get(id).name.clone())
}

/// The OpenAPI name of the list of a row's kind.
pub(super) fn list_name_of(row: &Row) -> Option<String> {
    name_of(&row.group, &row.version, &row.kind).map(|name| format!("{name}List"))
}

/// The components that the rows of a group and version (or all rows) need, by name.
pub(super) fn reachable(
    components: &Map<String, Value>,
    catalogue: &Catalogue,
    only: Option<&GroupVersion>,
) -> Map<String, Value> {
    let mut found: Map<String, Value> = Map::new();
    let mut wanted: Vec<String> =
        [STATUS, DELETE_OPTIONS, PATCH, LIST_META].map(str::to_owned).to_vec();
    let rows =
        catalogue.rows().iter().filter(|row| only.is_none_or(|only| *only == row.group_version()));
    for row in rows {
        if let Some(name) = name_of(&row.group, &row.version, &row.kind) {
            found.insert(format!("{name}List"), list(row, &name));
            wanted.push(name);
        }
        for subresource in &row.subresources {
            let at = subresource.kind_in.clone().unwrap_or_else(|| row.group_version());
            wanted.extend(name_of(&at.group, &at.version, &subresource.kind));
        }
    }
    while let Some(name) = wanted.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let Some(schema) = components.get(&name) else { continue };
        references(schema, &mut wanted);
        found.insert(name.clone(), component(&name, schema));
    }
    found.sort_keys();
    found
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                found.extend(name.strip_prefix(REFERENCE).map(str::to_owned));
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// One component with its extensions.
fn component(name: &str, schema: &Value) -> Value {
    let mut schema = schema.clone();
    match name {
        QUANTITY => {
            schema = json!({
                "description": schema["description"],
                "oneOf": [{"type": "string"}, {"type": "number"}],
            });
        }
        INT_OR_STRING => {
            schema = json!({
                "description": schema["description"],
                "format": "int-or-string",
                "oneOf": [{"type": "integer"}, {"type": "string"}],
            });
        }
        _ => {}
    }
    // The structs cannot be without it; objects on the wire can.
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| field != "metadata");
        if required.is_empty() {
            schema.as_object_mut().map(|schema| schema.shift_remove("required"));
        }
    }
    let graph = Schema::builtin();
    if let Some(id) = graph.named(name) {
        let known = graph.get(id);
        for field in &known.fields {
            if let Some(property) = schema["properties"].get_mut(&field.name) {
                extend(property, field);
            }
        }
        if known.atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
    }
    let kinds = kinds_of(name);
    if !kinds.is_empty() {
        schema["x-kubernetes-group-version-kind"] = kinds.into();
    }
    schema
}

fn kinds_of(name: &str) -> Vec<Value> {
    let graph = Schema::builtin();
    let Some(id) = graph.named(name) else { return Vec::new() };
    let mut kinds: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    for (group, version, kind, known) in graph.kinds() {
        if known == id {
            kinds.insert((group, version, kind));
        }
    }
    kinds.into_iter().map(|(group, version, kind)| gvk(group, version, kind)).collect()
}

/// The extension that names a kind.
pub(super) fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "kind": kind, "version": version})
}

/// Adds to a property how it merges. Beside a `$ref` nothing else may stand, hence `allOf`.
fn extend(property: &mut Value, field: &Field) {
    let Some(map) = property.as_object_mut() else { return };
    if let Some(reference) = map.shift_remove("$ref") {
        map.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
        if matches!(field.shape, Shape::Struct(_)) {
            map.insert("default".to_owned(), json!({}));
        }
    }
    let semantics = &field.semantics;
    if let Some(list_type) = semantics.list_type {
        let word = match list_type {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        map.insert("x-kubernetes-list-type".to_owned(), word.into());
    }
    if !semantics.map_keys.is_empty() {
        map.insert("x-kubernetes-list-map-keys".to_owned(), semantics.map_keys.clone().into());
    }
    if semantics.atomic_map || semantics.granular_map {
        let word = if semantics.atomic_map { "atomic" } else { "granular" };
        map.insert("x-kubernetes-map-type".to_owned(), word.into());
    }
    let mut strategy = Vec::new();
    if semantics.merge {
        strategy.push("merge");
    }
    if semantics.retain_keys {
        strategy.push("retainKeys");
    }
    if !strategy.is_empty() {
        map.insert("x-kubernetes-patch-strategy".to_owned(), strategy.join(",").into());
    }
    if let Some(key) = &semantics.merge_key {
        map.insert("x-kubernetes-patch-merge-key".to_owned(), key.as_str().into());
    }
}

fn list(row: &Row, item: &str) -> Value {
    json!({
        "description": format!("{} is a list of {}.", row.list_kind, row.resource),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": "APIVersion defines the versioned schema of this representation of an object."},
            "items": {"type": "array", "description": format!("List of {}.", row.resource), "items": {"$ref": format!("{REFERENCE}{item}")}},
            "kind": {"type": "string", "description": "Kind is a string value representing the REST resource this object represents."},
            "metadata": {"allOf": [{"$ref": format!("{REFERENCE}{LIST_META}")}], "default": {}, "description": "Standard list metadata."},
        },
        "x-kubernetes-group-version-kind": [gvk(&row.group, &row.version, &row.list_kind)],
    })
}

/// Rewrites what version 2 of the specification says otherwise: where definitions stand, and that
/// neither `allOf` round a reference nor `oneOf` are there.
pub(super) fn downgrade(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(inner) = map.shift_remove("allOf") {
                map.insert("$ref".to_owned(), inner[0]["$ref"].clone());
                map.shift_remove("default");
            }
            if map.get("oneOf").is_some_and(Value::is_array) {
                map.shift_remove("oneOf");
                map.insert("type".to_owned(), "string".into());
            }
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(REFERENCE)
            {
                *reference = format!("#/definitions/{name}");
            }
            map.values_mut().for_each(downgrade);
        }
        Value::Array(items) => items.iter_mut().for_each(downgrade),
        _ => {}
    }
}
