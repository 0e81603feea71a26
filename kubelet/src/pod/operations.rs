//! Doing what a plan says: one future per step, each ending in an [`Outcome`] that the worker
//! remembers. Nothing is decided here.

mod hooks;
mod kill;
mod sandbox;
pub(crate) use sandbox::remove_everything;
mod start;

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kontiki_api::Object;
use kontiki_base::tasks::render;

use crate::{
    environment,
    node::context::Context,
    pod::{
        lifecycle::{KillReason, Step},
        memory::Operation,
        spec::{PodExt, as_container},
    },
    volumes::{self, Mounted},
};

/// What became of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// It is done, or there is nothing to remember of it.
    Done,
    /// The volumes stand.
    Volumes(Mounted),
    /// A container was started.
    Started {
        /// Its name.
        name: String,
    },
    /// It failed; upstream's waiting reason and a message.
    Failed {
        /// The reason.
        reason: &'static str,
        /// The message.
        message: String,
    },
}

/// What operations need to know of the pod, as it was when they were planned.
#[derive(Clone)]
pub struct Subject {
    /// What all workers share.
    pub context: Arc<Context>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its ready sandbox.
    pub sandbox: Option<Sandbox>,
    /// Its volumes.
    pub mounted: Mounted,
    /// Set while the operation may be given up.
    pub interruptible: Interruptible,
}

/// Tells whether an operation may be given up where it is, without leaving anything behind.
#[derive(Clone, Debug, Default)]
pub struct Interruptible(Arc<AtomicBool>);

impl Interruptible {
    /// Whether it may be given up now.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn set(&self, on: bool) {
        self.0.store(on, Ordering::SeqCst);
    }
}

/// The sandbox that containers are made in.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// Its number.
    pub attempt: u32,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
}

/// Does one step.
pub async fn perform(subject: Subject, step: Step) -> (Operation, Outcome) {
    let operation = step.operation();
    let outcome = match step {
        Step::PrepareVolumes => prepare_volumes(&subject).await,
        Step::CreateSandbox { attempt } => sandbox::create(&subject, attempt).await,
        Step::StopSandbox { id } => sandbox::stop(&subject, &id).await,
        Step::Start(start) => start::start(&subject, start).await,
        Step::Kill { id, name, grace, reason } => {
            kill::kill(&subject, &id, &name, grace, reason).await
        }
        Step::Collect { containers, sandboxes } => collect(&subject, &containers, &sandboxes).await,
        Step::TearDown => sandbox::tear_down(&subject).await,
    };
    (operation, outcome)
}

/// Brings volumes that stand up to date with what they show.
pub async fn refresh_volumes(subject: Subject) -> (Operation, Outcome) {
    let outcome = match volumes::prepare(&subject.context, &subject.pod).await {
        Ok(mounted) => Outcome::Volumes(mounted),
        Err(error) => Outcome::Failed { reason: "FailedMount", message: render(&error) },
    };
    (Operation::RefreshVolumes, outcome)
}

async fn prepare_volumes(subject: &Subject) -> Outcome {
    let Subject { context, pod, .. } = subject;
    let paths = context.options.paths();
    if let Err(error) = tokio::fs::create_dir_all(paths.pod(pod.uid())).await {
        return Outcome::Failed { reason: "FailedMount", message: error.to_string() };
    }
    // Watched first: what is missing now may be made in the next moment.
    let mut references = volumes::references(pod);
    let put_in = pod.ephemeral_containers().iter().map(as_container).map(Cow::Owned);
    let declared = pod.init_containers().iter().chain(&pod.pod_spec().containers);
    for container in declared.map(Cow::Borrowed).chain(put_in) {
        let more = environment::references(&container);
        references.config_maps.extend(more.config_maps);
        references.secrets.extend(more.secrets);
    }
    context.references.watch(pod, &references, &context.on_reference_change());
    match volumes::prepare(context, pod).await {
        Ok(mounted) => Outcome::Volumes(mounted),
        Err(error) => {
            let message = render(&error);
            context.warning(pod, None, "FailedMount", &message);
            Outcome::Failed { reason: "FailedMount", message }
        }
    }
}

async fn collect(subject: &Subject, containers: &[String], sandboxes: &[String]) -> Outcome {
    let Subject { context, pod, .. } = subject;
    for id in containers {
        if let Err(error) = remove_with_log(context, pod, id).await {
            tracing::warn!(pod = pod.log_name(), container = id, "{}", render(&error));
        }
    }
    for id in sandboxes {
        let runtime = &context.runtime;
        let stopped = runtime.stop_pod_sandbox(id).await;
        if let Err(error) = match stopped {
            Ok(()) => runtime.remove_pod_sandbox(id).await,
            Err(error) => Err(error),
        } {
            tracing::warn!(pod = pod.log_name(), sandbox = id, "{}", render(&error));
        }
        context.owners.lock().remove(id);
    }
    Outcome::Done
}

async fn remove_with_log(
    context: &Context,
    pod: &Pod,
    id: &str,
) -> Result<(), crate::runtime::Error> {
    let status = context.runtime.container_status(id).await?;
    context.runtime.remove_container(id).await?;
    context.owners.lock().remove(id);
    let Some(status) = status else { return Ok(()) };
    let name = status.labels.get(super::labels::CONTAINER_NAME).cloned().unwrap_or_default();
    let attempt = status.metadata.map_or(0, |metadata| metadata.attempt);
    let paths = context.options.paths();
    let _ = tokio::fs::remove_file(paths.termination_log(pod.uid(), &name, attempt)).await;
    crate::logs::rotate::remove_all(std::path::Path::new(&status.log_path)).await;
    Ok(())
}

/// The message of a kill, as upstream's Event has it.
fn kill_message(name: &str, reason: KillReason) -> String {
    match reason {
        KillReason::Liveness => {
            format!("Container {name} failed liveness probe, will be restarted")
        }
        KillReason::Startup => format!("Container {name} failed startup probe, will be restarted"),
        KillReason::PodEnds | KillReason::SandboxChanged => format!("Stopping container {name}"),
    }
}

/// Now, in the API's sense.
pub fn now() -> Timestamp {
    Timestamp::now()
}
