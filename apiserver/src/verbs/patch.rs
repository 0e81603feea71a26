//! An existing object, changed by a patch. Configurations that are applied are patches, too, but
//! go their own way: [`super::apply`].

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use kontiki_api::{
    Status, catalogue, meta,
    patch::{self, JsonPatch},
    schema::Schema,
};
use serde_json::Value;

use super::{
    accept, apply, bodies, body, managed, options,
    stored::{Target, Writer},
    update::{self, Part},
};
use crate::{
    answer::Body,
    cache::Resource,
    core::Core,
    exchange::Exchange,
    schema::{self, FieldValidation},
};

pub(super) const ACCEPTED: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// A patch as it was sent.
pub(crate) enum Patch {
    /// RFC 6902.
    Json(JsonPatch),
    /// RFC 7396.
    Merge(Value),
    /// Kubernetes' own.
    Strategic(Value),
}

pub(super) async fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
    part: Part,
) -> Result<Response<Body>, Status> {
    if apply::is_apply(exchange) {
        return apply::serve(core, exchange, part).await;
    }
    let agreed = accept::negotiate(exchange.header(http::header::ACCEPT))?;
    let dry_run = options::dry_run(exchange, "PatchOptions")?;
    managed::check_options(exchange, "PatchOptions", false)?;
    let validation = body::field_validation(exchange)?;
    let resource = exchange.resource()?.clone();
    let (patch, shown) = read(exchange).await?;
    let writer = Writer::of(exchange, dry_run);
    let target = Target {
        resource: &resource,
        namespace: resource.scope(&exchange.info.namespace),
        name: &exchange.info.name,
    };
    let mut warnings = Vec::new();
    let stored = update::modify(core, &writer, target, part, |old| {
        let new = patched(&patch, old, &resource.row)?;
        let decoded = conform(&resource, new, &shown, validation)?;
        warnings = decoded.warnings;
        addressed(decoded.object, old)
    })
    .await?;
    exchange.warnings.extend(warnings);
    let response = bodies::object(StatusCode::OK, &resource, stored.json, agreed, &exchange.query)?;
    Ok(bodies::with_revision(response, stored.revision))
}

fn conform(
    resource: &Resource,
    new: Value,
    patch: &Value,
    validation: FieldValidation,
) -> Result<schema::Decoded, Status> {
    schema::conform_patched(body::expected(resource), new, patch, validation)
}

/// A patch may not turn an object into another one.
fn addressed(new: Value, old: &Value) -> Result<Value, Status> {
    for (field, word) in [("name", "name"), ("namespace", "namespace")] {
        if meta::text(&new, field) != meta::text(old, field) {
            return Err(Status::bad_request(format!(
                "the {word} of the object ({}) does not match the {word} on the URL ({})",
                meta::text(&new, field),
                meta::text(old, field)
            )));
        }
    }
    Ok(new)
}

/// Reads the patch, and a value that stands for it in messages.
pub(crate) async fn read(exchange: &mut Exchange) -> Result<(Patch, Value), Status> {
    let media_type = body::media_type(exchange).to_owned();
    if !ACCEPTED[..3].contains(&media_type.as_str()) {
        return Err(Status::unsupported_media_type(&ACCEPTED));
    }
    let bytes = exchange.read_body().await?;
    if media_type == ACCEPTED[0] {
        let patch = JsonPatch::parse(&bytes).map_err(|error| refused(&error))?;
        let shown = serde_json::from_slice(&bytes).unwrap_or_default();
        return Ok((Patch::Json(patch), shown));
    }
    let value = object(&bytes)?;
    let shown = value.clone();
    let strategic = media_type == ACCEPTED[2];
    Ok((if strategic { Patch::Strategic(value) } else { Patch::Merge(value) }, shown))
}

fn object(bytes: &Bytes) -> Result<Value, Status> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if value.is_object() {
        return Ok(value);
    }
    Err(Status::bad_request("error decoding patch: the patch must be a JSON object"))
}

/// The object after the patch.
pub(crate) fn patched(patch: &Patch, old: &Value, row: &catalogue::Row) -> Result<Value, Status> {
    let mut new = old.clone();
    match patch {
        Patch::Json(operations) => operations.apply(&mut new).map_err(|error| refused(&error))?,
        Patch::Merge(patch) => patch::merge(&mut new, patch),
        Patch::Strategic(patch) => {
            let schema = Schema::builtin();
            let kind = schema
                .kind(&row.group, &row.version, &row.kind)
                .ok_or_else(|| Status::unsupported_media_type(&ACCEPTED[..2]))?;
            patch::strategic_merge(schema, kind, &mut new, patch.clone())
                .map_err(|error| refused(&error))?;
        }
    }
    Ok(new)
}

fn refused(error: &patch::Error) -> Status {
    match error {
        patch::Error::Malformed(reason) => Status::bad_request(reason.clone()),
        patch::Error::TooLarge(reason) => Status::request_entity_too_large(reason),
        patch::Error::DoesNotFit(reason) => Status::unprocessable_patch(reason),
    }
}
