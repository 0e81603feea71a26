//! Finds who answers: a resource of the catalogue, a question, or one of the few fixed paths.

use std::sync::Arc;

use futures::FutureExt;
use http::{Method, Request, Response, StatusCode};
use kontiki_api::Status;

use super::{Flow, StageFuture};
use crate::{
    answer::{self, Body},
    authn::published,
    core::Core,
    discovery,
    exchange::Exchange,
    health, metrics, openapi, reviews, subresources, verbs,
};

/// Finds the resource of a request and refuses what it cannot do.
pub(super) fn run<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> StageFuture<'a> {
    let outcome = route(core, exchange);
    async { outcome }.boxed()
}

fn route(core: &Core, exchange: &mut Exchange) -> Result<Flow, Status> {
    let info = &exchange.info;
    if !info.is_resource || reviews::find(info).is_some() {
        return Ok(Flow::Next);
    }
    let resource = core.caches.find(&info.group, &info.version, &info.resource);
    let resource = resource.ok_or_else(Status::no_such_resource)?;
    let row = &resource.row;
    let subresource = Some(info.subresource.as_str()).filter(|name| !name.is_empty());
    if subresource.is_some_and(|name| row.subresource(name).is_none()) {
        return Err(Status::no_such_resource());
    }
    // Objects in namespaces are listed and watched across them, but written in one.
    let everywhere = row.namespaced() && info.namespace.is_empty();
    if everywhere && !matches!(info.verb, "list" | "watch") {
        return Err(verbs::method_not_allowed());
    }
    let nameless = info.name.is_empty() && matches!(info.verb, "update" | "patch");
    let renamed = info.verb == "create" && !info.name.is_empty() && subresource.is_none();
    if nameless || renamed {
        return Err(verbs::method_not_allowed());
    }
    if !row.namespaced() && !info.namespace.is_empty() && row.resource != "namespaces" {
        return Err(Status::no_such_resource());
    }
    // A proxy passes on what has no verb, too.
    let options = subresource == Some("proxy") && exchange.parts.method == Method::OPTIONS;
    if !(options || row.supports(subresource, info.verb)) || !subresources::is_served(info) {
        return Err(verbs::method_not_allowed());
    }
    exchange.resource = Some(resource.clone());
    Ok(Flow::Next)
}

/// Answers.
pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> StageFuture<'a> {
    async move {
        if let Some(review) = reviews::find(&exchange.info).filter(|_| exchange.info.is_resource) {
            return reviews::serve(core, exchange, review).await.map(Flow::Answer);
        }
        if exchange.info.is_resource {
            return verbs::serve(core, exchange).await.map(Flow::Answer);
        }
        fixed(core, exchange).await.map(Flow::Answer)
    }
    .boxed()
}

async fn fixed(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let path = exchange.info.path.clone();
    if let Some(extension) = core.extension_for(&path) {
        let body = exchange.read_body().await?;
        let mut request = Request::new(body);
        *request.method_mut() = exchange.parts.method.clone();
        *request.uri_mut() = exchange.parts.uri.clone();
        *request.headers_mut() = exchange.parts.headers.clone();
        return Ok(extension.call(&exchange.user, request).await);
    }
    if !matches!(exchange.parts.method, Method::GET | Method::HEAD) {
        return Err(verbs::method_not_allowed());
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["livez" | "readyz" | "healthz", rest @ ..] => {
            Ok(health::serve(core, exchange, parts[0], rest).await)
        }
        ["version"] => Ok(discovery::version()),
        ["metrics"] => {
            observe_caches(core);
            let text = metrics::render().map_err(|error| {
                Status::internal_error(&format!("cannot gather metrics: {error}"))
            })?;
            Ok(answer::typed(StatusCode::OK, "text/plain; version=0.0.4", Body::full(text)))
        }
        ["debug", "api_priority_and_fairness", name] => {
            let text = core.flow_control.as_ref().and_then(|control| control.dump(name));
            text.map(|text| answer::text(StatusCode::OK, text)).ok_or_else(not_a_path)
        }
        [".well-known" | "openid", ..] => published::serve(core, &parts).ok_or_else(not_a_path),
        ["openapi", rest @ ..] => {
            let accept = exchange.header(http::header::ACCEPT);
            openapi::serve(&core.catalogue, rest, accept).ok_or_else(not_a_path)
        }
        [] | ["api" | "apis", ..] => {
            discovery::serve(core, exchange, &parts).ok_or_else(not_a_path)
        }
        _ => Err(not_a_path()),
    }
}

fn observe_caches(core: &Core) {
    for resource in core.caches.resources() {
        let name = resource.row.qualified_resource();
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        metrics::OBJECTS.with_label_values(&[&name]).set(resource.cache.len() as f64);
    }
}

fn not_a_path() -> Status {
    Status::no_such_resource()
}
