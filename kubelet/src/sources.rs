//! Where pods come from: the API ([`api`]) and a folder ([`files`]). Both say the same two things
//! here: this pod is now so, that pod is no more. Each pod has one worker.

pub mod api;
pub mod files;
pub mod manifest;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kontiki_api::Object;
use kontiki_base::{
    CancellationToken,
    backoff::Backoff,
    tasks::{TaskKind, panic_message},
};
use tokio::time::sleep;

use crate::{
    node::context::Context,
    pod::{inbox::Inbox, spec::PodExt, worker::Worker},
};

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
