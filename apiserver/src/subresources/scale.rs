//! `RESOURCE/NAME/scale`: the number of replicas, whatever has them.

use std::sync::Arc;

use http::{Response, StatusCode};
use kontiki_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kontiki_api::{Status, field, meta, patch as patches, selector::Selector};
use serde_json::{Value, json};

use super::ServeFuture;
use crate::{
    answer::{self, Body},
    core::Core,
    exchange::Exchange,
    verbs::{
        bodies, body, options,
        patch::{self, Patch},
        stored::{Stored, Target, Writer},
        update::{self, Part},
    },
};

pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> ServeFuture<'a> {
    Box::pin(run(core, exchange))
}

async fn run(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let resource = exchange.resource()?.clone();
    let row = resource.row.clone();
    let name = exchange.info.name.clone();
    let namespace = exchange.info.namespace.clone();
    let target = Target { resource: &resource, namespace: &namespace, name: &name };
    if exchange.info.verb == "get" {
        core.catch_up().await?;
        let key = crate::storage::relative(&namespace, &name);
        let object = resource.cache.get(&key).ok_or_else(|| Status::row_not_found(&row, &name))?;
        return Ok(answer::value(StatusCode::OK, &scale_of(&object.value())));
    }
    let dry_run = options::dry_run(exchange, "UpdateOptions")?;
    let writer = Writer::of(exchange, dry_run);
    let wish = read(exchange).await?;
    let stored = update::modify(core, &writer, target, Part::Main, |old| {
        let scale = wish.apply(&scale_of(old))?;
        scaled(old, &scale, &name)
    })
    .await?;
    respond(&stored)
}

fn respond(stored: &Stored) -> Result<Response<Body>, Status> {
    let object: Value = serde_json::from_slice(&stored.json)
        .map_err(|error| Status::internal_error(&format!("cannot read back: {error}")))?;
    let response = answer::value(StatusCode::OK, &scale_of(&object));
    Ok(bodies::with_revision(response, stored.revision))
}

/// What the client wants of the Scale.
enum Wish {
    Replace(Value),
    Patch(Patch),
}

async fn read(exchange: &mut Exchange) -> Result<Wish, Status> {
    if exchange.info.verb == "patch" {
        return Ok(Wish::Patch(patch::read(exchange).await?.0));
    }
    let body = body::read_json(exchange).await?;
    let scale: Value = serde_json::from_slice(&body)
        .map_err(|error| Status::bad_request(format!("cannot read the Scale: {error}")))?;
    let kind = scale["kind"].as_str().unwrap_or("Scale");
    if kind != "Scale" {
        return Err(Status::bad_request(format!("expected a Scale, got a {kind}")));
    }
    Ok(Wish::Replace(scale))
}

impl Wish {
    fn apply(&self, old: &Value) -> Result<Value, Status> {
        let mut new = old.clone();
        match self {
            Wish::Replace(scale) => new = scale.clone(),
            Wish::Patch(Patch::Merge(patch) | Patch::Strategic(patch)) => {
                // A Scale has no lists, so both kinds of patch merge alike.
                patches::merge(&mut new, patch);
            }
            Wish::Patch(Patch::Json(operations)) => operations
                .apply(&mut new)
                .map_err(|error| Status::unprocessable_patch(&error.to_string()))?,
        }
        Ok(new)
    }
}

/// The Scale of an object.
fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {},
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(field) {
            scale["metadata"][field] = value.clone();
        }
    }
    if let Some(text) = selector_text(&object["spec"]["selector"]) {
        scale["status"]["selector"] = text.into();
    }
    scale
}

fn selector_text(selector: &Value) -> Option<String> {
    let typed: LabelSelector = serde_json::from_value(selector.clone()).ok()?;
    Some(Selector::from_typed(Some(&typed)).ok()?.to_string())
}

/// The object with the replicas that the Scale wants.
fn scaled(old: &Value, scale: &Value, name: &str) -> Result<Value, Status> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        let path = field::Path::new("spec").child("replicas");
        let error = field::Error::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", name, &error.into()));
    }
    let mut new = old.clone();
    new["spec"]["replicas"] = replicas.into();
    let metadata = meta::metadata_mut(&mut new);
    for field in ["uid", "resourceVersion"] {
        match scale["metadata"].get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.shift_remove(field),
        };
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_and_sets_replicas() {
        let object = json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "u", "resourceVersion": "5"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}},
            "status": {"replicas": 2},
        });
        let mut scale = scale_of(&object);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=web"}));
        scale["spec"]["replicas"] = 5.into();
        assert_eq!(scaled(&object, &scale, "web").unwrap()["spec"]["replicas"], 5);
        scale["spec"]["replicas"] = (-1).into();
        assert_eq!(scaled(&object, &scale, "web").unwrap_err().code, 422);
    }
}
