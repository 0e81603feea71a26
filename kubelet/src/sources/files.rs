//! Static pods: manifests in a folder of this node, run whatever the API says. Each has a mirror
//! pod in the API, so that users see it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kontiki_api::Object;
use kontiki_base::tasks::render;
use kontiki_client::{DeleteOptions, Error, ObjectKey};
use tokio::time::timeout;

use super::{manifest, remove, upsert};
use crate::{
    folder_watch::FolderWatch,
    node::context::Context,
    pod::spec::{PodExt, mirror_of},
};

/// Upstream's `fileCheckFrequency`: also how soon a lost mirror comes back.
const CHECK: Duration = Duration::from_secs(20);

/// The folder of static pods.
pub struct Files {
    context: Arc<Context>,
    folder: PathBuf,
    watch: FolderWatch,
    running: BTreeMap<String, Arc<Pod>>,
    complaints: BTreeMap<PathBuf, String>,
}

impl Files {
    /// Reads the folder for the first time and starts its pods; `None` without a folder.
    pub async fn open(context: &Arc<Context>) -> Option<Files> {
        let folder = context.options.manifest_dir.clone()?;
        if let Err(error) = tokio::fs::create_dir_all(&folder).await {
            tracing::warn!("no static pods: cannot create {}: {error}", folder.display());
            return None;
        }
        let mut files = Files {
            context: context.clone(),
            watch: FolderWatch::new(&folder),
            folder,
            running: BTreeMap::new(),
            complaints: BTreeMap::new(),
        };
        files.look().await;
        Some(files)
    }

    /// Keeps the pods of the folder running until the task is stopped.
    pub async fn keep(mut self) {
        loop {
            if let Err(error) = keep_mirrors(&self.context, &self.running).await {
                tracing::debug!("mirror pods: {}", render(&error));
            }
            let _ = timeout(CHECK, self.watch.changed()).await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let node = &self.context.options.node_name;
        let found = read_folder(&self.folder, node, &mut self.complaints).await;
        for (uid, pod) in &self.running {
            if !found.contains_key(uid) {
                remove(&self.context, uid, Some(pod.clone()));
            }
        }
        for (uid, pod) in &found {
            if !self.running.contains_key(uid) {
                upsert(&self.context, pod.clone());
            }
        }
        self.running = found;
    }
}

/// The pods of a folder by uid. A bad manifest is complained about once.
async fn read_folder(
    folder: &Path,
    node: &str,
    complaints: &mut BTreeMap<PathBuf, String>,
) -> BTreeMap<String, Arc<Pod>> {
    let mut pods = BTreeMap::new();
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else { return pods };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') || path.is_dir() {
            continue;
        }
        let text = tokio::fs::read_to_string(&path).await.map_err(|error| error.to_string());
        if text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
            // About to be written.
            continue;
        }
        match text.and_then(|text| manifest::read(&text, node)) {
            Ok(pod) => {
                complaints.remove(&path);
                pods.insert(pod.uid().to_owned(), Arc::new(pod));
            }
            Err(problem) => {
                if complaints.get(&path) != Some(&problem) {
                    tracing::warn!("cannot use manifest {}: {problem}", path.display());
                    complaints.insert(path, problem);
                }
            }
        }
    }
    pods
}

/// Makes the API show exactly the static pods that there are.
async fn keep_mirrors(
    context: &Context,
    running: &BTreeMap<String, Arc<Pod>>,
) -> Result<(), Error> {
    if context.pods.revision() == 0 {
        return Ok(());
    }
    for mirror in context.pods.list() {
        let Some(uid) = mirror_of(&mirror) else { continue };
        if !running.contains_key(uid) || mirror.is_deleting() {
            let options = DeleteOptions {
                grace_period_seconds: Some(0),
                uid: Some(mirror.uid().to_owned()),
                ..DeleteOptions::default()
            };
            match context.client.delete::<Pod>(&ObjectKey::of(&*mirror), &options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
    }
    for pod in running.values() {
        if context.mirror(pod).is_some() {
            continue;
        }
        match context.client.create(&manifest::mirror(pod)).await {
            Ok(_) => {
                tracing::debug!(pod = pod.log_name(), "made a mirror pod");
            }
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
