//! Telling the API server: one write at a time, only when something changed, the newest state
//! wins. In the end the object is deleted.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kontiki_api::Object;
use kontiki_base::{backoff::Backoff, tasks::render};
use kontiki_client::{DeleteOptions, Error, ObjectKey, Patch, Written};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until};

use crate::{
    node::context::Context,
    pod::{spec::PodExt, status::OWNED_CONDITIONS},
};

/// How a write ended.
enum Wrote {
    Status(Box<Result<Written<Pod>, Error>>),
    Deletion(Result<u64, Error>),
}

/// Reports one pod.
pub struct Reporter {
    /// What was computed last.
    desired: Option<PodStatus>,
    /// What the API server has, as far as known.
    known: PodStatus,
    /// What `known` was when `desired` was last written: the API server may store less than it was
    /// told, and must not be told again for that.
    settled: Option<(Value, Value)>,
    /// Copies of the pod older than this are of no use.
    revision: u64,
    in_flight: Option<(BoxFuture<'static, Wrote>, Value)>,
    retry_at: Option<Instant>,
    backoff: Backoff,
    deleted: bool,
    /// The object is gone.
    gone: bool,
    is_static: bool,
}

impl Reporter {
    /// Starts from what the API server has.
    pub fn new(pod: &Pod) -> Reporter {
        Reporter {
            desired: None,
            known: pod.status.clone().unwrap_or_default(),
            settled: None,
            revision: 0,
            in_flight: None,
            retry_at: None,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            deleted: false,
            gone: false,
            is_static: pod.is_static(),
        }
    }

    /// What was reported last, or is about to be.
    pub fn reported(&self) -> &PodStatus {
        self.desired.as_ref().unwrap_or(&self.known)
    }

    /// A newer copy of the pod came in.
    pub fn saw(&mut self, pod: &Pod) {
        if revision(pod) >= self.revision {
            self.known = pod.status.clone().unwrap_or_default();
        }
    }

    /// Wants this status to be known.
    pub fn report(&mut self, context: &Arc<Context>, pod: &Pod, status: PodStatus) {
        self.desired = Some(status);
        self.keep(context, pod);
    }

    /// Goes on with what is wanted.
    pub fn keep(&mut self, context: &Arc<Context>, pod: &Pod) {
        let waits = self.retry_at.is_some_and(|time| time > Instant::now());
        if self.in_flight.is_some() || self.gone || waits {
            return;
        }
        self.retry_at = None;
        // A static pod is known to the API by its mirror.
        let uid = if pod.is_static() {
            let Some(mirror) = context.mirror(pod) else { return };
            self.saw(&mirror);
            mirror.uid().to_owned()
        } else {
            pod.uid().to_owned()
        };
        let Some(patch) = self.difference(&uid) else { return };
        let (wanted, key, client) = (
            value(self.desired.as_ref().unwrap_or(&self.known)),
            ObjectKey::of(pod),
            context.client.clone(),
        );
        let write = async move {
            let answer = client.patch_status::<Pod>(&key, Patch::Strategic(patch)).await;
            Wrote::Status(Box::new(answer))
        };
        self.in_flight = Some((Box::pin(write), wanted));
    }

    /// What to change, if anything.
    fn difference(&self, uid: &str) -> Option<Value> {
        let desired = value(self.desired.as_ref()?);
        let known = value(&self.known);
        if self.settled.as_ref().is_some_and(|(d, k)| *d == desired && *k == known) {
            return None;
        }
        let status = difference(&known, &desired)?;
        Some(json!({ "metadata": { "uid": uid }, "status": status }))
    }

    /// Whether everything is known and, unless `removed`, the object deleted. Starts what is
    /// missing.
    pub fn finish(&mut self, context: &Arc<Context>, pod: &Pod, removed: bool) -> bool {
        if removed || self.gone || pod.is_static() {
            return true;
        }
        let waits = self.retry_at.is_some_and(|time| time > Instant::now());
        if self.in_flight.is_some() || waits || self.deleted {
            return self.deleted;
        }
        let (key, client) = (ObjectKey::of(pod), context.client.clone());
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            uid: Some(pod.uid().to_owned()),
            ..DeleteOptions::default()
        };
        let write = async move { Wrote::Deletion(client.delete::<Pod>(&key, &options).await) };
        self.in_flight = Some((Box::pin(write), Value::Null));
        false
    }

    /// Waits for the end of the write under way, or for the time to try again.
    pub async fn wait(&mut self) {
        if let Some((write, _)) = &mut self.in_flight {
            let wrote = write.await;
            let wanted = self.in_flight.take().map(|(_, wanted)| wanted).unwrap_or_default();
            self.note(wrote, wanted);
        } else if let Some(time) = self.retry_at {
            sleep_until(time).await;
            self.retry_at = None;
        } else {
            std::future::pending().await
        }
    }

