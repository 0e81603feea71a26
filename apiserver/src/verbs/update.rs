//! An existing object, replaced or changed.

use std::sync::Arc;

use http::{Response, StatusCode};
use kontiki_api::{Status, meta};
use serde_json::Value;

use super::{
    accept,
    allocation::Allocation,
    bodies, body, create, managed, metadata, options,
    stored::{self, ATTEMPTS_MAX, Change, Settled, Stored, Target, Writer},
};
use crate::{
    admission::{self, Attempt, Operation},
    answer::Body,
    cache::Resource,
    core::Core,
    exchange::Exchange,
    registry::Context,
};

/// Which part of an object a request writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All but the status.
    Main,
    /// The status.
    Status,
    /// Another part that is the business of its own endpoint, by that one's name.
    Other(&'static str),
}

/// Parts of objects, apart from the status, that are written as objects of their kind.
pub(crate) const PARTS: [&str; 3] = ["approval", "ephemeralcontainers", "resize"];

impl Part {
    /// The part behind a subresource's name.
    pub fn of(subresource: &str) -> Part {
        match PARTS.iter().find(|part| **part == subresource) {
            Some(part) => Part::Other(part),
            None if subresource == "status" => Part::Status,
            None => Part::Main,
        }
    }

    /// The subresource's name.
    pub fn name(self) -> &'static str {
        match self {
            Part::Main => "",
            Part::Status => "status",
            Part::Other(name) => name,
        }
    }
}

pub(super) async fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
    part: Part,
) -> Result<Response<Body>, Status> {
    let agreed = accept::negotiate(exchange.header(http::header::ACCEPT))?;
    let dry_run = options::dry_run(exchange, "UpdateOptions")?;
    managed::check_options(exchange, "UpdateOptions", false)?;
    let resource = exchange.resource()?.clone();
    let mut object = body::read_object(exchange, &resource).await?;
    metadata::place(&mut object, &exchange.info, &resource)?;
    let writer = Writer::of(exchange, dry_run);
    let target = Target {
        resource: &resource,
        namespace: resource.scope(&exchange.info.namespace),
        name: &exchange.info.name,
    };
    let stored = replace(core, &writer, target, part, object).await?;
    let code = if stored.created { StatusCode::CREATED } else { StatusCode::OK };
    let response = bodies::object(code, &resource, stored.json, agreed, &exchange.query)?;
    Ok(bodies::with_revision(response, stored.revision))
}

/// Replaces an object by another of the same name.
pub async fn replace(
    core: &Core,
    writer: &Writer,
    target: Target<'_>,
    part: Part,
    object: Value,
) -> Result<Stored, Status> {
    let creates = part == Part::Main && target.resource.strategy.allow_create_on_update();
    let missing = creates.then(|| object.clone());
    let outcome = modify(core, writer, target, part, |_| Ok(object.clone())).await;
    match (outcome, missing) {
        (Err(status), Some(mut object)) if status.reason == "NotFound" => {
            if !meta::resource_version(&object).is_empty() {
                let row = &target.resource.row;
                return Err(Status::not_found(&row.group, &row.resource, target.name));
            }
            meta::metadata_mut(&mut object).shift_remove("uid");
            create::create(core, writer, target.resource, object).await
        }
        (outcome, _) => outcome,
    }
}

