//! The part that waits: feeds queue and snapshot from watches, and binds what cycles decide.
//!
//! One task owns all state, so nothing is locked while deciding. It keeps snapshot and queue warm
//! whether or not it may act; a turn of leadership begins with a cache as new as the leadership,
//! and its writes carry the fence.

mod binder;
mod evictor;
mod feed;
mod reporter;

use std::{sync::Arc, time::Duration};

use kontiki_base::tasks::{TaskKind, Tasks};
use kontiki_client::{
    Client, EventRecorder, EventType, FenceReceiver, Leadership, ObjectKey, Turn,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

use crate::{
    cluster::Cluster,
    cycle::{self, CycleInput},
    metrics::{self, Outcome},
    pod::{DEFAULT_SCHEDULER, PodInfo, PodKey},
    preemption::{self, Preemption},
    queue::{Attempt, Moment, Queue},
    verdict::FitError,
};
use binder::Bound;
use feed::Feed;
use reporter::{Nomination, Reporter};

/// The component in Events, as upstream's default profile.
const COMPONENT: &str = DEFAULT_SCHEDULER;
/// The Lease in kube-system.
const LEASE: &str = "kube-scheduler";
/// Bindings under way at once: enough to fill the store's group commits.
const BINDINGS_MAX: usize = 128;
/// Cycles run this long before the loop looks at watches and results again.
const CYCLES_TIME_MAX: Duration = Duration::from_millis(5);

/// How pods are scheduled.
#[derive(Clone, Debug)]
pub struct Options {
    /// `percentageOfNodesToScore`; `None` chooses by the size of the cluster, as upstream.
    pub percentage_of_nodes_to_score: Option<usize>,
    /// Bindings under way at once.
    pub bindings_max: usize,
    /// Pods with this `schedulerName` are ours.
    pub profile: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            percentage_of_nodes_to_score: None,
            bindings_max: BINDINGS_MAX,
            profile: DEFAULT_SCHEDULER.to_owned(),
        }
    }
}

/// The scheduler.
pub struct Service {
    options: Options,
    client: Client,
    leadership: FenceReceiver,
}

/// A binding that has ended.
struct Finished {
    pod: Arc<PodInfo>,
    node: Arc<str>,
    attempt: Attempt,
    began: Instant,
    bound: Bound,
}

/// Why a pod got no node, and what preemption can do about it.
struct Refusal {
    error: FitError,
    room: Preemption,
}

/// What one turn of leadership acts with.
struct Acting {
    turn: Turn,
    reporter: Reporter,
    events: EventRecorder,
    permits: Arc<Semaphore>,
    finished: mpsc::Sender<Finished>,
}

struct Scheduler {
    options: Options,
    feed: Feed,
    cluster: Cluster,
    queue: Queue,
    tasks: Tasks,
    began: Instant,
    start: usize,
}

impl Service {
    /// A scheduler that acts through `client` while `leadership` says so.
    pub fn new(options: Options, client: Client, leadership: FenceReceiver) -> Service {
        Service { options, client, leadership }
    }

    /// Schedules pods until the tasks are stopped.
    pub async fn run(self, tasks: Tasks) {
        let feed = Feed::start(&self.client, &tasks);
        let mut leadership =
            Leadership::new(self.client.clone(), self.leadership.clone(), LEASE, &tasks);
        let mut scheduler = Scheduler {
            options: self.options,
            feed,
            cluster: Cluster::default(),
            queue: Queue::default(),
            tasks,
            began: Instant::now(),
            start: 0,
        };
        while let Some(turn) = scheduler.wait_for_turn(&mut leadership).await {
            tracing::info!("scheduling in {}", turn.fence);
            scheduler.act(turn).await;
        }
    }
}

impl Scheduler {
    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    async fn wait_for_turn(&mut self, leadership: &mut Leadership) -> Option<Turn> {
        let (nodes, namespaces, pods) = (
            self.feed.nodes.store.clone(),
            self.feed.namespaces.store.clone(),
            self.feed.pods.store.clone(),
        );
        let caches: [&dyn kontiki_client::store::Progress; 3] = [&nodes, &namespaces, &pods];
        let next = leadership.next_turn(&caches);
        tokio::pin!(next);
        loop {
            tokio::select! { biased;
                turn = &mut next => return turn,
                () = self.feed.changed() => self.observe(),
            }
        }
    }

