//! A new object.

use std::sync::Arc;

use http::{Response, StatusCode};
use kontiki_api::{Status, meta};
use serde_json::Value;

use super::{
    accept,
    allocation::Allocation,
    bodies, body, managed, metadata, options,
    stored::{self, Change, Settled, Stored, Target, Writer},
};
use crate::{
    admission::{self, Attempt, Operation},
    answer::Body,
    cache::Resource,
    core::Core,
    exchange::Exchange,
    registry::Context,
};

/// Names tried for a `generateName`, as upstream.
const NAMES_MAX: usize = 8;

pub(super) async fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Status> {
    let agreed = accept::negotiate(exchange.header(http::header::ACCEPT))?;
    let dry_run = options::dry_run(exchange, "CreateOptions")?;
    managed::check_options(exchange, "CreateOptions", false)?;
    let resource = exchange.resource()?.clone();
    let mut object = body::read_object(exchange, &resource).await?;
    metadata::place(&mut object, &exchange.info, &resource)?;
    let writer = Writer::of(exchange, dry_run);
    let stored = create(core, &writer, &resource, object).await?;
    let response =
        bodies::object(StatusCode::CREATED, &resource, stored.json, agreed, &exchange.query)?;
    Ok(bodies::with_revision(response, stored.revision))
}

/// Creates an object; with a `generateName`, under the first name that is free.
pub async fn create(
    core: &Core,
    writer: &Writer,
    resource: &Resource,
    mut object: Value,
) -> Result<Stored, Status> {
    if !meta::resource_version(&object).is_empty() {
        return Err(Status::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let generate = meta::text(&object, "generateName").to_owned();
    let generates = meta::name(&object).is_empty() && !generate.is_empty();
    if !generates {
        return create_named(core, writer, resource, object).await;
    }
    for _ in 0..NAMES_MAX {
        let name = metadata::generated_name(&generate, |bound| rand::random_range(0..bound));
        meta::metadata_mut(&mut object).insert("name".to_owned(), name.into());
        match create_named(core, writer, resource, object.clone()).await {
            Err(status) if status.reason == "AlreadyExists" => {}
            other => return other,
        }
    }
    let row = &resource.row;
    Err(Status::generate_name_conflict(&row.group, &row.resource, meta::name(&object)))
}

async fn create_named(
    core: &Core,
    writer: &Writer,
    resource: &Resource,
    mut object: Value,
) -> Result<Stored, Status> {
    let (namespace, name) = (meta::namespace(&object).to_owned(), meta::name(&object).to_owned());
    let strategy = resource.strategy;
    strategy.set_defaults(&mut object);
    let owners = managed::track_new(writer, resource, &mut object);
    let mut attempt = Attempt {
        operation: Operation::Create,
        resource,
        subresource: "",
        namespace: &namespace,
        name: &name,
        object: &mut object,
        old: None,
        writer,
    };
    admission::mutate(core, &mut attempt).await?;
    strategy.set_defaults(&mut object);
    let context = Context { now: writer.now, user: &writer.user };
    let uid = uuid::Uuid::new_v4().to_string();
    metadata::initialise(&mut object, &uid, writer.now, strategy.has_generation());
    strategy.prepare_for_create(&mut object, &context);
    // Whatever admission made of it.
    meta::set(&mut object, "managedFields", None);
    let target = Target { resource, namespace: &namespace, name: &name };
    if !strategy.allocates() {
        return write_new(core, writer, target, object, owners).await;
    }
    let mut allocation = Allocation::new(core, resource, object, None);
    loop {
        let candidate = allocation.draw()?;
        match write_new(core, writer, target, candidate, owners.clone()).await {
            Err(status) => allocation.lost(status).await?,
            stored => return stored,
        }
    }
}

async fn write_new(
    core: &Core,
    writer: &Writer,
    target: Target<'_>,
    mut object: Value,
    owners: Option<Value>,
) -> Result<Stored, Status> {
    let row = &target.resource.row;
    check_new(core, writer, target, &mut object).await?;
    meta::set(&mut object, "managedFields", owners);
    let new = Change::Put(object);
    // That nothing is there yet is believed without asking: the transaction finds out.
    let mut current = stored::from_cache(target);
    for _ in 0..stored::ATTEMPTS_MAX {
        let decided = match current.object {
            Some(_) => Err(Status::already_exists(&row.group, &row.resource, target.name)),
            None => Ok(&new),
        };
        match stored::settle(core, writer, target, &current, decided).await? {
            Settled::Done(stored) => return Ok(stored),
            Settled::Again(next) => current = next,
        }
    }
    Err(stored::outpaced(target))
}

/// Everything that can be wrong with a new object.
async fn check_new(
    core: &Core,
    writer: &Writer,
    target: Target<'_>,
    object: &mut Value,
) -> Result<(), Status> {
    let resource = target.resource;
    let mut errors = metadata::validate(object, None, resource);
    errors.extend(resource.strategy.validate(object));
    if !errors.is_empty() {
        let row = &resource.row;
        return Err(Status::invalid(&row.group, &row.kind, target.name, &errors));
    }
    for warning in resource.strategy.warnings(object, None) {
        writer.notes.warn(warning);
    }
    let attempt = Attempt {
        operation: Operation::Create,
        resource,
        subresource: "",
        namespace: target.namespace,
        name: target.name,
        object,
        old: None,
        writer,
    };
    admission::validate(core, &attempt).await
}
