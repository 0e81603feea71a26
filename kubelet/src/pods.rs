//! All pods of this node: one worker each, fed by the sources and by containerd's events.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use jiff::Timestamp;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::Pod;
use kontiki_api::Object;
use kontiki_base::{
    CancellationToken,
    backoff::Backoff,
    tasks::{TaskKind, panic_message, render},
};
use kontiki_client::{Change, Store};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    logs::rotate,
    metrics,
    node::{context::Context, leftovers},
    pod::{inbox::Inbox, labels, spec::PodExt, worker::Worker},
    runtime::events::Events,
};

/// How often everything is looked at although no event asked for it.
const BACKSTOP: Duration = Duration::from_secs(60);
/// How often logs are measured.
const LOG_CHECK: Duration = Duration::from_secs(10);

/// Follows the pods of a store: workers come and go with them.
pub fn follow(context: &Arc<Context>, store: &Store<Pod>) {
    let context = context.clone();
    store.on_change(move |change: &Change<Pod>| {
        let old = change.old.as_ref().filter(|old| !old.is_mirror());
        let new = change.new.as_ref().filter(|new| !new.is_mirror());
        // Another pod may have taken the name while the watch was away.
        let replaced = match (old, new) {
            (Some(old), Some(new)) => old.uid() != new.uid(),
            (Some(_), None) => true,
            _ => false,
        };
        if let Some(old) = old.filter(|_| replaced) {
            remove(&context, old.uid(), Some(old.clone()));
        }
        if let Some(new) = new {
            upsert(&context, new.clone());
        }
    });
}

/// A source has this pod now.
pub fn upsert(context: &Arc<Context>, pod: Arc<Pod>) {
    let mut workers = context.workers.lock();
    if let Some(inbox) = workers.get(pod.uid()) {
        inbox.pod(pod);
        return;
    }
    let inbox = Arc::new(Inbox::default());
    inbox.pod(pod.clone());
    workers.insert(pod.uid().to_owned(), inbox.clone());
    drop(workers);
    let (context, shutdown) = (context.clone(), context.tasks.shutdown());
    let tasks = context.tasks.clone();
    tasks.spawn_infallible(TaskKind::logged("pod worker"), async move {
        work(&context, &inbox, &pod, shutdown).await;
        let mut workers = context.workers.lock();
        if workers.get(pod.uid()).is_some_and(|known| Arc::ptr_eq(known, &inbox)) {
            workers.remove(pod.uid());
        }
    });
}

/// No source has this pod any more.
pub fn remove(context: &Arc<Context>, uid: &str, last: Option<Arc<Pod>>) {
    if let Some(inbox) = context.inbox(uid) {
        inbox.removed(last);
    }
}

/// Runs a pod's worker. A pod that makes it panic must not take the others down, and is tried
/// again.
async fn work(
    context: &Arc<Context>,
    inbox: &Arc<Inbox>,
    first: &Arc<Pod>,
    shutdown: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
    loop {
        let pod = inbox.latest().unwrap_or_else(|| first.clone());
        let name = pod.log_name();
        let worker = Worker::new(context.clone(), inbox.clone(), pod);
        let outcome = AssertUnwindSafe(worker.run(shutdown.clone())).catch_unwind().await;
        let Err(panic) = outcome else { return };
        tracing::error!(pod = name, "pod worker panicked: {}", panic_message(&*panic));
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            () = sleep(backoff.next_delay()) => {}
        }
    }
}

/// Passes containerd's events on to the workers. What was missed while containerd was away is
/// seen because everybody is woken when it is back.
pub async fn pass_events_on(context: Arc<Context>) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        match Events::subscribe(&context.runtime).await {
            Ok(mut events) => {
                backoff.reset();
                context.wake_all();
                while let Some(event) = events.next().await {
                    let owner = context.owners.lock().get(event.container_id()).cloned();
                    if let Some(inbox) = owner.and_then(|uid| context.inbox(&uid)) {
                        inbox.exited(event.container_id());
                    }
                }
            }
            // One failure is how a restart of containerd looks from here.
            Err(status) if backoff.failures() > 3 => {
                tracing::warn!("no events from containerd: {}", status.message());
            }
            Err(status) => tracing::debug!("no events from containerd: {}", status.message()),
        }
        sleep(backoff.next_delay()).await;
    }
}

/// The slow look at everything: leftovers, counts, and a wake for every worker.
pub async fn look_after(context: Arc<Context>, pods: Store<Pod>) {
    pods.synced().await;
    let mut ticks = interval(BACKSTOP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        context.wake_all();
        leftovers::clean_up(&context).await;
    }
}

/// Keeps logs small and counts what runs.
pub async fn look_after_logs(context: Arc<Context>) {
    let mut ticks = interval(LOG_CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let containers = match context.runtime.containers(None).await {
            Ok(containers) => containers,
            Err(error) => {
                tracing::debug!("cannot look at logs: {}", render(&error));
                continue;
            }
        };
        count(&context, &containers).await;
        for container in &containers {
            if container.state() == cri::ContainerState::ContainerRunning {
                rotate_log(&context, container).await;
            }
        }
    }
}

async fn count(context: &Context, containers: &[cri::Container]) {
    let in_state = |state: cri::ContainerState| {
        containers.iter().filter(|container| container.state() == state).count()
    };
    let sandboxes = context.runtime.sandboxes(None).await.unwrap_or_default();
    let ready =
        sandboxes.iter().filter(|s| s.state() == cri::PodSandboxState::SandboxReady).count();
    metrics::set_running(
        &context.options.node_name,
        ready,
        in_state(cri::ContainerState::ContainerRunning),
        in_state(cri::ContainerState::ContainerExited),
        in_state(cri::ContainerState::ContainerCreated),
    );
}

async fn rotate_log(context: &Context, container: &cri::Container) {
    let label = |key: &str| container.labels.get(key).map(String::as_str).unwrap_or_default();
    let attempt = container.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
    let (namespace, name) = (label(labels::POD_NAMESPACE), label(labels::POD_NAME));
    let folder = context.options.paths().pod_logs(namespace, name, label(labels::POD_UID));
    let log = folder.join(label(labels::CONTAINER_NAME)).join(format!("{attempt}.log"));
    let (size, files) = (context.options.log_size_max, context.options.log_files_max);
    rotate::rotate(&context.runtime, &container.id, &log, size, files, Timestamp::now()).await;
}
