//! `pods/NAME/eviction`: a deletion that asks politely.

use std::sync::Arc;

use http::{Response, StatusCode};
use kontiki_api::Status;
use serde_json::{Value, json};

use super::ServeFuture;
use crate::{
    answer::{self, Body},
    core::Core,
    exchange::Exchange,
    verbs::{
        bodies, body, delete,
        options::{self, DeleteOptions},
        stored::{Target, Writer},
    },
};

pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> ServeFuture<'a> {
    Box::pin(run(core, exchange))
}

async fn run(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let dry_run = options::dry_run(exchange, "CreateOptions")?;
    let resource = exchange.resource()?.clone();
    let body = body::read_json(exchange).await?;
    let eviction: Value = serde_json::from_slice(&body)
        .map_err(|error| Status::bad_request(format!("cannot read the Eviction: {error}")))?;
    let asked = &eviction["deleteOptions"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let options = DeleteOptions {
        grace_period: asked["gracePeriodSeconds"].as_i64(),
        uid: text(&asked["preconditions"]["uid"]),
        resource_version: text(&asked["preconditions"]["resourceVersion"]),
        propagation: None,
        dry_run,
    };
    let target = Target {
        resource: &resource,
        namespace: &exchange.info.namespace,
        name: &exchange.info.name,
    };
    let writer = Writer::of(exchange, dry_run);
    let deleted = delete::delete(core, &writer, target, &options).await?;
    let success = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    let response = answer::value(StatusCode::CREATED, &success);
    Ok(bodies::with_revision(response, deleted.stored.revision))
}
