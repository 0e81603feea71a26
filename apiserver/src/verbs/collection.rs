//! All selected objects of a collection removed, one after the other.

use std::sync::Arc;

use http::{Response, StatusCode};
use kontiki_api::Status;
use kontiki_raft::types::Revision;
use serde_json::{Value, json};

use super::{
    accept, bodies, delete, options,
    selection::Selection,
    stored::{Target, Writer},
};
use crate::{answer::Body, core::Core, exchange::Exchange};

pub(super) async fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Status> {
    let agreed = accept::negotiate(exchange.header(http::header::ACCEPT))?;
    let options = options::delete_options(exchange).await?;
    let resource = exchange.resource()?.clone();
    let selection = Selection::of(exchange, &resource.row)?;
    let writer = Writer::of(exchange, options.dry_run);
    core.catch_up().await?;
    let snapshot = resource.cache.snapshot(core.caches.revision());
    let mut revision = snapshot.revision;
    let mut items: Vec<Value> = Vec::new();
    for object in snapshot.index.walk(&selection.prefix, "") {
        if !selection.selects(&object) {
            continue;
        }
        let target =
            Target { resource: &resource, namespace: object.namespace(), name: object.name() };
        match delete::delete(core, &writer, target, &options).await {
            Ok(deleted) => {
                revision = revision.max(deleted.stored.revision);
                items.push(object.value());
            }
            Err(status) if status.reason == "NotFound" => {}
            Err(status) => return Err(status),
        }
    }
    let list = json!({
        "kind": resource.row.list_kind,
        "apiVersion": resource.row.api_version(),
        "metadata": {"resourceVersion": Revision(revision.0).to_string()},
        "items": items,
    });
    let response = bodies::encoded(StatusCode::OK, list.to_string().into(), agreed)?;
    Ok(bodies::with_revision(response, revision))
}
