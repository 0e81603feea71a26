//! Objects on their way in: read, converted to JSON, and brought into conformance.

use bytes::Bytes;
use http::header;
use kontiki_api::Status;
use serde_json::Value;

use crate::{
    audit::Record,
    cache::Resource,
    exchange::Exchange,
    protobuf,
    schema::{self, Expected, FieldValidation},
};

/// Media types of objects that can be read.
const ACCEPTED: [&str; 3] = ["application/json", "application/yaml", protobuf::MEDIA_TYPE];

/// The media type of the body, without parameters; JSON if none is named.
pub fn media_type(exchange: &Exchange) -> &str {
    let media_type = exchange.header(header::CONTENT_TYPE);
    match media_type.split(';').next().unwrap_or_default().trim() {
        "" => "application/json",
        media_type => media_type,
    }
}

/// Reads the body as JSON text, whichever of the accepted types it has.
pub async fn read_json(exchange: &mut Exchange) -> Result<Bytes, Status> {
    let convert: fn(&[u8]) -> Result<Bytes, Status> = match media_type(exchange) {
        "application/json" => return exchange.read_body().await,
        "application/yaml" => yaml_to_json,
        protobuf::MEDIA_TYPE => protobuf_to_json,
        _ => return Err(Status::unsupported_media_type(&ACCEPTED)),
    };
    let body = exchange.read_body().await?;
    if body.is_empty() {
        return Ok(body);
    }
    let json = convert(&body)?;
    if exchange.audit.as_ref().is_some_and(Record::wants_request) {
        exchange.notes.keep_request(&json);
    }
    Ok(json)
}

fn protobuf_to_json(body: &[u8]) -> Result<Bytes, Status> {
    let value = protobuf::to_json(body).map_err(|error| Status::bad_request(error.to_string()))?;
    Ok(value.to_string().into())
}

/// Rewrites YAML as JSON.
pub fn yaml_to_json(yaml: &[u8]) -> Result<Bytes, Status> {
    let failed = |error: &dyn std::fmt::Display| {
        Status::bad_request(format!("error converting YAML to JSON: {error}"))
    };
    let text = std::str::from_utf8(yaml).map_err(|error| failed(&error))?;
    let value: Value = serde_saphyr::from_str(text).map_err(|error| failed(&error))?;
    Ok(value.to_string().into())
}

/// Reads an object of the resource's kind.
pub async fn read_object(exchange: &mut Exchange, resource: &Resource) -> Result<Value, Status> {
    read_kind(exchange, expected(resource)).await
}

/// Reads an object of a kind, whether or not it is one that is stored.
pub async fn read_kind(exchange: &mut Exchange, expected: Expected<'_>) -> Result<Value, Status> {
    let body = read_json(exchange).await?;
    decode(exchange, expected, &body)
}

/// Makes an object of a kind out of a body.
pub fn decode(
    exchange: &mut Exchange,
    expected: Expected<'_>,
    body: &[u8],
) -> Result<Value, Status> {
    let decoded = schema::decode(expected, body, field_validation(exchange)?)?;
    exchange.warnings.extend(decoded.warnings);
    Ok(decoded.object)
}

/// What happens to unknown fields in this request.
pub fn field_validation(exchange: &Exchange) -> Result<FieldValidation, Status> {
    let options = match exchange.info.verb {
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        _ => "CreateOptions",
    };
    FieldValidation::parse(exchange.query.get("fieldValidation").unwrap_or_default(), options)
}

/// The kind of a resource, for the schema engine.
pub fn expected(resource: &Resource) -> Expected<'_> {
    Expected {
        group: &resource.row.group,
        version: &resource.row.version,
        kind: &resource.row.kind,
    }
}
