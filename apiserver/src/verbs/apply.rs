//! Server-side apply: a configuration becomes part of an object, or makes one.

use std::sync::Arc;

use http::{Response, StatusCode};
use kontiki_api::{
    Status, meta,
    ownership::{self, Configuration},
};
use serde_json::Value;

use super::{
    accept, bodies, body, create, managed, metadata, options,
    stored::{self, ATTEMPTS_MAX, Ownership, Stored, Target, Writer},
    update::{self, Part},
};
use crate::{
    answer::Body,
    cache::Resource,
    core::Core,
    exchange::Exchange,
    schema::{self, FieldValidation},
};

/// Media types of configurations. JSON is YAML, but is read faster.
pub const ACCEPTED: [&str; 2] = ["application/apply-patch+yaml", "application/apply-patch+json"];

/// What a request wants applied.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The configuration.
    pub config: Value,
    /// Whether what others own is taken from them.
    pub force: bool,
}

/// Whether a patch is a configuration.
pub fn is_apply(exchange: &Exchange) -> bool {
    ACCEPTED.contains(&body::media_type(exchange))
}

pub(super) async fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
    part: Part,
) -> Result<Response<Body>, Status> {
    let agreed = accept::negotiate(exchange.header(http::header::ACCEPT))?;
    let dry_run = options::dry_run(exchange, "PatchOptions")?;
    let resource = exchange.resource()?.clone();
    let wanted = read(exchange).await?;
    let writer = Writer { ownership: Ownership::Decided, ..Writer::of(exchange, dry_run) };
    let target = Target {
        resource: &resource,
        namespace: resource.scope(&exchange.info.namespace),
        name: &exchange.info.name,
    };
    let stored = apply(core, &writer, target, part, &wanted).await?;
    let code = if stored.created { StatusCode::CREATED } else { StatusCode::OK };
    let response = bodies::object(code, &resource, stored.json, agreed, &exchange.query)?;
    Ok(bodies::with_revision(response, stored.revision))
}

/// Reads what is to be applied, and checks its options.
pub async fn read(exchange: &mut Exchange) -> Result<Wanted, Status> {
    managed::check_options(exchange, "PatchOptions", true)?;
    let validation = body::field_validation(exchange)?;
    let bytes = exchange.read_body().await?;
    let (config, repeated) = parse(&bytes)?;
    if !config.is_object() {
        let what = "error decoding YAML: the configuration must be an object";
        return Err(Status::bad_request(what));
    }
    if !repeated.is_empty() {
        let what = repeated.join(", ");
        match validation {
            FieldValidation::Strict => {
                return Err(Status::bad_request(format!("error strict decoding YAML: {what}")));
            }
            FieldValidation::Warn => exchange.warnings.extend(repeated),
            FieldValidation::Ignore => {}
        }
    }
    Ok(Wanted { config, force: exchange.query.flag("force") })
}

fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let decoding = |error: String| Status::bad_request(format!("error decoding YAML: {error}"));
    if let Ok(parsed) = schema::parse_json(bytes) {
        return Ok(parsed);
    }
    let json = body::yaml_to_json(bytes).map_err(|status| decoding(status.message))?;
    schema::parse_json(&json).map_err(decoding)
}

/// Applies to whatever is there, through all rules of an update or, if nothing is, a create.
async fn apply(
    core: &Arc<Core>,
    writer: &Writer,
    target: Target<'_>,
    part: Part,
    wanted: &Wanted,
) -> Result<Stored, Status> {
    let row = &target.resource.row;
    for _ in 0..ATTEMPTS_MAX {
        let updated = update::modify(core, writer, target, part, |old| {
            onto(writer, target, part, Some(old), wanted)
        });
        match updated.await {
            Err(status) if status.reason == "NotFound" && part == Part::Main => {}
            answer => return answer,
        }
        // Also the answer when something else than the object was not found; then so it is now.
        let object = onto(writer, target, part, None, wanted)?;
        if !meta::uid(&object).is_empty() {
            return Err(Status::conflict(
                &row.group,
                &row.resource,
                target.name,
                &format!(
                    "uid mismatch: the provided object specified uid {}, and no existing object \
                     was found",
                    meta::uid(&object)
                ),
            ));
        }
        if !meta::resource_version(&object).is_empty() {
            return Err(Status::not_found(&row.group, &row.resource, target.name));
        }
        match create::create(core, writer, target.resource, object).await {
            // Somebody else was faster: there is something to apply to now.
            Err(status) if status.reason == "AlreadyExists" => {}
            answer => return answer,
        }
    }
    Err(stored::outpaced(target))
}

/// The object with the configuration applied, in conformance.
fn onto(
    writer: &Writer,
    target: Target<'_>,
    part: Part,
    old: Option<&Value>,
    wanted: &Wanted,
) -> Result<Value, Status> {
    let resource: &Resource = target.resource;
    let api_version = resource.row.api_version();
    let scope = managed::scope(resource, &api_version, part.name())
        .ok_or_else(|| Status::unsupported_media_type(&super::patch::ACCEPTED))?;
    let configuration = Configuration {
        config: &wanted.config,
        manager: &writer.manager,
        force: wanted.force,
        now: writer.now,
    };
    let applied =
        ownership::apply(&scope, old, &configuration).map_err(|refusal| refusal.status())?;
    let expected = body::expected(resource);
    let mut object = schema::conform_stored(expected, applied)
        .map_err(|mismatch| Status::unknown_error(mismatch.0))?;
    metadata::address(&mut object, target)?;
    Ok(object)
}