    /// Acts until the turn is over.
    async fn act(&mut self, turn: Turn) {
        self.observe();
        self.forget_former_turns();
        let (sender, mut finished) = mpsc::channel(self.options.bindings_max);
        let events = EventRecorder::start(turn.client.clone(), COMPONENT, "", &self.tasks);
        let acting = Acting {
            reporter: Reporter::start(
                turn.client.clone(),
                events.clone(),
                turn.over.clone(),
                &self.tasks,
            ),
            events,
            permits: Arc::new(Semaphore::new(self.options.bindings_max)),
            finished: sender,
            turn,
        };
        let over = acting.turn.over.clone();
        while !over.is_cancelled() {
            self.observe();
            let more = self.run_cycles(&acting);
            metrics::pending(self.queue.pending());
            let due = self.next_due();
            tokio::select! { biased;
                () = over.cancelled() => {}
                Some(result) = finished.recv() => {
                    self.finish(&acting, result);
                    while let Ok(result) = finished.try_recv() {
                        self.finish(&acting, result);
                    }
                }
                () = self.feed.changed() => {}
                () = tokio::task::yield_now(), if more => {}
                () = wait_until(due) => self.expire(),
            }
        }
        metrics::pending(crate::queue::Pending::default());
    }

    /// Takes in what the watches saw.
    fn observe(&mut self) {
        let now = self.now();
        for (key, namespace) in self.feed.namespaces.take() {
            self.cluster.set_namespace(&key.name, namespace.map(|n| n.0.clone()));
        }
        for (key, node) in self.feed.nodes.take() {
            match node {
                Some(offer) => self.cluster.set_node(&key.name, offer),
                None => self.cluster.remove_node(&key.name),
            }
        }
        for (key, pod) in self.feed.pods.take() {
            self.observe_pod(&key, pod, now);
        }
        let changes = self.cluster.take_changes();
        self.queue.wake(&changes, &mut self.cluster.snapshot, now);
    }

    fn observe_pod(&mut self, key: &ObjectKey, pod: Option<Arc<PodInfo>>, now: Moment) {
        let key =
            PodKey { namespace: key.namespace.as_str().into(), name: key.name.as_str().into() };
        let Some(pod) = pod.filter(|pod| !pod.terminal) else {
            self.queue.remove(&key);
            return self.cluster.remove_pod(&key);
        };
        if pod.node_name.is_some() {
            self.queue.remove(&key);
            return self.cluster.set_placed(pod);
        }
        if !self.cluster.is_assumed(&key, &pod.uid) && !self.cluster.is_nominated(&pod) {
            self.cluster.remove_pod(&key);
        }
        if pod.deleting || *pod.scheduler_name != *self.options.profile {
            self.queue.remove(&key);
            return self.cluster.remove_pod(&key);
        }
        if !self.cluster.is_assumed(&key, &pod.uid) {
            self.cluster.follow_nomination(&pod);
        }
        self.queue.set(pod, now);
    }

    /// Pods that an earlier turn assumed, and that the watch does not show bound: nobody is
    /// binding them any more, as writes of that turn are refused.
    fn forget_former_turns(&mut self) {
        for key in self.cluster.assumptions() {
            self.cluster.forget(&key);
            self.queue.remove(&key);
            self.feed.pods.look_again(binder::object_key(&key));
        }
        self.observe();
    }

    /// Runs cycles for a while; whether pods are left that could be tried at once.
    fn run_cycles(&mut self, acting: &Acting) -> bool {
        let until = Instant::now() + CYCLES_TIME_MAX;
        while Instant::now() < until {
            let Ok(permit) = acting.permits.clone().try_acquire_owned() else { return false };
            let Some(attempt) = self.queue.pop(self.began.elapsed()) else { return false };
            let began = Instant::now();
            match self.decide(&attempt) {
                Ok(slot) => self.bind(acting, attempt, slot, began, permit),
                Err(refusal) => self.refuse(acting, &attempt, *refusal, began),
            }
        }
        true
    }

