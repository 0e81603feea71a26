//! `pods/NAME/exec`, `attach` and `portforward`: a conversation with a container.
//!
//! ```text
//! kubectl to 1.30, others   SPDY/3.1, v4.channel.k8s.io    passed through byte for byte
//! kubectl from 1.31         v5.channel.k8s.io              translated to SPDY here
//! its port-forward          SPDY/3.1+portforward.k8s.io    taken out of its messages here
//! ```

use std::sync::Arc;

use http::Response;
use kontiki_api::Status;
use serde_json::Value;

use super::{ServeFuture, container::container_of};
use crate::{
    answer::Body,
    authz::Attributes,
    core::Core,
    exchange::Exchange,
    kubelets,
    query::Query,
    streams::{translate, tunnel},
    upgrade,
};

pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> ServeFuture<'a> {
    Box::pin(run(core, exchange))
}

async fn run(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    may_create(core, exchange)?;
    let (namespace, name) = (exchange.info.namespace.clone(), exchange.info.name.clone());
    let pod = core.find("", "pods", &namespace, &name).await?;
    let pod = pod.ok_or_else(|| Status::not_found("", "pods", &name))?.value();
    let path = location(&exchange.info.subresource, &pod, &exchange.query)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let target = kubelets::target(core, node)?;
    if !upgrade::is_wanted(&exchange.parts.headers) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let headers = &exchange.parts.headers;
    if exchange.info.subresource == "portforward" {
        if tunnel::is_wanted(headers) {
            return tunnel::serve(core, exchange, &target, &path).await;
        }
    } else if translate::is_wanted(headers) {
        return translate::serve(core, exchange, target, path);
    }
    upgrade::pass_on(core, exchange, &target, &path).await
}

/// WebSocket connections begin with a GET, but whoever may only read may not run commands.
fn may_create(core: &Core, exchange: &Exchange) -> Result<(), Status> {
    let info = &exchange.info;
    let attributes = Attributes { verb: "create", ..Attributes::of_request(&exchange.user, info) };
    if info.verb == "create" || core.allows(&attributes) {
        return Ok(());
    }
    let why = attributes.forbidden_text();
    Err(Status::forbidden(&info.group, &info.resource, &info.name, &why))
}

/// What the pod's kubelet is asked for. Pure.
fn location(subresource: &str, pod: &Value, query: &Query) -> Result<String, Status> {
    let text = |section: &str, field: &str| pod[section][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("metadata", "namespace"), text("metadata", "name"));
    let has_node = || {
        if text("spec", "nodeName").is_empty() {
            return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
        }
        Ok(())
    };
    let mut parameters: Vec<String> = Vec::new();
    if subresource == "portforward" {
        has_node()?;
        let ports: Vec<&str> = query.all("ports").flat_map(|ports| ports.split(',')).collect();
        for port in &ports {
            port.parse::<i32>().map_err(|error| {
                Status::bad_request(format!("cannot read ports {port:?}: {error}"))
            })?;
        }
        if !ports.is_empty() {
            parameters.push(format!("port={}", ports.join("%2C")));
        }
        return Ok(joined(&format!("/portForward/{namespace}/{name}"), &parameters));
    }
    let container = container_of(pod, query.get("container").unwrap_or_default())?;
    has_node()?;
    let streams = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];
    parameters.extend(
        streams
            .iter()
            .filter(|(asked, _)| query.flag(asked))
            .map(|(_, passed)| format!("{passed}=1")),
    );
    if subresource == "exec" {
        let commands = query.all("command").map(|word| format!("command={}", escape(word)));
        parameters.extend(commands);
    }
    Ok(joined(&format!("/{subresource}/{namespace}/{name}/{container}"), &parameters))
}

fn joined(path: &str, parameters: &[String]) -> String {
    if parameters.is_empty() { path.to_owned() } else { format!("{path}?{}", parameters.join("&")) }
}

/// Percent-encodes all but what is always itself.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(uri: &str, expected: &str) {
        let pod = json!({
            "metadata": {"namespace": "ns", "name": "p"},
            "spec": {"nodeName": "n1", "containers": [{"name": "a"}, {"name": "b"}]},
        });
        let (subresource, query) = uri.split_once('?').unwrap_or((uri, ""));
        let seen = location(subresource, &pod, &Query::parse(query));
        let seen = seen.unwrap_or_else(|status| format!("{} {}", status.code, status.message));
        assert_eq!(seen, expected, "{uri}");
    }

    #[test]
    fn requests_become_the_kubelets() {
        check(
            "exec?container=a&command=sh&command=-c&command=echo+%22a%2Bb%22&stdout=true&stderr=1&stdin=false",
            "/exec/ns/p/a?output=1&error=1&command=sh&command=-c&command=echo%20%22a%2Bb%22",
        );
        check("attach?container=b&stdin=true&tty=true", "/attach/ns/p/b?input=1&tty=1");
        check(
            "exec?command=x",
            "400 a container name must be specified for pod p, choose one of: [a b]",
        );
        check("exec?container=z", "400 container z is not valid for pod p");
        check("portforward", "/portForward/ns/p");
        check("portforward?ports=80&ports=443,1", "/portForward/ns/p?port=80%2C443%2C1");
        check("portforward?ports=x", "400 cannot read ports \"x\": invalid digit found in string");
    }

    #[test]
    fn a_pod_without_node_is_refused() {
        let pod = json!({"metadata": {"namespace": "ns", "name": "p"},
            "spec": {"containers": [{"name": "a"}]}});
        for subresource in ["exec", "attach", "portforward"] {
            let status = location(subresource, &pod, &Query::default()).unwrap_err();
            assert_eq!(status.message, "pod p does not have a host assigned");
        }
    }
}
