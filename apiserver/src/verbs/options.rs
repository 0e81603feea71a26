//! Options that several verbs share.

use kontiki_api::{Status, field};
use serde_json::Value;

use crate::exchange::Exchange;

/// Whether the request only tries.
pub fn dry_run(exchange: &Exchange, kind: &str) -> Result<bool, Status> {
    let values: Vec<&str> = exchange.query.all("dryRun").filter(|v| !v.is_empty()).collect();
    only_tries(&values, kind)
}

fn only_tries(values: &[&str], kind: &str) -> Result<bool, Status> {
    match values {
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
    let orphans = query.non_empty("orphanDependents").map(|orphan| orphan == "true");
    options.propagation = propagation(query.non_empty("propagationPolicy"), orphans)?;
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
    let (policy, orphans) =
        (value["propagationPolicy"].as_str(), value["orphanDependents"].as_bool());
    options.propagation = propagation(policy, orphans)?.or(options.propagation);
    let tries = value["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str);
    options.dry_run |= only_tries(&tries.collect::<Vec<_>>(), "DeleteOptions")?;
    Ok(())
}

/// What is asked for by a policy, or in the words that were there before.
fn propagation(policy: Option<&str>, orphans: Option<bool>) -> Result<Option<Propagation>, Status> {
    let path = field::Path::new("propagationPolicy");
    let refused = |error: field::Error| {
        Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &error.into()))
    };
    match (policy, orphans) {
        (Some(policy), Some(_)) => {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            refused(field::Error::invalid(&path, policy, detail))
        }
        (None, None) => Ok(None),
        (Some("Orphan"), _) | (_, Some(true)) => Ok(Some(Propagation::Orphan)),
        (Some("Background"), _) | (_, Some(false)) => Ok(Some(Propagation::Background)),
        (Some("Foreground"), _) => Ok(Some(Propagation::Foreground)),
        (Some(other), None) => {
            let known = ["Foreground", "Background", "Orphan", "nil"];
            refused(field::Error::not_supported(&path, other, &known))
        }
    }
}
