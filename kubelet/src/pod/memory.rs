//! What a pod's worker remembers between two plans and nobody else knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use crate::pod::{
    backoff::CrashBackoff,
    spec::{PodExt, ProbeKind},
};

/// Everything remembered about one pod.
#[derive(Clone, Debug, Default)]
pub struct PodMemory {
    /// Restart back-off per container name.
    pub backoffs: BTreeMap<String, CrashBackoff>,
    /// Why a container could not be started, per container name.
    pub failures: BTreeMap<String, Failure>,
    /// Why the sandbox could not be made.
    pub sandbox_failure: Option<Failure>,
    /// Whether the pod's folders and volumes are there.
    pub volumes: Volumes,
    /// What probes found, per container id.
    pub verdicts: BTreeMap<String, Verdicts>,
    /// What is being done right now.
    pub in_flight: BTreeSet<Operation>,
    /// The pod was removed from its source without having been deleted.
    pub removed: bool,
    /// When the stop of the pod began.
    pub stopping_since: Option<Timestamp>,
    /// Volumes, cgroups and sandboxes of the stopped pod are gone.
    pub torn_down: bool,
}

/// State of the pod's volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Volumes {
    /// Not looked at yet.
    #[default]
    Pending,
    /// All there.
    Ready,
    /// Something is missing.
    Failed(Failure),
}

/// A failed try, and when the next may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Upstream's reason (`ErrImagePull`, `CreateContainerConfigError`, …).
    pub reason: &'static str,
    /// What went wrong.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// How long to wait.
    pub delay: Duration,
}

/// How long a fresh failure is shown as itself before it is shown as a back-off.
const FRESH: SignedDuration = SignedDuration::from_secs(2);

impl Failure {
    /// A further failure: waits twice as long as the one before, between `first` and `limit`.
    pub fn after(
        before: Option<&Failure>,
        reason: &'static str,
        message: String,
        at: Timestamp,
        (first, limit): (Duration, Duration),
    ) -> Failure {
        let delay = before.map_or(first, |before| (before.delay * 2).clamp(first, limit));
        Failure { reason, message, at, delay }
    }

    /// When the next try may be.
    pub fn retry_at(&self) -> Timestamp {
        self.at.checked_add(self.delay).unwrap_or(Timestamp::MAX)
    }

    /// When it stops being shown as itself.
    pub fn stale_at(&self) -> Timestamp {
        self.at.checked_add(FRESH).unwrap_or(Timestamp::MAX)
    }
}

/// What a worker can have in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Preparing folders and volumes.
    PrepareVolumes,
    /// Bringing volumes up to date.
    RefreshVolumes,
    /// Making the sandbox.
    CreateSandbox,
    /// Stopping a sandbox, by id.
    StopSandbox(String),
    /// Pulling, making and starting a container, by name.
    Start(String),
    /// Stopping a container, by id.
    Kill(String),
    /// Removing dead containers and sandboxes.
    Collect,
    /// Removing all that is left of the stopped pod.
    TearDown,
}

/// What the probes of one container found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Per kind of probe: passed, failed; absent: not known yet.
    pub by_kind: BTreeMap<ProbeKind, bool>,
}

impl PodMemory {
    /// A memory that takes up what an earlier life of the worker reported, so that an agent's
    /// restart makes no pod unready.
    pub fn of(pod: &Pod) -> PodMemory {
        let mut memory = PodMemory::default();
        let status = pod.status.clone().unwrap_or_default();
        let init = status.init_container_statuses.unwrap_or_default();
        for status in init.into_iter().chain(status.container_statuses.unwrap_or_default()) {
            let Some((_, id)) = status.container_id.as_deref().and_then(|id| id.split_once("://"))
            else {
                continue;
            };
            let verdicts = memory.verdicts.entry(id.to_owned()).or_default();
            if status.started == Some(true) {
                verdicts.by_kind.insert(ProbeKind::Startup, true);
            }
            if status.ready {
                verdicts.by_kind.insert(ProbeKind::Readiness, true);
            }
        }
        memory
    }

    /// Forgets why containers could not be started that are declared otherwise now: another image
    /// is pulled at once.
    pub fn forget_failures_of_others(&mut self, before: &Pod, now: &Pod) {
        self.failures.retain(|name, _| before.container(name) == now.container(name));
    }

    /// What a probe found last.
    pub fn verdict(&self, container_id: &str, kind: ProbeKind) -> Option<bool> {
        self.verdicts.get(container_id)?.by_kind.get(&kind).copied()
    }

    /// Whether an operation is under way.
    pub fn is_in_flight(&self, operation: &Operation) -> bool {
        self.in_flight.contains(operation)
    }
}
