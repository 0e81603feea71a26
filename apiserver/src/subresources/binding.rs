//! `pods/NAME/binding`, and `bindings`, which name the pod themselves: a pod gets its node, once.

use std::sync::Arc;

use http::{Response, StatusCode};
use kontiki_api::{Status, field, meta};
use serde_json::{Value, json};

use super::ServeFuture;
use crate::{
    answer::{self, Body},
    core::Core,
    exchange::Exchange,
    schema::Expected,
    verbs::{
        bodies, body, options,
        stored::{self, Change, Target, Writer},
    },
};

const BINDING: Expected<'_> = Expected { group: "", version: "v1", kind: "Binding" };

pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> ServeFuture<'a> {
    Box::pin(run(core, exchange))
}

async fn run(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let dry_run = options::dry_run(exchange, "CreateOptions")?;
    let resource = core.builtin("", "pods").clone();
    let binding = body::read_kind(exchange, BINDING).await?;
    let name = match exchange.info.name.as_str() {
        "" => meta::name(&binding).to_owned(),
        name => name.to_owned(),
    };
    if name.is_empty() {
        return Err(Status::bad_request("name is required"));
    }
    validate(&binding, &name)?;
    let writer = Writer::of(exchange, dry_run);
    let target = Target { resource: &resource, namespace: &exchange.info.namespace, name: &name };
    let stored = stored::change(core, &writer, target, |current| {
        let pod = current.ok_or_else(|| Status::not_found("", "pods", target.name))?;
        bind(pod, &binding, &meta::time(writer.now)).map(Change::Put)
    })
    .await?;
    let success = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    let response = answer::value(StatusCode::CREATED, &success);
    Ok(bodies::with_revision(response, stored.revision))
}

fn validate(binding: &Value, pod: &str) -> Result<(), Status> {
    let name = meta::name(binding);
    if !name.is_empty() && name != pod {
        return Err(Status::bad_request(format!(
            "name in URL does not match name in Binding object: {pod} != {name}"
        )));
    }
    let path = field::Path::new("target");
    let mut errors = field::Errors::new();
    let kind = binding["target"]["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        let known = ["Node", "<empty>"];
        errors.push(field::Error::not_supported(&path.child("kind"), kind, &known));
    }
    if binding["target"]["name"].as_str().unwrap_or_default().is_empty() {
        errors.push(field::Error::required(&path.child("name"), ""));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "Binding", pod, &errors)) }
}

/// The pod on its node.
fn bind(pod: &Value, binding: &Value, now: &str) -> Result<Value, Status> {
    let name = meta::name(pod);
    let conflict = |why: String| Err(Status::conflict("", "pods/binding", name, &why));
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    for (what, wanted, found) in [
        ("UID", meta::uid(binding), meta::uid(pod)),
        ("ResourceVersion", meta::resource_version(binding), meta::resource_version(pod)),
    ] {
        if !wanted.is_empty() && wanted != found {
            return conflict(format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: \
                 {found}"
            ));
        }
    }
    if meta::is_deleting(pod) {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let bound = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !bound.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {bound:?}"));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = pod.clone();
    pod["spec"]["nodeName"] = node.into();
    if let Some(annotations) = binding["metadata"]["annotations"].as_object() {
        for (key, value) in annotations {
            meta::set_annotation(&mut pod, key, value.as_str().unwrap_or_default());
        }
    }
    set_scheduled(&mut pod, now);
    Ok(pod)
}

fn set_scheduled(pod: &mut Value, now: &str) {
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    let conditions = &mut pod["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Some(list) = conditions.as_array_mut() {
        list.retain(|condition| condition["type"] != "PodScheduled");
        list.push(json!({
            "lastProbeTime": null, "lastTransitionTime": now, "status": "True",
            "type": "PodScheduled",
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_bound_once() {
        let pod = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {}});
        let binding = json!({"target": {"kind": "Node", "name": "n1"}});
        let bound = bind(&pod, &binding, "now").unwrap();
        assert_eq!(bound["spec"]["nodeName"], "n1");
        assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
        let again = bind(&bound, &binding, "now").unwrap_err();
        assert_eq!(again.code, 409);
        assert_eq!(
            again.message,
            "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\""
        );
        let other = json!({"metadata": {"uid": "v"}, "target": {"name": "n1"}});
        assert_eq!(bind(&pod, &other, "").unwrap_err().code, 409);
    }
}
