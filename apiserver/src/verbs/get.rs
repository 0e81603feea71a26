//! One object by name.

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode};
use kontiki_api::{
    Status,
    status::{Cause, Details},
};
use kontiki_raft::types::Revision;

use super::{accept, bodies};
use crate::{
    answer::Body,
    core::{Core, unavailable},
    exchange::Exchange,
    storage::relative,
};

/// How long a read waits for a revision that this server has not seen yet.
const TOO_LARGE_AFTER: Duration = Duration::from_secs(3);

pub(super) async fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Status> {
    let agreed = accept::negotiate(exchange.header(http::header::ACCEPT))?;
    let resource = exchange.resource()?.clone();
    freshness(core, exchange.query.get("resourceVersion").unwrap_or_default()).await?;
    let key = relative(resource.scope(&exchange.info.namespace), &exchange.info.name);
    let object = resource.cache.get(&key);
    let object = object.ok_or_else(|| Status::row_not_found(&resource.row, &exchange.info.name))?;
    bodies::object(StatusCode::OK, &resource, object.json.clone(), agreed, &exchange.query)
}

/// Waits until the caches are as fresh as asked: unset is as of now, `0` as they are, a number at
/// least that.
pub(super) async fn freshness(core: &Core, asked: &str) -> Result<(), Status> {
    match asked {
        "" => core.catch_up().await.map(|_| ()),
        "0" => Ok(()),
        number => at_least(core, parse_revision(number)?).await,
    }
}

/// Waits until the caches have passed a revision.
pub(super) async fn at_least(core: &Core, revision: Revision) -> Result<(), Status> {
    let waited = tokio::time::timeout(TOO_LARGE_AFTER, core.caches.wait_for(revision)).await;
    match waited {
        Ok(reached) => reached.map_err(|error| unavailable(&error)),
        Err(_) => Err(too_large(revision, core.caches.revision())),
    }
}

fn too_large(asked: Revision, current: Revision) -> Status {
    let message = format!("Too large resource version: {asked}, current: {current}");
    let mut status = Status::timeout(&message, 1);
    let cause = Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    };
    status.details = Some(Box::new(Details {
        causes: vec![cause],
        retry_after_seconds: 1,
        ..Details::default()
    }));
    status
}

/// Reads a resourceVersion.
pub(super) fn parse_revision(text: &str) -> Result<Revision, Status> {
    text.parse().map(Revision).map_err(|_| {
        Status::bad_request(format!(
            "Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}