    fn note(&mut self, wrote: Wrote, wanted: Value) {
        let error = match wrote {
            Wrote::Status(answer) => match *answer {
                Ok(written) => {
                    self.revision = written.revision.max(revision(&written.object));
                    self.known = written.object.status.unwrap_or_default();
                    self.settled = Some((wanted, value(&self.known)));
                    None
                }
                Err(error) => Some(error),
            },
            Wrote::Deletion(Ok(_)) => {
                self.deleted = true;
                None
            }
            Wrote::Deletion(Err(error)) => Some(error),
        };
        match error {
            None => self.backoff.reset(),
            // Another object has taken the name, or none has it: nobody is left to be told. A
            // mirror comes back.
            Some(error) if error.is_not_found() || error.is_conflict() => {
                self.gone = !self.is_static
            }
            Some(error) => {
                if self.backoff.failures() > 4 {
                    tracing::warn!("cannot report a pod: {}", render(&error));
                }
                self.retry_at = Some(Instant::now() + self.backoff.next_delay());
            }
        }
    }
}

fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A status as JSON, with the conditions that are ours.
fn value(status: &PodStatus) -> Value {
    let pod = Pod { status: Some(status.clone()), ..Pod::default() };
    let mut value = pod.to_value()["status"].take();
    if let Some(conditions) = value["conditions"].as_array_mut() {
        conditions.retain(|condition| {
            condition["type"].as_str().is_some_and(|kind| OWNED_CONDITIONS.contains(&kind))
        });
        conditions.sort_by_key(|condition| condition["type"].as_str().map(str::to_owned));
    }
    value
}

/// Fields that go when there is nothing to say in them any more.
const REPLACED: [&str; 6] = [
    "reason",
    "message",
    "podIP",
    "containerStatuses",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
];

/// The strategic merge patch from one status to another; `None` if there is nothing to change.
fn difference(known: &Value, desired: &Value) -> Option<Value> {
    let empty = Map::new();
    let (known, desired) =
        (known.as_object().unwrap_or(&empty), desired.as_object().unwrap_or(&empty));
    let mut patch = Map::new();
    for (field, wanted) in desired {
        let old = known.get(field).unwrap_or(&Value::Null);
        if old == wanted {
            continue;
        }
        let change = match field.as_str() {
            "conditions" => changed_conditions(old, wanted),
            "podIPs" | "hostIPs" => replaced_addresses(old, wanted),
            _ => wanted.clone(),
        };
        patch.insert(field.clone(), change);
    }
    // Fields of others, such as nominatedNodeName, are not ours to remove.
    for field in REPLACED {
        if known.contains_key(field) && !desired.contains_key(field) {
            patch.insert(field.to_owned(), Value::Null);
        }
    }
    if let (Some(old), None) = (known.get("podIPs"), desired.get("podIPs")) {
        patch.insert("podIPs".to_owned(), replaced_addresses(old, &json!([])));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Conditions merge by type: only changed ones are sent.
fn changed_conditions(old: &Value, wanted: &Value) -> Value {
    let old = old.as_array().cloned().unwrap_or_default();
    let wanted = wanted.as_array().into_iter().flatten();
    let mut changed: Vec<Value> = wanted.filter(|c| !old.contains(c)).cloned().collect();
    for condition in &mut changed {
        // A field that is no more must be said to be no more.
        let before = old.iter().find(|c| c["type"] == condition["type"]);
        for field in ["reason", "message"] {
            if condition.get(field).is_none() && before.is_some_and(|c| c.get(field).is_some()) {
                condition[field] = Value::Null;
            }
        }
    }
    Value::Array(changed)
}

/// Addresses merge by themselves: old ones are taken out one by one.
fn replaced_addresses(old: &Value, wanted: &Value) -> Value {
    let wanted = wanted.as_array().cloned().unwrap_or_default();
    let old = old.as_array().into_iter().flatten().filter(|ip| !wanted.contains(ip));
    let gone: Vec<Value> =
        old.map(|entry| json!({ "$patch": "delete", "ip": entry["ip"] })).collect();
    Value::Array(wanted.into_iter().chain(gone).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_sent() {
        let known = json!({
            "phase": "Pending", "hostIP": "10.0.0.1", "message": "old", "nominatedNodeName": "n9",
            "conditions": [
                { "type": "Ready", "status": "False", "reason": "ContainersNotReady" },
                { "type": "PodScheduled", "status": "True" }
            ],
            "podIPs": [{ "ip": "10.42.0.2" }],
        });
        assert_eq!(difference(&known, &known), None);
        let desired = json!({
            "phase": "Running", "hostIP": "10.0.0.1",
            "conditions": [
                { "type": "Ready", "status": "True" },
                { "type": "PodScheduled", "status": "True" }
            ],
            "podIPs": [{ "ip": "10.42.0.3" }],
        });
        assert_eq!(
            difference(&known, &desired),
            Some(json!({
                "phase": "Running",
                "conditions": [{ "type": "Ready", "status": "True", "reason": null }],
                "podIPs": [{ "ip": "10.42.0.3" }, { "$patch": "delete", "ip": "10.42.0.2" }],
                "message": null,
            }))
        );
    }
}
