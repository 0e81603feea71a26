//! Options that several verbs share.

use kontiki_api::{Status, field};
use serde_json::Value;

use crate::exchange::Exchange;

/// Whether the request only tries.
pub fn dry_run(exchange: &Exchange, kind: &str) -> Result<bool, Status> {
    let values: Vec<&str> = exchange.query.all("dryRun").filter(|v| !v.is_empty()).collect();
    match values.as_slice() {
        [] => Ok(false),
        all if all.iter().all(|value| *value == "All") => Ok(true),
        all => {
            let value = all.iter().map(|v| Value::from(*v)).collect::<Vec<_>>();
            let path = field::Path::new("dryRun");
            let error = field::Error::not_supported(&path, Value::from(value), &["All"]);
            Err(Status::invalid("meta.k8s.io", kind, "", &error.into()))
        }
    }
}

/// Options of a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`.
    pub grace_period: Option<i64>,
    /// `preconditions.uid`.
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`.
    pub resource_version: Option<String>,
    /// `propagationPolicy`, or what `orphanDependents` says.
    pub propagation: Option<Propagation>,
    /// Whether it only tries.
    pub dry_run: bool,
}

/// What happens to what depends on a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Kubernetes'")]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// Reads the options of a deletion from body and query; the body, if there is one, wins.
pub async fn delete_options(exchange: &mut Exchange) -> Result<DeleteOptions, Status> {
    let mut options =
        DeleteOptions { dry_run: dry_run(exchange, "DeleteOptions")?, ..Default::default() };
    let query = &exchange.query;
    if let Some(text) = query.non_empty("gracePeriodSeconds") {
        let parsed = text.parse().map_err(|_| {
            Status::bad_request(format!("invalid value for gracePeriodSeconds: {text:?}"))
        })?;
        options.grace_period = Some(parsed);
    }
    options.propagation = query.non_empty("propagationPolicy").map(propagation).transpose()?;
    if let Some(orphan) = query.non_empty("orphanDependents") {
        options.propagation = Some(orphaning(orphan == "true"));
    }
    let body = super::body::read_json(exchange).await?;
    if !body.iter().all(u8::is_ascii_whitespace) {
        let value: Value = serde_json::from_slice(&body).map_err(|error| {
            Status::bad_request(format!("couldn't decode DeleteOptions: {error}"))
        })?;
        from_body(&mut options, &value)?;
    }
    Ok(options)
}

fn from_body(options: &mut DeleteOptions, value: &Value) -> Result<(), Status> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(kind) = value["kind"].as_str().filter(|kind| *kind != "DeleteOptions") {
        return Err(Status::bad_request(format!(
            "decoded object cannot be converted to DeleteOptions: no kind {kind:?}"
        )));
    }
    options.grace_period = value["gracePeriodSeconds"].as_i64().or(options.grace_period);
    options.uid = text(&value["preconditions"]["uid"]);
    options.resource_version = text(&value["preconditions"]["resourceVersion"]);
    if let Some(orphan) = value["orphanDependents"].as_bool() {
        options.propagation = Some(orphaning(orphan));
    }
    if let Some(policy) = value["propagationPolicy"].as_str() {
        options.propagation = Some(propagation(policy)?);
    }
    if value["dryRun"].as_array().is_some_and(|list| !list.is_empty()) {
        options.dry_run = true;
    }
    Ok(())
}

fn orphaning(orphan: bool) -> Propagation {
    if orphan { Propagation::Orphan } else { Propagation::Background }
}

fn propagation(text: &str) -> Result<Propagation, Status> {
    match text {
        "Orphan" => Ok(Propagation::Orphan),
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        other => {
            let path = field::Path::new("propagationPolicy");
            let known = ["Background", "Foreground", "Orphan"];
            let error = field::Error::not_supported(&path, other, &known);
            Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &error.into()))
        }
    }
}
