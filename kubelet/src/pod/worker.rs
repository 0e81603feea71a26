//! The worker of one pod: the only loop that waits.
//!
//! It wakes when something reached its inbox, an operation ended, or a time came; then it asks the
//! runtime what there is, plans, starts what the plan names, and reports. Operations run beside
//! it, so that a pod can be deleted while its image is pulled. When the agent stops, operations are
//! dropped where they are: containers go on, and the next agent sees what there is.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kontiki_api::Object;
use kontiki_base::{CancellationToken, backoff::Backoff, tasks::render};
use tokio::time::{Instant, sleep_until};

use crate::{
    metrics,
    node::context::Context,
    pod::{
        announcer::Announcer,
        backoff::CrashBackoff,
        inbox::Inbox,
        lifecycle::{self, Ending, Observed, PodPlan, Start, Step},
        memory::{Failure, Operation, PodMemory, Volumes},
        observe::Observer,
        observed::PodRuntimeStatus,
        operations::{self, Interruptible, Outcome, Sandbox, Subject},
        prober::Probers,
        reporter::Reporter,
        spec::PodExt,
        status,
    },
    volumes::Mounted,
};

/// Without anything happening, a pod is looked at this often.
const IDLE: Duration = Duration::from_secs(300);
/// How soon the runtime is asked again about a container whose end was announced.
const SETTLE_FIRST: Duration = Duration::from_millis(5);
const SETTLE_LIMIT: Duration = Duration::from_millis(500);
/// Retries, as upstream has them: first delay and limit.
const PULL_RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
const VOLUME_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(122));
const START_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// What could not be made of the pod as it was is tried again at once when the pod changes.
const CONFIG_ERROR: &str = "CreateContainerConfigError";

type InFlight = BoxFuture<'static, Option<(Operation, Outcome)>>;

/// The worker of one pod.
pub struct Worker {
    context: Arc<Context>,
    inbox: Arc<Inbox>,
    pod: Arc<Pod>,
    memory: PodMemory,
    observer: Observer,
    probers: Probers,
    reporter: Reporter,
    mounted: Mounted,
    operations: FuturesUnordered<InFlight>,
    /// Stops of containers under way: when they kill, and how to give up on them.
    kills: BTreeMap<String, (Instant, AbortHandle)>,
    /// Starts of containers under way, by name: whether they may be given up, and how.
    pulls: BTreeMap<String, (Interruptible, AbortHandle)>,
    announcer: Announcer,
    /// Ends that were announced and not seen yet, by container id.
    announced: BTreeMap<String, Backoff>,
    refresh_wanted: bool,
    /// When the pod came to this worker, until it runs; `None` if it ran before.
    waits_since: Option<Instant>,
    runtime_retry: Backoff,
    stop_retry: Option<Failure>,
}

impl Worker {
    /// A worker for a pod.
    pub fn new(context: Arc<Context>, inbox: Arc<Inbox>, pod: Arc<Pod>) -> Worker {
        let waits_since = (pod.phase() == "Pending").then(Instant::now);
        Worker {
            probers: Probers::new(context.clone(), inbox.clone()),
            reporter: Reporter::new(&pod),
            memory: PodMemory::of(&pod),
            context,
            inbox,
            pod,
            announcer: Announcer::default(),
            pulls: BTreeMap::new(),
            observer: Observer::default(),
            mounted: Mounted::default(),
            operations: FuturesUnordered::new(),
            kills: BTreeMap::new(),
            announced: BTreeMap::new(),
            refresh_wanted: false,
            waits_since,
            runtime_retry: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            stop_retry: None,
        }
    }

