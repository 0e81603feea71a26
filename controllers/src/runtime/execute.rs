//! Carrying out a plan: the only place that writes.
//!
//! Every write carries the uid and version its planner saw. The answer to each is one of four:
//! written at a revision, the planner's picture was stale, refused, or unknown.

use std::collections::BTreeMap;

use futures::StreamExt;
use http::Method;
use kontiki_client::{Client, Error, EventRecorder, EventType};
use serde_json::{Value, json};

use super::metrics;
use crate::{
    action::{Action, Failure, Note, Pace, Plan, Step, Target, Write},
    world::Kind,
};

/// Writes of one step on their way at once.
const PARALLEL_MAX: usize = 32;
const FIELD_MANAGER: &str = "fieldManager=kube-controller-manager";
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const NAME_SUFFIX: usize = 5;

/// What became of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// The last revision written per kind.
    pub(crate) written: BTreeMap<Kind, u64>,
    /// How it ended, if not well.
    pub(crate) trouble: Option<Trouble>,
}

/// Why a plan was not carried out to its end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// What was observed is no longer so.
    Stale,
    /// The API server refused.
    Refused(Failure),
    /// It may or may not have been written.
    Unknown(String),
}

/// Carries out a plan, step by step, up to the first trouble.
pub(crate) async fn execute(client: &Client, recorder: &EventRecorder, plan: Plan) -> Outcome {
    for note in &plan.notes {
        record(recorder, note, &note.message);
    }
    let mut outcome = Outcome::default();
    for step in plan.steps {
        run(client, recorder, step, &mut outcome).await;
        if outcome.trouble.is_some() {
            break;
        }
    }
    outcome
}

async fn run(client: &Client, recorder: &EventRecorder, step: Step, outcome: &mut Outcome) {
    let mut actions = step.actions.into_iter().peekable();
    let mut batch = 1;
    while actions.peek().is_some() {
        let size = match step.pace {
            Pace::InOrder => 1,
            Pace::SlowStart => batch,
            Pace::Together => usize::MAX,
        };
        batch *= 2;
        let now: Vec<Action> = actions.by_ref().take(size).collect();
        let mut answers = futures::stream::iter(now)
            .map(|action| perform(client, recorder, action))
            .buffer_unordered(PARALLEL_MAX);
        while let Some((kind, answer)) = answers.next().await {
            outcome.add(kind, answer);
        }
        if outcome.trouble.is_some() {
            return;
        }
    }
}

impl Outcome {
    fn add(&mut self, kind: Option<Kind>, answer: Result<u64, Trouble>) {
        match answer {
            Ok(revision) => {
                if let Some(kind) = kind {
                    let written = self.written.entry(kind).or_default();
                    *written = revision.max(*written);
                }
            }
            // The gravest counts: after an unknown outcome all caches must catch up.
            Err(trouble) => {
                let rank = |trouble: &Trouble| match trouble {
                    Trouble::Stale => 0,
                    Trouble::Refused(_) => 1,
                    Trouble::Unknown(_) => 2,
                };
                if self.trouble.as_ref().is_none_or(|known| rank(known) < rank(&trouble)) {
                    self.trouble = Some(trouble);
                }
            }
        }
    }
}

async fn perform(
    client: &Client,
    recorder: &EventRecorder,
    action: Action,
) -> (Option<Kind>, Result<u64, Trouble>) {
    let kind = action.kind();
    let request = Request::of(action.write);
    let content_type = request.content_type;
    let body = request.body.to_string().into_bytes();
    let answer = client.call(request.method, &request.uri, Some((content_type, body))).await;
    let name = request.name;
    match answer {
        Ok(answer) => {
            if let Some(count) = &action.counted {
                metrics::count(count);
            }
            if let Some(note) = &action.on_success {
                record(recorder, note, &note.message.replace("{name}", &name));
            }
            (kind, Ok(answer.revision.max(own_revision(&answer.body))))
        }
        Err(error) => {
            let trouble = classify(request.verb, &error);
            if let (Some(note), Trouble::Refused(failure)) = (&action.on_failure, &trouble) {
                record(recorder, note, &note.message.replace("{error}", &failure.message));
            }
            tracing::debug!(verb = request.verb, uri = request.uri, "not written: {error}");
            (kind, Err(trouble))
        }
    }
}

/// The version in an answered object: the revision of its write where no header tells.
fn own_revision(body: &[u8]) -> u64 {
    #[derive(serde::Deserialize)]
    struct Answered {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        #[serde(default)]
        resource_version: String,
    }
    let answered: Option<Answered> = serde_json::from_slice(body).ok();
    answered.and_then(|answered| answered.metadata.resource_version.parse().ok()).unwrap_or(0)
}

fn classify(verb: &'static str, error: &Error) -> Trouble {
    if error.outcome_unknown() {
        return Trouble::Unknown(error.to_string());
    }
    let stale = error.is_conflict()
        || error.is_already_exists()
        || (error.is_not_found() && verb != "Create");
    if stale {
        return Trouble::Stale;
    }
    match error {
        // The namespace began to go away after it was observed.
        Error::Api { code: 403, message, .. } if message.contains("being terminated") => {
            Trouble::Stale
        }
        Error::Api { reason, message, .. } => {
            Trouble::Refused(Failure { verb, reason: reason.clone(), message: message.clone() })
        }
        other => Trouble::Unknown(other.to_string()),
    }
}

