//! What earlier lives of this node left behind: pods that no longer exist, cgroups, folders.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use k8s_cri::v1 as cri;
use kontiki_base::tasks::render;

use crate::{
    node::context::Context,
    pod::{labels, operations::remove_everything, spec::DEFAULT_GRACE},
    resources::cgroup::Version,
};

/// Removes the folders of a cgroup, in every hierarchy. They are empty once its processes are gone.
pub async fn remove_cgroup(cgroup: &str) {
    let mut hierarchies = Vec::new();
    if let Ok(mut entries) = tokio::fs::read_dir("/sys/fs/cgroup").await {
        while let Ok(Some(entry)) = entries.next_entry().await {
            hierarchies.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    let folders: Vec<PathBuf> = Version::of_this_machine().folders(cgroup, &hierarchies);
    let removal = tokio::task::spawn_blocking(move || {
        for folder in folders {
            remove_empty(&folder);
        }
    });
    let _ = removal.await;
}

/// Removes a tree of empty folders, leaves first. What is not empty stays.
fn remove_empty(folder: &std::path::Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(folder);
}

/// Stops and removes sandboxes and folders of pods that nobody wants any more. To be called once
/// all sources of pods have been heard.
pub async fn clean_up(context: &Context) {
    let uid_of = |sandbox: &cri::PodSandbox| sandbox.labels.get(labels::POD_UID).cloned();
    let sandboxes = match context.runtime.sandboxes(None).await {
        Ok(sandboxes) => sandboxes,
        Err(error) => {
            tracing::debug!("cannot look for leftover pods: {}", render(&error));
            return;
        }
    };
    let mut unknown: BTreeSet<String> = sandboxes.iter().filter_map(uid_of).collect();
    if let Ok(mut folders) = tokio::fs::read_dir(context.options.paths().pods()).await {
        while let Ok(Some(folder)) = folders.next_entry().await {
            unknown.insert(folder.file_name().to_string_lossy().into_owned());
        }
    }
    unknown.retain(|uid| context.inbox(uid).is_none());
    for uid in unknown {
        let own: Vec<&cri::PodSandbox> =
            sandboxes.iter().filter(|sandbox| uid_of(sandbox).as_ref() == Some(&uid)).collect();
        remove_pod(context, &uid, &own).await;
    }
}

async fn remove_pod(context: &Context, uid: &str, sandboxes: &[&cri::PodSandbox]) {
    let name = sandboxes.first().and_then(|sandbox| sandbox.metadata.clone()).unwrap_or_default();
    tracing::info!(uid, namespace = name.namespace, pod = name.name, "removing a leftover pod");
    let seconds = sandboxes
        .first()
        .and_then(|sandbox| sandbox.annotations.get(labels::GRACE_PERIOD)?.parse().ok());
    let grace = seconds.map_or(DEFAULT_GRACE, Duration::from_secs);
    let containers = context.runtime.containers(Some(uid)).await.unwrap_or_default();
    let running = containers
        .iter()
        .filter(|container| container.state() == cri::ContainerState::ContainerRunning)
        .map(|container| context.runtime.stop_container(&container.id, grace));
    for outcome in futures::future::join_all(running).await {
        if let Err(error) = outcome {
            tracing::warn!(uid, "cannot stop a leftover container: {}", render(&error));
            return;
        }
    }
    match remove_everything(context, uid).await {
        Ok(()) => {
            let root = context.options.cgroup_root.trim_end_matches('/');
            for parent in ["", "/burstable", "/besteffort"] {
                remove_cgroup(&format!("{root}{parent}/pod{uid}")).await;
            }
            if !name.name.is_empty() {
                let logs = context.options.paths().pod_logs(&name.namespace, &name.name, uid);
                let _ = tokio::fs::remove_dir_all(logs).await;
            }
        }
        Err(message) => tracing::warn!(uid, "cannot remove a leftover pod: {message}"),
    }
}
