//! Objects on their way out: in the form that was agreed on.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use kontiki_api::Status;
use kontiki_raft::types::Revision;
use serde_json::{Value, json};

use super::accept::{Agreed, Form};
use crate::{
    answer::{self, Body, REVISION_HEADER},
    cache::Resource,
    printers,
    query::Query,
};

/// Answers with one object.
pub fn object(
    code: StatusCode,
    resource: &Resource,
    json: Bytes,
    agreed: Agreed,
    query: &Query,
) -> Result<Response<Body>, Status> {
    if agreed.form == Form::Object {
        return encoded(code, json, agreed);
    }
    let value: Value = serde_json::from_slice(&json).map_err(|error| {
        Status::internal_error(&format!("cannot read back the object: {error}"))
    })?;
    let shaped = match agreed.form {
        Form::Table => {
            let version = value["metadata"]["resourceVersion"].clone();
            table(
                resource,
                std::slice::from_ref(&value),
                query,
                &json!({"resourceVersion": version}),
            )
        }
        _ => metadata_only(&value),
    };
    encoded(code, shaped.to_string().into(), agreed)
}

/// Answers with ready JSON.
pub fn encoded(code: StatusCode, json: Bytes, agreed: Agreed) -> Result<Response<Body>, Status> {
    if !agreed.yaml {
        return Ok(answer::json(code, json));
    }
    let value: Value = serde_json::from_slice(&json).map_err(|error| {
        Status::internal_error(&format!("cannot read back the object: {error}"))
    })?;
    let text = serde_saphyr::to_string(&value)
        .map_err(|error| Status::internal_error(&format!("cannot write YAML: {error}")))?;
    Ok(answer::typed(code, "application/yaml", Body::full(text)))
}

/// The table of some objects, with the list's metadata.
pub fn table(resource: &Resource, objects: &[Value], query: &Query, metadata: &Value) -> Value {
    let include = match query.get("includeObject") {
        Some("None") => printers::IncludeObject::None,
        Some("Object") => printers::IncludeObject::Object,
        _ => printers::IncludeObject::Metadata,
    };
    let mut table = printers::table(&resource.row, objects, include, Timestamp::now());
    table["metadata"] = metadata.clone();
    table
}

/// An object reduced to its metadata.
pub fn metadata_only(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

/// Tells the revision at which a write stands.
pub fn with_revision(mut response: Response<Body>, revision: Revision) -> Response<Body> {
    response.headers_mut().insert(REVISION_HEADER, HeaderValue::from(revision.0));
    response
}
