//! Sandboxes: made, stopped, and in the end removed with everything else of the pod.

use k8s_cri::v1 as cri;
use kontiki_api::Object;
use kontiki_base::tasks::render;

use super::{Outcome, Subject};
use crate::{
    node::context::{Context, Owned},
    pod::{create, spec::PodExt},
    resources::cgroup,
    runtime::Error,
    volumes,
};

pub(super) async fn create(subject: &Subject, attempt: u32) -> Outcome {
    let Subject { context, pod, .. } = subject;
    match try_create(subject, attempt).await {
        Ok(id) => {
            context.owners.lock().insert(id, Owned::by(pod.uid()));
            Outcome::Done
        }
        Err(message) => {
            let message = format!("Failed to create pod sandbox: {message}");
            context.warning(pod, None, "FailedCreatePodSandBox", &message);
            Outcome::Failed { reason: "FailedCreatePodSandBox", message }
        }
    }
}

async fn try_create(subject: &Subject, attempt: u32) -> Result<String, String> {
    let Subject { context, pod, .. } = subject;
    let runtime = &context.runtime;
    let words = |error: Error| error.message().to_owned();
    let old = runtime.sandboxes(Some(pod.uid())).await.map_err(words)?;
    if !old.is_empty() {
        let message = "Pod sandbox changed, it will be killed and re-created.";
        context.event(pod, None, "SandboxChanged", message);
    }
    for sandbox in &old {
        // Gives back the address and the network namespace of one that broke.
        runtime.stop_pod_sandbox(&sandbox.id).await.map_err(words)?;
    }
    let logs = create::log_directory(&context.options, pod);
    tokio::fs::create_dir_all(&logs).await.map_err(|e| format!("{}: {e}", logs.display()))?;
    let config = sandbox_config(context, pod, attempt).await;
    let request =
        cri::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
    let reply = runtime.run_pod_sandbox(request).await.map_err(words)?;
    Ok(reply.pod_sandbox_id)
}

/// The sandbox of a pod, with the node's resolver.
pub(super) async fn sandbox_config(
    context: &Context,
    pod: &k8s_openapi::api::core::v1::Pod,
    attempt: u32,
) -> cri::PodSandboxConfig {
    let node = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    let dns = create::dns_config(&context.options, pod, &create::read_resolv_conf(&node));
    create::sandbox_config(&context.options, pod, attempt, dns)
}

pub(super) async fn stop(subject: &Subject, id: &str) -> Outcome {
    match subject.context.runtime.stop_pod_sandbox(id).await {
        Ok(()) => Outcome::Done,
        Err(error) => {
            Outcome::Failed { reason: "FailedKillPod", message: error.message().to_owned() }
        }
    }
}

/// Removes sandboxes with their containers, volumes, logs and cgroups.
pub(super) async fn tear_down(subject: &Subject) -> Outcome {
    let Subject { context, pod, .. } = subject;
    match remove_everything(context, pod.uid()).await {
        Ok(()) => {
            let cgroup = cgroup::pod_cgroup(&context.options.cgroup_root, pod);
            crate::node::leftovers::remove_cgroup(&cgroup).await;
            let logs = create::log_directory(&context.options, pod);
            let _ = tokio::fs::remove_dir_all(logs).await;
            Outcome::Done
        }
        Err(message) => {
            context.warning(pod, None, "FailedKillPod", &format!("error killing pod: {message}"));
            tracing::warn!(pod = pod.log_name(), "cannot remove what is left of a pod: {message}");
            Outcome::Failed { reason: "FailedKillPod", message }
        }
    }
}

/// Removes all sandboxes, containers and volumes of a pod whose containers have ended.
pub(crate) async fn remove_everything(context: &Context, uid: &str) -> Result<(), String> {
    let words = |error: Error| error.message().to_owned();
    for sandbox in context.runtime.sandboxes(Some(uid)).await.map_err(words)? {
        context.runtime.stop_pod_sandbox(&sandbox.id).await.map_err(words)?;
        context.runtime.remove_pod_sandbox(&sandbox.id).await.map_err(words)?;
    }
    context.references.release(uid);
    context.tokens.forget(uid);
    context.owners.lock().retain(|_, owned| owned.pod != uid);
    volumes::tear_down(&context.options.paths(), uid).await.map_err(|error| render(&error))
}
