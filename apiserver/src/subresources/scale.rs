//! `RESOURCE/NAME/scale`: the number of replicas, whatever has them.

use std::{collections::BTreeMap, sync::Arc};

use http::Response;
use kontiki_api::{
    Status,
    catalogue::{self, Name},
    field,
    fields::Path,
    meta,
    ownership::{self, Configuration, Owned, Scaling, Scope},
    schema::Schema,
    selector::Selector,
    typed,
};
use serde_json::{Value, json};

use super::ServeFuture;
use crate::{
    answer::Body,
    core::Core,
    exchange::Exchange,
    schema::{Decoded, Expected, FieldValidation},
    verbs::{
        accept, apply, bodies, body, managed, metadata, options, patch,
        stored::{Ownership, Target, Writer},
        update::{self, Part},
    },
};

/// What comes in at every `scale` and goes out again.
const SCALE: Expected<'_> = Expected { group: "autoscaling", version: "v1", kind: "Scale" };

pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> ServeFuture<'a> {
    Box::pin(run(core, exchange))
}

async fn run(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let resource = exchange.resource()?.clone();
    let row = resource.row.clone();
    let paths = row.scale.as_ref().ok_or_else(Status::no_such_resource)?;
    let name = exchange.info.name.clone();
    let namespace = exchange.info.namespace.clone();
    let target = Target { resource: &resource, namespace: &namespace, name: &name };
    let agreed = accept::negotiate(exchange.header(http::header::ACCEPT))?;
    if exchange.info.verb == "get" {
        core.catch_up().await?;
        let key = crate::storage::relative(&namespace, &name);
        let object = resource.cache.get(&key).ok_or_else(|| Status::row_not_found(&row, &name))?;
        let scale = shown(scale_of(&object.value(), paths));
        return bodies::scale(&scale, agreed, &exchange.query);
    }
    let dry_run = options::dry_run(exchange, "UpdateOptions")?;
    managed::check_options(exchange, "UpdateOptions", apply::is_apply(exchange))?;
    let writer = Writer { ownership: Ownership::Decided, ..Writer::of(exchange, dry_run) };
    let validation = body::field_validation(exchange)?;
    let wish = read(exchange, target).await?;
    let owners = Owners {
        target,
        writer: &writer,
        validation,
        scaling: Scaling {
            api_version: row.api_version(),
            replicas: Path::of(&paths.replicas.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
        },
    };
    let mut warnings = Vec::new();
    let stored = update::modify(core, &writer, target, Part::Main, |old| {
        let mut before = scale_of(old, paths);
        meta::set(&mut before, "managedFields", ownership::to_scale(&owners.scaling, old));
        let Decoded { object: scale, warnings: heard } = owners.wish(&wish, &before)?;
        warnings = heard;
        let mut new = scaled(old, &scale, &name, paths)?;
        let managed = ownership::to_parent(&owners.scaling, old, &scale);
        meta::set(&mut new, "managedFields", managed);
        Ok(new)
    })
    .await?;
    exchange.warnings.extend(warnings);
    let object: Value = serde_json::from_slice(&stored.json)
        .map_err(|error| Status::internal_error(&format!("cannot read back: {error}")))?;
    let scale = shown(scale_of(&object, paths));
    let response = bodies::scale(&scale, agreed, &exchange.query)?;
    Ok(bodies::with_revision(response, stored.revision))
}

/// What the client wants of the Scale.
enum Wish {
    Replace(Value),
    Patch(patch::Wanted),
    Apply(apply::Wanted),
}

/// Who owns the replicas: decided on the Scale, as if it were an object of its own.
struct Owners<'a> {
    target: Target<'a>,
    writer: &'a Writer,
    validation: FieldValidation,
    scaling: Scaling,
}

