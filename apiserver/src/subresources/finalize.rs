//! `namespaces/NAME/finalize`: whoever cleaned up a namespace lets go of it.

use std::sync::Arc;

use http::{Response, StatusCode};
use kontiki_api::{Status, meta};

use super::ServeFuture;
use crate::{
    answer::Body,
    core::Core,
    exchange::Exchange,
    registry,
    verbs::{
        accept, bodies, body, managed, metadata, options,
        stored::{self, Target, Writer},
        update,
    },
};

pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> ServeFuture<'a> {
    Box::pin(run(core, exchange))
}

async fn run(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let agreed = accept::negotiate(exchange.header(http::header::ACCEPT))?;
    let dry_run = options::dry_run(exchange, "UpdateOptions")?;
    let resource = exchange.resource()?.clone();
    let mut wanted = body::read_object(exchange, &resource).await?;
    metadata::place(&mut wanted, &exchange.info, &resource)?;
    let writer = Writer::of(exchange, dry_run);
    let name = exchange.info.name.clone();
    let target = Target { resource: &resource, namespace: "", name: &name };
    let stored = stored::change(core, &writer, target, |current| {
        let old = current.ok_or_else(|| Status::not_found("", "namespaces", &name))?;
        let mut check = wanted.clone();
        metadata::preserve(&mut check, old, &resource)?;
        let mut new = old.clone();
        if new["spec"].is_object() {
            registry::restore(&mut new["spec"], &wanted["spec"], "finalizers");
        }
        if meta::finalizers(&wanted) != meta::finalizers(old) {
            let finalizers = wanted["metadata"].get("finalizers").cloned();
            meta::set(&mut new, "finalizers", finalizers);
        }
        let errors = resource.strategy.validate_part_update("finalize", &new, old);
        if !errors.is_empty() {
            return Err(Status::invalid("", "Namespace", &name, &errors));
        }
        let owners = managed::track(&writer, &resource, "finalize", Some(old), &mut new);
        managed::settle(&mut new, old, owners);
        Ok(update::outcome_of(&resource, new, old))
    })
    .await?;
    let response = bodies::object(StatusCode::OK, &resource, stored.json, agreed, &exchange.query)?;
    Ok(bodies::with_revision(response, stored.revision))
}