fn record(recorder: &EventRecorder, note: &Note, message: &str) {
    let kind = if note.warning { EventType::Warning } else { EventType::Normal };
    recorder.record(note.about.clone(), kind, note.reason, message);
}

/// A write on its way.
struct Request {
    verb: &'static str,
    method: Method,
    uri: String,
    content_type: &'static str,
    body: Value,
    name: String,
}

impl Request {
    fn of(write: Write) -> Request {
        match write {
            Write::Create { resource, namespace, mut object } => {
                let name = resolve_name(&mut object);
                Request {
                    verb: "Create",
                    method: Method::POST,
                    uri: format!("{}?{FIELD_MANAGER}", resource.path(&namespace, "", None)),
                    content_type: "application/json",
                    body: object,
                    name,
                }
            }
            Write::Patch { target, subresource, patch } => Request {
                verb: "Patch",
                method: Method::PATCH,
                uri: format!("{}?{FIELD_MANAGER}", target.path(subresource)),
                content_type: "application/merge-patch+json",
                body: with_preconditions(patch, &target),
                name: target.name,
            },
            Write::Finalize { target, object } => Request {
                verb: "Finalize",
                method: Method::PUT,
                uri: target.path(Some("finalize")),
                content_type: "application/json",
                body: object,
                name: target.name,
            },
            Write::Delete { target, grace_seconds, propagation } => {
                let mut body = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
                body["preconditions"]["uid"] = json!(target.uid);
                if !target.resource_version.is_empty() {
                    body["preconditions"]["resourceVersion"] = json!(target.resource_version);
                }
                if let Some(seconds) = grace_seconds {
                    body["gracePeriodSeconds"] = json!(seconds);
                }
                if let Some(propagation) = propagation {
                    body["propagationPolicy"] = json!(format!("{propagation:?}"));
                }
                Request {
                    verb: "Delete",
                    method: Method::DELETE,
                    uri: target.path(None),
                    content_type: "application/json",
                    body,
                    name: target.name,
                }
            }
            Write::DeleteCollection { resource, namespace } => Request {
                verb: "DeleteCollection",
                method: Method::DELETE,
                uri: resource.path(&namespace, "", None),
                content_type: "application/json",
                body: json!({
                    "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"
                }),
                name: String::new(),
            },
        }
    }
}

impl Target {
    fn path(&self, subresource: Option<&str>) -> String {
        self.resource.path(&self.namespace, &self.name, subresource)
    }
}

/// Picks the name that `generateName` asks for: once, before the first attempt, so that a request
/// that is sent twice cannot create two objects.
fn resolve_name(object: &mut Value) -> String {
    let metadata = &mut object["metadata"];
    if let Some(name) = metadata["name"].as_str().filter(|name| !name.is_empty()) {
        return name.to_owned();
    }
    let prefix = metadata["generateName"].as_str().unwrap_or_default().to_owned();
    let suffix: String = (0..NAME_SUFFIX)
        .map(|_| char::from(NAME_LETTERS[rand::random_range(0..NAME_LETTERS.len())]))
        .collect();
    // As upstream: a name never gets longer than a label's value may be.
    let name = format!("{}{suffix}", &prefix[..prefix.len().min(63 - NAME_SUFFIX)]);
    metadata["name"] = json!(name);
    name
}

fn with_preconditions(mut patch: Value, target: &Target) -> Value {
    let metadata = &mut patch["metadata"];
    metadata["uid"] = json!(target.uid);
    if !target.resource_version.is_empty() {
        metadata["resourceVersion"] = json!(target.resource_version);
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, reason: &str, message: &str) -> Error {
        Error::Api { code, reason: reason.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn answers_are_told_apart() {
        let stale = |verb, error| classify(verb, &error) == Trouble::Stale;
        assert!(stale("Patch", refused(409, "Conflict", "")));
        assert!(stale("Create", refused(409, "AlreadyExists", "")));
        assert!(stale("Delete", refused(404, "NotFound", "")));
        assert!(stale(
            "Create",
            refused(
                403,
                "Forbidden",
                "unable to create new content in namespace a because it is being terminated"
            )
        ));
        assert!(matches!(
            classify("Create", &refused(403, "Forbidden", "exceeded quota")),
            Trouble::Refused(failure) if failure.message == "exceeded quota"
        ));
        assert!(matches!(classify("Patch", &refused(504, "Timeout", "")), Trouble::Unknown(_)));
    }

    #[test]
    fn a_generated_name_is_picked_once_and_fits() {
        let mut object = json!({"metadata": {"generateName": "x".repeat(80)}});
        let name = resolve_name(&mut object);
        assert_eq!(name.len(), 63);
        assert_eq!(resolve_name(&mut object), name);
    }
}
