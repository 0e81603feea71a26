//! Telling users why a pod has no node: an Event and the pod's PodScheduled condition.
//!
//! Reports of one pod replace one another while they wait, so what waits is bounded by the number
//! of pods. The condition is written only when it would say something else.

use std::{collections::BTreeMap, sync::Arc};

use futures::StreamExt;
use kontiki_api::{k8s_openapi::jiff::Timestamp, slim::Pod};
use kontiki_base::{
    CancellationToken,
    tasks::{TaskKind, Tasks, render},
};
use kontiki_client::{Client, EventRecorder, EventType, Patch, Regarding};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::binder::object_key;
use crate::pod::{PodInfo, PodKey};

/// Conditions written at the same time.
const WRITES_MAX: usize = 16;

struct Report {
    pod: Arc<PodInfo>,
    reason: &'static str,
    message: String,
    nomination: Nomination,
}

/// What becomes of the room that is kept for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nomination {
    /// Nothing changes.
    Keep,
    /// There is none any more.
    Clear,
    /// It is on this node.
    Set(Arc<str>),
}

#[derive(Default)]
struct Waiting {
    reports: Mutex<BTreeMap<PodKey, Report>>,
    wake: Notify,
}

/// Reports during one turn.
pub(super) struct Reporter {
    waiting: Arc<Waiting>,
    events: EventRecorder,
}

/// An Event about a pod.
pub(super) fn regarding(pod: &PodInfo) -> Regarding {
    Regarding {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        key: object_key(&pod.key),
        uid: pod.uid.to_string(),
        field_path: None,
    }
}

impl Reporter {
    /// A reporter that ends with the turn.
    pub(super) fn start(
        client: Client,
        events: EventRecorder,
        over: CancellationToken,
        tasks: &Tasks,
    ) -> Reporter {
        let waiting = Arc::new(Waiting::default());
        let source = waiting.clone();
        tasks.spawn_infallible(TaskKind::logged("scheduler reporter"), async move {
            tokio::select! { biased;
                () = over.cancelled() => {}
                () = write_all(&client, &source) => {}
            }
        });
        Reporter { waiting, events }
    }

    /// No node takes the pod.
    pub(super) fn unschedulable(
        &self,
        pod: &Arc<PodInfo>,
        message: String,
        nomination: Nomination,
    ) {
        self.report(pod, "Unschedulable", message, nomination);
    }

    /// The pod's node was decided, but something went wrong.
    pub(super) fn failed(&self, pod: &Arc<PodInfo>, message: String) {
        self.report(pod, "SchedulerError", message, Nomination::Keep);
    }

    fn report(
        &self,
        pod: &Arc<PodInfo>,
        reason: &'static str,
        message: String,
        nomination: Nomination,
    ) {
        self.events.record(regarding(pod), EventType::Warning, "FailedScheduling", &message);
        let said = pod.unschedulable_message.as_deref() == Some(&message);
        let nothing_new = match &nomination {
            Nomination::Keep => true,
            Nomination::Clear => pod.nominated.is_none(),
            Nomination::Set(node) => pod.nominated.as_ref() == Some(node),
        };
        if said && nothing_new && reason == "Unschedulable" {
            return;
        }
        let report = Report { pod: pod.clone(), reason, message, nomination };
        self.waiting.reports.lock().insert(pod.key.clone(), report);
        self.waiting.wake.notify_one();
    }
}

async fn write_all(client: &Client, waiting: &Waiting) {
    loop {
        let reports = std::mem::take(&mut *waiting.reports.lock());
        if reports.is_empty() {
            waiting.wake.notified().await;
            continue;
        }
        futures::stream::iter(reports.into_values())
            .for_each_concurrent(WRITES_MAX, |report| write(client, report))
            .await;
    }
}

async fn write(client: &Client, report: Report) {
    let mut condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": report.reason,
        "message": report.message,
    });
    if report.pod.unschedulable_message.is_none() {
        condition["lastTransitionTime"] = json!(now());
    }
    let mut body = json!({
        "metadata": { "uid": &*report.pod.uid },
        "status": { "conditions": [condition] },
    });
    match &report.nomination {
        Nomination::Keep => {}
        Nomination::Clear => body["status"]["nominatedNodeName"] = Value::Null,
        Nomination::Set(node) => body["status"]["nominatedNodeName"] = json!(&**node),
    }
    let key = object_key(&report.pod.key);
    match client.patch_status::<Pod>(&key, Patch::Strategic(body)).await {
        Ok(_) => {}
        // It was deleted, or replaced by another of its name.
        Err(error) if error.is_not_found() || error.is_conflict() => {}
        Err(error) => {
            tracing::debug!(pod = %report.pod.key, "condition not written: {}", render(&error));
        }
    }
}

/// The time as the API writes it, in whole seconds.
pub(super) fn now() -> String {
    let seconds = Timestamp::now().as_second();
    Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
}
