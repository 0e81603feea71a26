//! What has to be looked at for all pods at once: containerd's events, leftovers, logs.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_cri::v1 as cri;
use kontiki_base::{backoff::Backoff, tasks::render};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    logs::rotate,
    metrics,
    node::{context::Context, leftovers},
    pod::labels,
    runtime::{Runtime, events::Events},
};

/// How often everything is looked at although no event asked for it.
const BACKSTOP: Duration = Duration::from_secs(60);
/// How often logs are measured.
const LOG_CHECK: Duration = Duration::from_secs(10);

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
                    let owners = context.owners.lock();
                    let pod = owners.get(event.container_id()).map(|owned| owned.pod.clone());
                    drop(owners);
                    if let Some(inbox) = pod.and_then(|uid| context.inbox(&uid)) {
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
pub async fn look_after(context: Arc<Context>) {
    context.pods.synced().await;
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
        count(&context.runtime, &containers).await;
        for container in &containers {
            if container.state() == cri::ContainerState::ContainerRunning {
                rotate_log(&context, container).await;
            }
        }
    }
}

async fn count(runtime: &Runtime, containers: &[cri::Container]) {
    let in_state = |state: cri::ContainerState| {
        containers.iter().filter(|container| container.state() == state).count()
    };
    let sandboxes = runtime.sandboxes(None).await.unwrap_or_default();
    let ready =
        sandboxes.iter().filter(|s| s.state() == cri::PodSandboxState::SandboxReady).count();
    metrics::set_running(
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