    /// One cycle, and the plan to make room if there is none.
    fn decide(&mut self, attempt: &Attempt) -> Result<usize, Box<Refusal>> {
        let began = Instant::now();
        let input = CycleInput {
            percentage_of_nodes_to_score: self.options.percentage_of_nodes_to_score,
            start: self.start,
            tie_break: rand::random(),
        };
        let pod = &attempt.pod;
        let (evaluated, nodes, decision) = self.cluster.seen_by(pod, |snapshot| {
            snapshot.prepare(pod);
            let output = cycle::schedule(pod, snapshot, input);
            let decision = output.decision.map_err(|error| {
                let room = preemption::plan(pod, snapshot, &error);
                Box::new(Refusal { error, room })
            });
            (output.evaluated, snapshot.order().len().max(1), decision)
        });
        metrics::algorithm(began.elapsed());
        self.start = (self.start + evaluated) % nodes;
        decision
    }

    fn bind(
        &mut self,
        acting: &Acting,
        attempt: Attempt,
        slot: usize,
        began: Instant,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) {
        let node = self.cluster.snapshot.node(slot).name.clone();
        let pod = attempt.pod.clone();
        let now = self.now();
        self.cluster.assume(pod.clone(), slot, now);
        let (client, pods) = (acting.turn.client.clone(), self.feed.pods.store.clone());
        let finished = acting.finished.clone();
        self.tasks.spawn_infallible(TaskKind::logged("binding"), async move {
            let bound = binder::bind(&client, &pods, &pod, &node).await;
            // When the turn is over nobody listens: the next one looks for itself.
            let _ = finished.send(Finished { pod, node, attempt, began, bound }).await;
            drop(permit);
        });
    }

    fn finish(&mut self, acting: &Acting, result: Finished) {
        let Finished { pod, node, attempt, began, bound } = result;
        let now = self.now();
        match bound {
            Bound::Yes => {
                self.cluster.bound(&pod.key, now);
                self.queue.remove(&pod.key);
                let message = format!("Successfully assigned {} to {node}", pod.key);
                let regarding = reporter::regarding(&pod);
                acting.events.record(regarding, EventType::Normal, "Scheduled", &message);
                metrics::attempt(Outcome::Scheduled, &self.options.profile, began.elapsed());
                metrics::scheduled(attempt.attempts, now.saturating_sub(attempt.since));
            }
            Bound::Moot => {
                self.cluster.forget(&pod.key);
                self.queue.remove(&pod.key);
                self.feed.pods.look_again(binder::object_key(&pod.key));
            }
            Bound::No(problem) => {
                self.cluster.forget(&pod.key);
                self.queue.failed(&pod.key, now);
                acting.reporter.failed(&pod, format!("binding rejected: {problem}"));
                metrics::attempt(Outcome::Error, &self.options.profile, began.elapsed());
            }
        }
    }

    fn refuse(&mut self, acting: &Acting, attempt: &Attempt, refusal: Refusal, began: Instant) {
        let now = self.now();
        let Refusal { mut error, room } = refusal;
        let pod = &attempt.pod;
        let nomination = match room {
            Preemption::No(why) => {
                error.preemption = Some(why);
                self.cluster.withdraw(pod);
                Nomination::Clear
            }
            Preemption::Waiting(why) => {
                error.preemption = Some(why);
                Nomination::Keep
            }
            Preemption::Victims { slot, victims } => {
                let node = self.cluster.snapshot.node(slot).name.clone();
                self.cluster.nominate(pod, &node);
                metrics::preemption(victims.len());
                evictor::start(acting, &self.tasks, pod, &node, victims);
                Nomination::Set(node)
            }
        };
        acting.reporter.unschedulable(pod, error.to_string(), nomination);
        self.queue.refused(&pod.key, error.rejected_by, now);
        metrics::attempt(Outcome::Unschedulable, &self.options.profile, began.elapsed());
    }

    fn next_due(&self) -> Option<Instant> {
        let due = self.queue.next_due().into_iter().chain(self.cluster.next_expiry()).min();
        due.map(|moment| self.began + moment)
    }

    /// Assumptions that the watch never confirmed: the pods are looked at afresh.
    fn expire(&mut self) {
        for key in self.cluster.expired(self.now()) {
            tracing::warn!(pod = %key, "its binding was not seen in time: looked at afresh");
            self.cluster.forget(&key);
            self.queue.remove(&key);
            self.feed.pods.look_again(binder::object_key(&key));
        }
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
