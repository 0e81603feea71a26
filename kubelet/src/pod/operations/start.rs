//! Starting a container: image, environment, mounts, the container itself, its post-start hook.

use std::path::Path;

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::Container;
use kontiki_api::Object;
use kontiki_base::tasks::render;

use super::{Outcome, Sandbox, Subject, hooks, sandbox::sandbox_config};
use crate::{
    environment::{self, services},
    images::Present,
    node::context::Owned,
    pod::{create, lifecycle::Start, spec::PodExt},
    runtime::Error,
};

/// A failure on the way: upstream's waiting reason, the Event's reason and a message.
struct Failure {
    reason: &'static str,
    event: Option<&'static str>,
    message: String,
}

impl Failure {
    fn config(message: impl Into<String>) -> Failure {
        Failure {
            reason: "CreateContainerConfigError",
            event: Some("Failed"),
            message: message.into(),
        }
    }
}

pub(super) async fn start(subject: &Subject, start: Start) -> Outcome {
    let name = start.name.as_str();
    let Subject { context, pod, .. } = subject;
    let (Some(container), Some(sandbox)) = (pod.container(name), &subject.sandbox) else {
        return Outcome::Done;
    };
    match try_start(subject, &container, sandbox, &start).await {
        Ok(()) => Outcome::Started { name: start.name },
        Err(failure) => {
            if let Some(event) = failure.event {
                context.warning(pod, Some(name), event, &format!("Error: {}", failure.message));
            }
            Outcome::Failed { reason: failure.reason, message: failure.message }
        }
    }
}

async fn try_start(
    subject: &Subject,
    container: &Container,
    sandbox: &Sandbox,
    start: &Start,
) -> Result<(), Failure> {
    let Subject { context, pod, .. } = subject;
    let name = container.name.as_str();
    subject.interruptible.set(true);
    let image = ensure_image(subject, container).await?;
    subject.interruptible.set(false);
    let created = |error: Error| Failure {
        reason: "CreateContainerError",
        event: Some("Failed"),
        message: error.message().to_owned(),
    };
    if let Some(half_made) = &start.replaces {
        context.runtime.remove_container(half_made).await.map_err(created)?;
    }
    let config = container_config(subject, container, sandbox, start, &image).await?;
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: sandbox.id.clone(),
        config: Some(config),
        sandbox_config: Some(sandbox_config(context, pod, sandbox.attempt).await),
    };
    let id = context.runtime.create_container(request).await.map_err(created)?.container_id;
    context.owners.lock().insert(id.clone(), Owned::by(pod.uid()));
    context.event(pod, Some(name), "Created", "Container created");
    context.runtime.start_container(&id).await.map_err(|error| Failure {
        reason: "RunContainerError",
        event: Some("Failed"),
        message: error.message().to_owned(),
    })?;
    context.event(pod, Some(name), "Started", "Container started");
    let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
    if let Some(hook) = hook
        && let Err(reason) = hooks::run(subject, container, &id, hook).await
    {
        let message = format!("PostStartHook failed: {reason}");
        context.warning(pod, Some(name), "FailedPostStartHook", &message);
        let message_of_kill = format!("FailedPostStartHook: {reason}");
        context.event(pod, Some(name), "Killing", &message_of_kill);
        let _ = context.runtime.stop_container(&id, pod.grace()).await;
        return Err(Failure { reason: "PostStartHookError", event: None, message });
    }
    Ok(())
}

async fn ensure_image(subject: &Subject, container: &Container) -> Result<Present, Failure> {
    let Subject { context, pod, .. } = subject;
    let name = container.name.as_str();
    let pulling = |message: &str| context.event(pod, Some(name), "Pulling", message);
    match context.images.ensure(pod, container, pulling).await {
        Ok(image) => {
            context.event(pod, Some(name), "Pulled", &image.message);
            Ok(image)
        }
        Err(error) => {
            let image = container.image.as_deref().unwrap_or_default();
            let (event, message) = match error.reason() {
                "ErrImagePull" => ("Failed", format!("Failed to pull image {image:?}: {error}")),
                "ErrImageNeverPull" => ("ErrImageNeverPull", error.to_string()),
                "InvalidImageName" => ("InspectFailed", error.to_string()),
                _ => ("InspectFailed", format!("Failed to inspect image {image:?}: {error}")),
            };
            context.warning(pod, Some(name), event, &message);
            let reason = error.reason();
            if reason != "InvalidImageName" {
                context.warning(pod, Some(name), "Failed", &format!("Error: {reason}"));
            }
            Err(Failure { reason, event: None, message: error.to_string() })
        }
    }
}