/// Changes an object by a function of what it is now, through all rules of an update.
pub async fn modify<F>(
    core: &Core,
    writer: &Writer,
    target: Target<'_>,
    part: Part,
    mut wish: F,
) -> Result<Stored, Status>
where
    F: FnMut(&Value) -> Result<Value, Status> + Send,
{
    let row = &target.resource.row;
    let mut current = stored::first(core, target).await?;
    for _ in 0..ATTEMPTS_MAX {
        let Some(old) = current.object.clone() else {
            return Err(Status::not_found(&row.group, &row.resource, target.name));
        };
        let prepared = match wish(&old) {
            Ok(new) => prepare(core, writer, target, part, &old, new).await,
            Err(status) => Err(status),
        };
        let new = match prepared {
            Ok(new) => new,
            Err(status) => {
                match stored::settle(core, writer, target, &current, Err(status)).await? {
                    Settled::Done(stored) => return Ok(stored),
                    Settled::Again(next) => current = next,
                }
                continue;
            }
        };
        let mut allocation = Allocation::new(core, target.resource, new, Some(&old));
        let drawn = match allocation.draw() {
            Ok(object) => check(core, writer, target, part, &old, object).await,
            Err(status) => Err(status),
        };
        let decided = drawn.map(|object| outcome_of(target.resource, object, &old));
        let decided = decided.as_ref().map_err(Clone::clone);
        match stored::settle(core, writer, target, &current, decided).await {
            Ok(Settled::Done(stored)) => return Ok(stored),
            Ok(Settled::Again(next)) => current = next,
            Err(status) => {
                allocation.lost(status).await?;
                current = stored::from_store(core, target).await?;
            }
        }
    }
    Err(stored::outpaced(target))
}

/// Admission and the rules of an update, up to where values are handed out.
async fn prepare(
    core: &Core,
    writer: &Writer,
    target: Target<'_>,
    part: Part,
    old: &Value,
    mut new: Value,
) -> Result<Value, Status> {
    let strategy = target.resource.strategy;
    strategy.set_defaults(&mut new);
    metadata::preserve(&mut new, old, target.resource)?;
    let owners = managed::track(writer, target.resource, part.name(), Some(old), &mut new);
    let mut attempt = Attempt {
        operation: Operation::Update,
        resource: target.resource,
        subresource: part.name(),
        namespace: target.namespace,
        name: target.name,
        object: &mut new,
        old: Some(old),
        writer,
    };
    admission::mutate(core, &mut attempt).await?;
    strategy.set_defaults(&mut new);
    let context = Context { now: writer.now, user: &writer.user };
    match part {
        Part::Main => {
            strategy.prepare_for_update(&mut new, old, &context);
            if strategy.has_generation() && strategy.generation_changes(&new, old) {
                metadata::raise_generation(&mut new);
            }
        }
        Part::Status => strategy.prepare_for_status_update(&mut new, old, &context),
        Part::Other(name) => {
            strategy.prepare_for_part(name, &mut new, old, &context);
            if strategy.has_generation() && strategy.generation_changes(&new, old) {
                metadata::raise_generation(&mut new);
            }
        }
    }
    managed::settle(&mut new, old, owners);
    Ok(new)
}

/// Everything that can be wrong with a changed object.
async fn check(
    core: &Core,
    writer: &Writer,
    target: Target<'_>,
    part: Part,
    old: &Value,
    mut new: Value,
) -> Result<Value, Status> {
    let (row, strategy) = (&target.resource.row, target.resource.strategy);
    let mut errors = metadata::validate(&new, Some(old), target.resource);
    errors.extend(match part {
        Part::Main => strategy.validate_update(&new, old),
        Part::Status => strategy.validate_status_update(&new, old),
        Part::Other(name) => strategy.validate_part_update(name, &new, old),
    });
    if !errors.is_empty() {
        return Err(Status::invalid(&row.group, &row.kind, target.name, &errors));
    }
    if part == Part::Main {
        for warning in strategy.warnings(&new, Some(old)) {
            writer.notes.warn(warning);
        }
    }
    let attempt = Attempt {
        operation: Operation::Update,
        resource: target.resource,
        subresource: part.name(),
        namespace: target.namespace,
        name: target.name,
        object: &mut new,
        old: Some(old),
        writer,
    };
    admission::validate(core, &attempt).await?;
    Ok(new)
}

/// An object that is being deleted goes with the update that lets go of it.
pub(crate) fn outcome_of(resource: &Resource, new: Value, old: &Value) -> Change {
    let released = meta::is_deleting(&new)
        && meta::finalizers(&new).is_empty()
        && old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !resource.strategy.holds_deletion(&new);
    if released { Change::Remove(new) } else { Change::Put(new) }
}