    /// Works until nothing of the pod is left, or shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            self.read_mail();
            let next = match self.pass().await {
                Next::Gone => return,
                Next::At(time) => time,
            };
            let ended = tokio::select! { biased;
                () = shutdown.cancelled() => return,
                Some(ended) = self.operations.next() => ended,
                () = self.reporter.wait() => None,
                () = self.inbox.notified() => None,
                () = sleep_until(next) => None,
            };
            if let Some((operation, outcome)) = ended {
                self.remember(operation, outcome);
            }
        }
    }

    fn read_mail(&mut self) {
        let mail = self.inbox.take();
        if let Some(pod) = mail.pod {
            self.reporter.saw(&pod);
            // What the downward API shows may have changed.
            let (old, new) = (&self.pod.metadata, &pod.metadata);
            if old.labels != new.labels || old.annotations != new.annotations {
                self.refresh_wanted = true;
                self.memory.failures.retain(|_, failure| failure.reason != CONFIG_ERROR);
            }
            self.memory.forget_failures_of_others(&self.pod, &pod);
            self.pod = pod;
        }
        self.memory.removed |= mail.removed;
        if mail.refresh_volumes {
            self.refresh_wanted = true;
            // What failed for want of an object may work now.
            if matches!(self.memory.volumes, Volumes::Failed(_)) {
                self.memory.volumes = Volumes::Pending;
            }
            self.memory.failures.retain(|_, failure| failure.reason != CONFIG_ERROR);
        }
        for id in mail.exited {
            self.announced.entry(id).or_insert_with(|| Backoff::new(SETTLE_FIRST, SETTLE_LIMIT));
        }
        for (container, kind, passed) in mail.verdicts {
            self.memory.verdicts.entry(container).or_default().by_kind.insert(kind, passed);
        }
    }

    /// Observes, plans, starts what is planned, reports. Answers when to look again.
    async fn pass(&mut self) -> Next {
        let mut runtime = PodRuntimeStatus::default();
        if !self.memory.torn_down {
            runtime = match self.observer.observe(&self.context, self.pod.uid()).await {
                Ok(runtime) => runtime,
                Err(error) => return self.runtime_is_away(&error),
            };
        }
        self.runtime_retry.reset();
        let settle = self.settle(&runtime);
        self.forget_dead_verdicts(&runtime);
        let now = operations::now();
        let (pod, memory) = (self.pod.clone(), self.memory.clone());
        let plan = lifecycle::plan(Observed { pod: &pod, runtime: &runtime, memory: &memory, now });
        if plan.ending.is_some() && self.memory.stopping_since.is_none() {
            self.memory.stopping_since = Some(now);
        }
        self.probers.follow(&self.pod, &runtime, &self.memory, plan.ending.is_some());
        // The state of things before the steps: what they do is reported when it is done.
        self.report(&runtime, &plan, now);
        self.announcer.back_offs(&self.context, &self.pod, &self.memory, &plan);
        if plan.ending.is_some() {
            self.give_up_pulls();
        }
        self.start(&plan, &runtime, now);
        if plan.gone && self.reporter.finish(&self.context, &self.pod, self.memory.removed) {
            return Next::Gone;
        }
        let mut next = Instant::now() + IDLE;
        let times = [plan.recheck_at, self.retry_of_stop(now), self.mounted.refresh_at];
        for time in times.into_iter().flatten() {
            next = next.min(Instant::now() + until(time, now));
        }
        Next::At(settle.map_or(next, |settle| next.min(settle)))
    }

    fn runtime_is_away(&mut self, error: &crate::runtime::Error) -> Next {
        let delay = self.runtime_retry.next_delay();
        if self.runtime_retry.failures() > 3 {
            tracing::warn!(pod = self.pod.log_name(), "cannot ask the runtime: {}", render(error));
        }
        Next::At(Instant::now() + delay)
    }

    /// containerd announces an end before it shows it: until then it is asked again and again,
    /// briefly.
    fn settle(&mut self, runtime: &PodRuntimeStatus) -> Option<Instant> {
        self.announced.retain(|id, backoff| {
            let container = runtime.containers.iter().any(|c| &c.id == id && c.is_alive());
            let sandbox = runtime.sandboxes.iter().any(|s| &s.id == id && s.ready);
            (container || sandbox) && backoff.failures() < 16
        });
        self.announced.values_mut().map(Backoff::next_delay).min().map(|d| Instant::now() + d)
    }

    fn forget_dead_verdicts(&mut self, runtime: &PodRuntimeStatus) {
        let alive = |id: &String| runtime.containers.iter().any(|c| &c.id == id && c.is_running());
        self.memory.verdicts.retain(|id, _| alive(id));
    }

    fn report(&mut self, runtime: &PodRuntimeStatus, plan: &PodPlan, now: Timestamp) {
        let has_ended = plan.ending == Some(Ending::Finished) && runtime.containers.is_empty();
        if self.memory.torn_down || self.memory.removed || has_ended {
            // What was reported last stands: the runtime has nothing left to tell.
            self.reporter.keep(&self.context, &self.pod);
            return;
        }
        let status = status::status(status::Facts {
            pod: &self.pod,
            reported: self.reporter.reported(),
            runtime,
            memory: &self.memory,
            plan,
            node_addresses: &self.context.options.node_addresses,
            now,
        });
        if status.phase.as_deref() == Some("Running")
            && let Some(since) = self.waits_since.take()
        {
            metrics::observe_pod_start(since.elapsed());
        }
        self.reporter.report(&self.context, &self.pod, status);
    }

    fn start(&mut self, plan: &PodPlan, runtime: &PodRuntimeStatus, now: Timestamp) {
        let steps = plan.steps.clone();
        let needs_mounts = plan.ending.is_none() && self.memory.volumes == Volumes::Ready;
        let refresh_is_due = self.mounted.refresh_at.is_some_and(|time| time <= now);
        let refreshing = self.memory.is_in_flight(&Operation::RefreshVolumes);
        if needs_mounts && (self.refresh_wanted || refresh_is_due) && !refreshing {
            self.refresh_wanted = false;
            // A refresh that fails is tried again, not at once.
            let retry = now.checked_add(SignedDuration::from_secs(30)).unwrap_or(now);
            self.mounted.refresh_at = self.mounted.refresh_at.map(|time| time.max(retry));
            self.memory.in_flight.insert(Operation::RefreshVolumes);
            let subject = self.subject(runtime);
            self.operations
                .push(Box::pin(async move { Some(operations::refresh_volumes(subject).await) }));
        }
        let stop_waits = self.retry_of_stop(now).is_some_and(|time| time > now);
        for step in steps {
            let stops = matches!(
                step,
                Step::Kill { .. }
                    | Step::StopSandbox { .. }
                    | Step::TearDown
                    | Step::Collect { .. }
            );
            if !(stops && stop_waits) {
                self.start_step(step, runtime, now);
            }
        }
    }

    fn start_step(&mut self, step: Step, runtime: &PodRuntimeStatus, now: Timestamp) {
        let operation = step.operation();
        if let Step::Kill { id, grace, .. } = &step {
            let kills_at = Instant::now() + *grace;
            if let Some((planned, handle)) = self.kills.get(id) {
                if kills_at + Duration::from_secs(1) >= *planned {
                    return;
                }
                // Less patience than before: the stop under way is given up for a shorter one.
                handle.abort();
            }
            let (future, handle) =
                abortable(operations::perform(self.subject(runtime), step.clone()));
            self.kills.insert(id.clone(), (kills_at, handle));
            self.memory.in_flight.insert(operation);
            self.operations.push(Box::pin(async move { future.await.ok() }));
            return;
        }
        if let Step::Start(Start { name, .. }) = &step
            && let Some(ended) = runtime.latest(name).filter(|latest| latest.is_exited())
        {
            let finished = ended.finished_at.unwrap_or(ended.created_at);
            let before = self.memory.backoffs.get(name).copied();
            let backoff = CrashBackoff::after_start(before, finished, now);
            self.memory.backoffs.insert(name.clone(), backoff);
        }
        self.memory.in_flight.insert(operation);
        let subject = self.subject(runtime);
        let interruptible = subject.interruptible.clone();
        let name =
            if let Step::Start(Start { name, .. }) = &step { Some(name.clone()) } else { None };
        let (future, handle) = abortable(operations::perform(subject, step));
        if let Some(name) = name {
            self.pulls.insert(name, (interruptible, handle));
        }
        self.operations.push(Box::pin(async move { future.await.ok() }));
    }

    /// A pod that ends does not wait for its images.
    fn give_up_pulls(&mut self) {
        let memory = &mut self.memory;
        self.pulls.retain(|name, (interruptible, handle)| {
            let give_up = interruptible.is_set();
            if give_up {
                handle.abort();
                memory.in_flight.remove(&Operation::Start(name.clone()));
            }
            !give_up
        });
    }

    fn subject(&self, runtime: &PodRuntimeStatus) -> Subject {
        Subject {
            context: self.context.clone(),
            pod: self.pod.clone(),
            sandbox: runtime.ready_sandbox().map(|sandbox| Sandbox {
                id: sandbox.id.clone(),
                attempt: sandbox.attempt,
                addresses: sandbox.addresses.clone(),
            }),
            mounted: self.mounted.clone(),
            interruptible: Interruptible::default(),
        }
    }

    fn retry_of_stop(&self, now: Timestamp) -> Option<Timestamp> {
        self.stop_retry.as_ref().map(Failure::retry_at).filter(|time| *time > now)
    }

    /// Remembers what became of an operation.
    fn remember(&mut self, operation: Operation, outcome: Outcome) {
        self.memory.in_flight.remove(&operation);
        if let Operation::Start(name) = &operation {
            self.pulls.remove(name);
        }
        let now = operations::now();
        match (operation, outcome) {
            (Operation::PrepareVolumes | Operation::RefreshVolumes, Outcome::Volumes(mounted)) => {
                self.memory.volumes = Volumes::Ready;
                self.mounted = mounted;
            }
            (Operation::PrepareVolumes, Outcome::Failed { reason, message }) => {
                let before = match &self.memory.volumes {
                    Volumes::Failed(before) => Some(before),
                    _ => None,
                };
                let failure = Failure::after(before, reason, message, now, VOLUME_RETRY);
                self.memory.volumes = Volumes::Failed(failure);
            }
            (Operation::CreateSandbox, Outcome::Failed { reason, message }) => {
                let before = self.memory.sandbox_failure.as_ref();
                let failure = Failure::after(before, reason, message, now, START_RETRY);
                self.memory.sandbox_failure = Some(failure);
            }
            (Operation::CreateSandbox, _) => self.memory.sandbox_failure = None,
            (Operation::Start(_), Outcome::Started { name }) => {
                self.memory.failures.remove(&name);
            }
            (Operation::Start(name), Outcome::Failed { reason, message }) => {
                let retry = if reason == "ErrImagePull" { PULL_RETRY } else { START_RETRY };
                let before = self.memory.failures.get(&name);
                let failure = Failure::after(before, reason, message, now, retry);
                self.memory.failures.insert(name, failure);
            }
            (Operation::TearDown, Outcome::Done) => self.memory.torn_down = true,
            (operation, outcome) => self.remember_stop(&operation, outcome, now),
        }
    }

    /// Stops that fail are tried again with back-off.
    fn remember_stop(&mut self, operation: &Operation, outcome: Outcome, now: Timestamp) {
        if let Operation::Kill(id) = operation {
            self.kills.remove(id);
        }
        match outcome {
            Outcome::Failed { reason, message } if *operation != Operation::RefreshVolumes => {
                let before = self.stop_retry.as_ref();
                tracing::debug!(pod = self.pod.log_name(), "{operation:?}: {message}");
                self.stop_retry = Some(Failure::after(before, reason, message, now, START_RETRY));
            }
            _ => self.stop_retry = None,
        }
    }
}

/// When to look again.
enum Next {
    /// Never: nothing is left.
    Gone,
    /// Then.
    At(Instant),
}

fn until(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or_default()
}
