//! `pods/NAME/log`: what a container wrote, fetched from its node's kubelet and passed on as it
//! comes.

use std::sync::Arc;

use futures::TryStreamExt;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use kontiki_api::Status;

use super::{ServeFuture, container::container_of};
use crate::{
    answer::{self, Body, BodyError},
    core::Core,
    exchange::Exchange,
    kubelets,
    query::Query,
    streams::readout,
};

/// Parameters that the kubelet understands as they are.
const PASSED_ON: [&str; 8] = [
    "follow",
    "previous",
    "timestamps",
    "sinceSeconds",
    "sinceTime",
    "tailLines",
    "limitBytes",
    "stream",
];
/// An error of a kubelet is read up to here.
const ERROR_BYTES_MAX: usize = 64 << 10;

pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> ServeFuture<'a> {
    Box::pin(run(core, exchange))
}

async fn run(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let answer = fetch(core, exchange).await?;
    if readout::is_wanted(exchange) { readout::bytes(core, exchange, answer) } else { Ok(answer) }
}

async fn fetch(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let (namespace, name) = (exchange.info.namespace.clone(), exchange.info.name.clone());
    core.catch_up().await?;
    let pod = core.cached("", "pods", &namespace, &name);
    let pod = pod.ok_or_else(|| Status::not_found("", "pods", &name))?.value();
    let container = container_of(&pod, exchange.query.get("container").unwrap_or_default())?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        // Nothing ran yet, so nothing was written.
        return Ok(answer::text(StatusCode::OK, ""));
    }
    let target = kubelets::target(core, node)?;
    let path = format!("/containerLogs/{namespace}/{name}/{container}?{}", passed(&exchange.query));
    let response = kubelets::get(&core.dialer, &target, &path).await?;
    let code = response.status();
    if !code.is_success() {
        let body = http_body_util::Limited::new(response.into_body(), ERROR_BYTES_MAX);
        let text = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
        return Err(Status::bad_request(String::from_utf8_lossy(&text).trim().to_owned()));
    }
    let data =
        response.into_body().into_data_stream().map_err(|error| -> BodyError { error.into() });
    Ok(answer::typed(StatusCode::OK, "text/plain", Body::stream(data)))
}

fn passed(query: &Query) -> String {
    let set = PASSED_ON.iter().filter_map(|name| {
        let value = query.get(name)?;
        // Values are numbers, booleans, times or words; a time's `+` must survive.
        Some(format!(
            "{name}={}",
            value.replace('%', "%25").replace('+', "%2B").replace('&', "%26")
        ))
    });
    set.collect::<Vec<_>>().join("&")
}