async fn container_config(
    subject: &Subject,
    container: &Container,
    sandbox: &Sandbox,
    start: &Start,
    image: &Present,
) -> Result<cri::ContainerConfig, Failure> {
    let Subject { context, pod, .. } = subject;
    let environment = environment(subject, container, sandbox).await?;
    let paths = context.options.paths();
    let hosts = paths.hosts(pod.uid());
    let node_hosts = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
    let domain = &context.options.cluster_domain;
    let text = create::hosts_file(pod, &sandbox.addresses, domain, &node_hosts);
    write(&hosts, &text).await?;
    let termination_log = paths.termination_log(pod.uid(), &container.name, start.attempt);
    write(&termination_log, "").await?;
    let mounts =
        create::mounts(container, &subject.mounted.paths, &environment, &hosts, &termination_log)
            .map_err(Failure::config)?;
    make_sub_paths(container, &subject.mounted.paths, &mounts).await?;
    let logs = create::log_directory(&context.options, pod).join(&container.name);
    tokio::fs::create_dir_all(&logs).await.map_err(|error| Failure::config(error.to_string()))?;
    let ingredients = create::Ingredients {
        attempt: start.attempt,
        target: start.target.clone(),
        image_id: image.id.clone(),
        environment,
        mounts,
        node_memory: context.machine.memory,
        image_user: (image.uid, &image.username),
    };
    create::container_config(pod, container, ingredients).map_err(Failure::config)
}

async fn environment(
    subject: &Subject,
    container: &Container,
    sandbox: &Sandbox,
) -> Result<Vec<(String, String)>, Failure> {
    let Subject { context, pod, .. } = subject;
    let wanted = environment::references(container);
    let objects = context
        .references
        .fetch(pod, &wanted)
        .await
        .map_err(|error| Failure::config(render(&error)))?;
    let links = pod.pod_spec().enable_service_links != Some(false);
    let services = services::variables(&context.services.list(), pod.namespace(), links);
    let node_addresses = &context.options.node_addresses;
    let facts = environment::Context {
        pod,
        pod_addresses: if pod.is_host_network() { node_addresses } else { &sandbox.addresses },
        node_addresses,
        allocatable: context.machine.allocatable(),
        objects: &objects,
        services: &services,
    };
    environment::environment(&facts, container).map_err(|error| Failure::config(error.to_string()))
}

/// A sub-path that does not exist is made, as a folder.
async fn make_sub_paths(
    container: &Container,
    volumes: &std::collections::BTreeMap<String, std::path::PathBuf>,
    mounts: &[cri::Mount],
) -> Result<(), Failure> {
    for (wanted, mount) in container.volume_mounts.iter().flatten().zip(mounts) {
        let Some(volume) = volumes.get(&wanted.name) else { continue };
        let path = Path::new(&mount.host_path);
        if path == volume {
            continue;
        }
        let io =
            |error: std::io::Error| Failure::config(format!("subPath of {}: {error}", wanted.name));
        if tokio::fs::symlink_metadata(path).await.is_err() {
            tokio::fs::create_dir_all(path).await.map_err(io)?;
        }
        let real = tokio::fs::canonicalize(path).await.map_err(io)?;
        let root = tokio::fs::canonicalize(volume).await.map_err(io)?;
        if !real.starts_with(&root) {
            return Err(Failure::config(format!("subPath of volume {:?} leaves it", wanted.name)));
        }
    }
    Ok(())
}

async fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::config(format!("{}: {error}", path.display()));
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await.map_err(failed)?;
    }
    tokio::fs::write(path, text).await.map_err(failed)?;
    // Any user of a container may read the one and write the other.
    let mode = if text.is_empty() { 0o666 } else { 0o644 };
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    tokio::fs::set_permissions(path, permissions).await.map_err(failed)
}
