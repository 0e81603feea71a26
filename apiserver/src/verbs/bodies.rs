//! Objects on their way out: in the form that was agreed on.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use kontiki_api::Status;
use kontiki_raft::types::Revision;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::accept::{Agreed, Encoding, Form};
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
    match agreed.form {
        Form::Object => return encoded(code, json, agreed),
        Form::Metadata => return encoded(code, partial(&json, agreed.meta), agreed),
        Form::Table => {}
    }
    let value: Value = serde_json::from_slice(&json).map_err(|error| {
        Status::internal_error(&format!("cannot read back the object: {error}"))
    })?;
    let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
    let shaped = table(resource, std::slice::from_ref(&value), query, &metadata, agreed.meta);
    encoded(code, shaped.to_string().into(), agreed)
}

/// Answers with what is no object of a resource, and agreed to be no table.
pub fn answer(code: StatusCode, value: &Value, agreed: Agreed) -> Result<Response<Body>, Status> {
    let json = Bytes::from(value.to_string());
    let shaped = if agreed.form == Form::Metadata { partial(&json, agreed.meta) } else { json };
    encoded(code, shaped, agreed)
}

/// Answers with ready JSON.
pub fn encoded(code: StatusCode, json: Bytes, agreed: Agreed) -> Result<Response<Body>, Status> {
    // Protobuf is made of the finished answer, when it leaves.
    if agreed.encoding != Encoding::Yaml {
        return Ok(answer::json(code, json));
    }
    let value: Value = serde_json::from_slice(&json).map_err(|error| {
        Status::internal_error(&format!("cannot read back the object: {error}"))
    })?;
    let text = serde_saphyr::to_string(&value)
        .map_err(|error| Status::internal_error(&format!("cannot write YAML: {error}")))?;
    Ok(answer::typed(code, "application/yaml", Body::full(text)))
}

/// The table of some objects, with the list's metadata, in a version of `meta.k8s.io`.
pub fn table(
    resource: &Resource,
    objects: &[Value],
    query: &Query,
    metadata: &Value,
    meta: &str,
) -> Value {
    let printer = printers::of(&resource.row.group, &resource.row.resource);
    let mut table = printer.table(objects, include(query), Timestamp::now(), meta);
    table["metadata"] = metadata.clone();
    table
}

/// How much of each object a table's rows are to carry.
pub fn include(query: &Query) -> printers::IncludeObject {
    match query.get("includeObject") {
        Some("None") => printers::IncludeObject::None,
        Some("Object") => printers::IncludeObject::Object,
        _ => printers::IncludeObject::Metadata,
    }
}

/// Answers with a Scale.
pub fn scale(scale: &Value, agreed: Agreed, query: &Query) -> Result<Response<Body>, Status> {
    let json = Bytes::from(scale.to_string());
    let shaped = match agreed.form {
        Form::Object => json,
        Form::Metadata => partial(&json, agreed.meta),
        Form::Table => {
            let scales = std::slice::from_ref(scale);
            let now = Timestamp::now();
            let mut table = printers::SCALE.table(scales, include(query), now, agreed.meta);
            table["metadata"] = json!({"resourceVersion": scale["metadata"]["resourceVersion"]});
            table.to_string().into()
        }
    };
    encoded(StatusCode::OK, shaped, agreed)
}

/// An object reduced to its metadata, from bytes to bytes.
pub fn partial(object: &[u8], meta: &str) -> Bytes {
    #[derive(Deserialize)]
    struct Parts<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let metadata = serde_json::from_slice::<Parts<'_>>(object).map(|parts| parts.metadata.get());
    let kind = format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"{meta}""#);
    format!(r#"{kind},"metadata":{}}}"#, metadata.unwrap_or("{}")).into()
}

/// An object reduced to its metadata.
pub fn metadata_only(object: &Value, meta: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": meta,
        "metadata": object["metadata"],
    })
}

/// Tells the revision at which a write stands.
pub fn with_revision(mut response: Response<Body>, revision: Revision) -> Response<Body> {
    response.headers_mut().insert(REVISION_HEADER, HeaderValue::from(revision.0));
    response
}