impl Owners<'_> {
    /// The Scale that is wanted, with its owners.
    fn wish(&self, wish: &Wish, before: &Value) -> Result<Decoded, Status> {
        let schema = Schema::builtin();
        let type_id = schema.kind(SCALE.group, SCALE.version, SCALE.kind);
        let scope = Scope {
            schema,
            type_id: type_id.ok_or_else(|| Status::internal_error("no schema for Scale"))?,
            api_version: ownership::SCALE_VERSION,
            kind: SCALE.kind,
            subresource: "scale",
            owned: Owned::Without(&[&["status"]]),
            convert: ownership::no_conversion,
        };
        let Writer { manager, now, .. } = self.writer;
        let mut scale = match wish {
            Wish::Replace(scale) => Decoded { object: scale.clone(), warnings: Vec::new() },
            Wish::Patch(patch) => patch.onto(before, SCALE, self.validation)?,
            Wish::Apply(apply::Wanted { config, force }) => {
                let wanted = Configuration { config, manager, force: *force, now: *now };
                let mut object = ownership::apply(&scope, Some(before), &wanted)
                    .map_err(|refusal| refusal.status())?;
                metadata::address(&mut object, self.target)?;
                return Ok(Decoded { object, warnings: Vec::new() });
            }
        };
        ownership::update(&scope, Some(before), &mut scale.object, manager, *now);
        Ok(scale)
    }
}

async fn read(exchange: &mut Exchange, target: Target<'_>) -> Result<Wish, Status> {
    if apply::is_apply(exchange) {
        return apply::read(exchange).await.map(Wish::Apply);
    }
    if exchange.info.verb == "patch" {
        return patch::read(exchange).await.map(Wish::Patch);
    }
    let mut scale = body::read_kind(exchange, SCALE).await?;
    metadata::address(&mut scale, target)?;
    Ok(Wish::Replace(scale))
}

/// The Scale of an object.
fn scale_of(object: &Value, paths: &catalogue::Scale) -> Value {
    let metadata = &object["metadata"];
    let count = |path: &[Name]| found(object, path).as_i64().unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {},
        "spec": {"replicas": count(&paths.replicas)},
        "status": {"replicas": count(&paths.current)},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(field) {
            scale["metadata"][field] = value.clone();
        }
    }
    let selector = paths.selector.as_ref().map(|path| found(object, path));
    if let Some(text) = selector.and_then(selector_text) {
        scale["status"]["selector"] = text.into();
    }
    scale
}

/// As it goes out: no replicas are not mentioned, which the type calls optional.
fn shown(mut scale: Value) -> Value {
    if scale["spec"]["replicas"] == 0 {
        scale["spec"] = json!({});
    }
    scale
}

fn found<'a>(object: &'a Value, path: &[Name]) -> &'a Value {
    const NOTHING: &Value = &Value::Null;
    path.iter().try_fold(object, |value, name| value.get(name.as_ref())).unwrap_or(NOTHING)
}

/// A selector as text: it is one already, or a label selector, or a map of labels.
fn selector_text(selector: &Value) -> Option<String> {
    let map = match selector {
        Value::String(text) => return Some(text.clone()),
        Value::Object(map) => map,
        _ => return None,
    };
    if map.values().any(Value::is_string) {
        let labels = map.iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
        let labels: BTreeMap<&String, String> = labels.collect();
        let pairs = labels.iter().map(|(key, value)| (*key, value));
        return Some(Selector::from_map(pairs).to_string());
    }
    let typed = typed::label_selector(selector).ok()?;
    Some(Selector::from_typed(Some(&typed)).ok()?.to_string())
}

/// The object with the replicas that the Scale wants.
fn scaled(
    old: &Value,
    scale: &Value,
    name: &str,
    paths: &catalogue::Scale,
) -> Result<Value, Status> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        let path = field::Path::new("spec").child("replicas");
        let error = field::Error::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", name, &error.into()));
    }
    let mut new = old.clone();
    let target = paths.replicas.iter().fold(&mut new, |value, name| &mut value[name.as_ref()]);
    *target = replicas.into();
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
        let catalogue = kontiki_api::Catalogue::builtin();
        let row = catalogue.find("deployments").unwrap();
        let paths = row.scale.as_ref().unwrap();
        let mut scale = scale_of(&object, paths);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=web"}));
        scale["spec"]["replicas"] = 5.into();
        assert_eq!(scaled(&object, &scale, "web", paths).unwrap()["spec"]["replicas"], 5);
        scale["spec"]["replicas"] = (-1).into();
        assert_eq!(scaled(&object, &scale, "web", paths).unwrap_err().code, 422);
    }

    #[test]
    fn selectors_of_every_form_become_text() {
        let text = |selector: Value| selector_text(&selector);
        assert_eq!(text(json!({"tier": "db", "app": "a"})).as_deref(), Some("app=a,tier=db"));
        assert_eq!(text(json!("app in (a)")).as_deref(), Some("app in (a)"));
        assert_eq!(text(Value::Null), None);
    }
}
