//! Tables: the columns that `kubectl get` prints.

use kontiki_api::{catalogue::Row, meta};
use serde_json::{Value, json};

/// How much of each object a table's rows carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Kubernetes'")]
pub enum IncludeObject {
    None,
    Metadata,
    Object,
}

/// The table of some objects of one resource.
pub fn table(row: &Row, objects: &[Value], include: IncludeObject) -> Value {
    let _ = row;
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells = json!([meta::name(object), meta::text(object, "creationTimestamp")]);
            let mut row = json!({"cells": cells});
            match include {
                IncludeObject::None => {}
                IncludeObject::Object => row["object"] = object.clone(),
                IncludeObject::Metadata => {
                    row["object"] = json!({
                        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                        "metadata": object["metadata"],
                    });
                }
            }
            row
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [
            {"name": "Name", "type": "string", "format": "name", "priority": 0,
             "description": "Name must be unique within a namespace."},
            {"name": "Created At", "type": "date", "format": "", "priority": 0,
             "description": "CreationTimestamp is the server time when this object was created."},
        ],
        "rows": rows,
    })
}
