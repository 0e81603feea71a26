//! `pods/NAME/log`: what a container wrote, fetched from its node's kubelet and passed on as it
//! comes.

use std::sync::Arc;

use futures::TryStreamExt;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use kontiki_api::{Status, meta};
use serde_json::Value;

use super::ServeFuture;
use crate::{
    answer::{self, Body, BodyError},
    core::Core,
    exchange::Exchange,
    query::Query,
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
    let found = core.cached("", "nodes", "", node);
    let node = found.ok_or_else(|| Status::not_found("", "nodes", node))?.value();
    let path = format!("/containerLogs/{namespace}/{name}/{container}?{}", passed(&exchange.query));
    let response = core.kubelets.get(&node, &path).await?;
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

fn names<'a>(pod: &'a Value, field: &str) -> Vec<&'a str> {
    let list = pod["spec"][field].as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|container| container["name"].as_str()).collect()
}

/// The container that is meant: the one named, or the only one.
fn container_of(pod: &Value, asked: &str) -> Result<String, Status> {
    let (containers, inits) = (names(pod, "containers"), names(pod, "initContainers"));
    let ephemeral = names(pod, "ephemeralContainers");
    let pod_name = meta::name(pod);
    if asked.is_empty() {
        if let ([only], true, true) =
            (containers.as_slice(), inits.is_empty(), ephemeral.is_empty())
        {
            return Ok((*only).to_owned());
        }
        if let Some(default) = meta::annotation(pod, "kubectl.kubernetes.io/default-container")
            && containers.contains(&default)
        {
            return Ok(default.to_owned());
        }
        let mut message = format!(
            "a container name must be specified for pod {pod_name}, choose one of: [{}]",
            containers.join(" ")
        );
        if !inits.is_empty() {
            message.push_str(&format!(" or one of the init containers: [{}]", inits.join(" ")));
        }
        return Err(Status::bad_request(message));
    }
    if containers.iter().chain(&inits).chain(&ephemeral).any(|name| *name == asked) {
        return Ok(asked.to_owned());
    }
    Err(Status::bad_request(format!("container {asked} is not valid for pod {pod_name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_is_the_one_named_or_the_only_one() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        assert_eq!(container_of(&one, "").unwrap(), "a");
        assert_eq!(
            container_of(&one, "x").unwrap_err().message,
            "container x is not valid for pod p"
        );
        let two = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}],
        }});
        assert_eq!(container_of(&two, "i").unwrap(), "i");
        assert_eq!(
            container_of(&two, "").unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
    }
}
