//! An existing object, changed by a patch. Configurations that are applied are patches, too, but
//! go their own way: [`super::apply`].

use std::sync::Arc;

use http::{Response, StatusCode};
use kontiki_api::{
    Status, meta,
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
    core::Core,
    exchange::Exchange,
    schema::{self, Decoded, Expected, FieldValidation},
};

pub(super) const ACCEPTED: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// What an operation of a JSON patch consists of.
const OPERATION_FIELDS: [&str; 4] = ["op", "from", "path", "value"];

/// What a request asks for.
pub(crate) struct Wanted {
    patch: Patch,
    /// A value that stands for it in messages.
    shown: Value,
    /// What is wrong with how it was written, which its author may want to hear.
    complaints: Vec<String>,
}

impl Wanted {
    /// The object of a kind after the patch, in conformance, and what its author should know.
    pub(crate) fn onto(
        &self,
        old: &Value,
        expected: Expected<'_>,
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        let new = self.patch.onto(old, expected)?;
        let decoded =
            schema::conform_patched(expected, new, &self.shown, &self.complaints, validation)?;
        addressed(&decoded.object, old)?;
        Ok(decoded)
    }
}

/// A patch as it was sent.
enum Patch {
    /// RFC 6902.
    Json(JsonPatch),
    /// RFC 7396.
    Merge(Value),
    /// Kubernetes' own.
    Strategic(Value),
}

impl Patch {
    /// The object of a kind after the patch.
    fn onto(&self, old: &Value, expected: Expected<'_>) -> Result<Value, Status> {
        let mut new = old.clone();
        match self {
            Patch::Json(operations) => {
                operations.apply(&mut new).map_err(|error| refused(&error))?;
            }
            Patch::Merge(patch) => patch::merge(&mut new, patch),
            Patch::Strategic(patch) => {
                let schema = Schema::builtin();
                let Expected { group, version, kind } = expected;
                let kind = schema
                    .kind(group, version, kind)
                    .ok_or_else(|| Status::unsupported_media_type(&ACCEPTED[..2]))?;
                patch::strategic_merge(schema, kind, &mut new, patch.clone())
                    .map_err(|error| refused(&error))?;
            }
        }
        Ok(new)
    }
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
    let wanted = read(exchange).await?;
    let writer = Writer::of(exchange, dry_run);
    let target = Target {
        resource: &resource,
        namespace: resource.scope(&exchange.info.namespace),
        name: &exchange.info.name,
    };
    let mut warnings = Vec::new();
    let stored = update::modify(core, &writer, target, part, |old| {
        let decoded = wanted.onto(old, body::expected(&resource), validation)?;
        warnings = decoded.warnings;
        Ok(decoded.object)
    })
    .await?;
    exchange.warnings.extend(warnings);
    let response = bodies::object(StatusCode::OK, &resource, stored.json, agreed, &exchange.query)?;
    Ok(bodies::with_revision(response, stored.revision))
}

/// A patch may not turn an object into another one.
fn addressed(new: &Value, old: &Value) -> Result<(), Status> {
    for (field, word) in [("name", "name"), ("namespace", "namespace")] {
        if meta::text(new, field) != meta::text(old, field) {
            return Err(Status::bad_request(format!(
                "the {word} of the object ({}) does not match the {word} on the URL ({})",
                meta::text(new, field),
                meta::text(old, field)
            )));
        }
    }
    Ok(())
}

/// Reads the patch.
pub(crate) async fn read(exchange: &mut Exchange) -> Result<Wanted, Status> {
    let media_type = body::media_type(exchange).to_owned();
    if !ACCEPTED[..3].contains(&media_type.as_str()) {
        return Err(Status::unsupported_media_type(&ACCEPTED));
    }
    let bytes = exchange.read_body().await?;
    let (shown, repeated) = schema::parse_json(&bytes)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if media_type == ACCEPTED[0] {
        let patch = JsonPatch::read(shown.clone()).map_err(|error| refused(&error))?;
        let complaints = repeated.into_iter().chain(unknown_fields(&shown));
        let complaints = complaints.map(|complaint| format!("json patch {complaint}")).collect();
        return Ok(Wanted { patch: Patch::Json(patch), shown, complaints });
    }
    if !shown.is_object() {
        let what = "error decoding patch: the patch must be a JSON object";
        return Err(Status::bad_request(what));
    }
    let strategic = media_type == ACCEPTED[2];
    let patch =
        if strategic { Patch::Strategic(shown.clone()) } else { Patch::Merge(shown.clone()) };
    Ok(Wanted { patch, shown, complaints: repeated })
}

/// Fields of operations that no operation has.
fn unknown_fields(operations: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (index, operation) in operations.as_array().into_iter().flatten().enumerate() {
        let fields = operation.as_object().into_iter().flat_map(|fields| fields.keys());
        let unknown = fields.filter(|field| !OPERATION_FIELDS.contains(&field.as_str()));
        found.extend(unknown.map(|field| format!("unknown field \"[{index}].{field}\"")));
    }
    found
}

fn refused(error: &patch::Error) -> Status {
    match error {
        patch::Error::Malformed(reason) => Status::bad_request(reason.clone()),
        patch::Error::TooLarge(reason) => Status::request_entity_too_large(reason),
        patch::Error::DoesNotFit(reason) => Status::unprocessable_patch(reason),
    }
}
