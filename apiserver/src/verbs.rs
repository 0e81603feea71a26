//! The verbs: what can be done with any resource. None of them knows a kind; what is special about
//! one is asked of its strategy.

pub mod accept;
pub mod allocation;
pub mod apply;
pub mod bodies;
pub mod body;
pub mod collection;
pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod managed;
pub mod metadata;
pub mod options;
pub mod patch;
pub mod selection;
pub mod stored;
pub mod update;
pub mod watch;

use std::sync::Arc;

use http::{HeaderValue, Response};
use kontiki_api::Status;

use crate::{answer::Body, core::Core, exchange::Exchange, protobuf::encode, subresources};

/// Answers a resource request that the router has let through.
pub async fn serve(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    if let Some(warning) = exchange.resource()?.row.deprecated.clone() {
        exchange.notes.warn(warning.into_owned());
    }
    if let Some(subresource) = subresources::find(&exchange.info) {
        return (subresource.serve)(core, exchange).await;
    }
    let row = &exchange.resource()?.row;
    let accepted = exchange.header(http::header::ACCEPT);
    if accept::gets_protobuf(accepted) && !encode::knows(&row.api_version(), &row.kind) {
        let rest = HeaderValue::from_str(&accept::without_protobuf(accepted)?);
        let rest = rest.map_err(|error| Status::bad_request(error.to_string()))?;
        exchange.parts.headers.insert(http::header::ACCEPT, rest);
    }
    let part = update::Part::of(&exchange.info.subresource);
    match exchange.info.verb {
        "get" => get::serve(core, exchange).await,
        "list" => list::serve(core, exchange).await,
        "watch" => watch::serve(core, exchange).await,
        "create" => create::serve(core, exchange).await,
        "update" => update::serve(core, exchange, part).await,
        "patch" => patch::serve(core, exchange, part).await,
        "delete" => delete::serve(core, exchange).await,
        "deletecollection" => collection::serve(core, exchange).await,
        _ => Err(method_not_allowed()),
    }
}

/// What upstream answers to a method that an endpoint does not have.
pub fn method_not_allowed() -> Status {
    Status {
        code: 405,
        reason: "MethodNotAllowed",
        message: "the server does not allow this method on the requested resource".to_owned(),
        details: Some(Box::default()),
        continue_token: None,
    }
}
