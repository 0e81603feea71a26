//! A pod's volumes: what is in them ([`payload`], pure), how it gets onto the disk in one atomic
//! step ([`atomic_writer`]), and the file systems below ([`filesystem`]).
//!
//! ```text
//! DATA/pods/UID/volumes/kubernetes.io~KIND/NAME/
//!     ..data -> ..1763633000.123        swapped by one rename
//!     message -> ..data/message         what containers open
//! ```

pub mod atomic_writer;
pub mod filesystem;
pub mod payload;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, HostPathVolumeSource, Pod, ServiceAccountTokenProjection, Volume,
};
use kontiki_api::Object;

use crate::{
    environment::{self, Objects, References},
    node::context::Context,
    options::Paths,
    pod::spec::PodExt,
    resources::quantity,
    tokens::TokenRequestFor,
};
use payload::{File, Tokens};

/// Why a volume could not be made.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {reason}")]
pub struct Error {
    /// The volume.
    pub volume: String,
    /// What went wrong.
    pub reason: String,
}

/// The volumes that stand, and when they have to be looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounted {
    /// Path on the node by name of the volume.
    pub paths: BTreeMap<String, PathBuf>,
    /// When a token has to be replaced.
    pub refresh_at: Option<Timestamp>,
}

/// The kind of a volume as a folder name.
fn plugin(volume: &Volume) -> &'static str {
    if volume.empty_dir.is_some() {
        "empty-dir"
    } else if volume.config_map.is_some() {
        "configmap"
    } else if volume.secret.is_some() {
        "secret"
    } else if volume.downward_api.is_some() {
        "downward-api"
    } else {
        "projected"
    }
}

/// The ConfigMaps and Secrets in a pod's volumes.
pub fn references(pod: &Pod) -> References {
    let mut references = References::default();
    for volume in pod.pod_spec().volumes.iter().flatten() {
        references.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        references.secrets.extend(volume.secret.iter().filter_map(|s| s.secret_name.clone()));
        let projections = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
        for projection in projections {
            references.config_maps.extend(projection.config_map.iter().map(|c| c.name.clone()));
            references.secrets.extend(projection.secret.iter().map(|s| s.name.clone()));
        }
    }
    references
}

/// The service account tokens in a pod's volumes.
fn token_projections(pod: &Pod) -> impl Iterator<Item = &ServiceAccountTokenProjection> {
    pod.pod_spec()
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.projected.as_ref())
        .flat_map(|projected| projected.sources.iter().flatten())
        .filter_map(|source| source.service_account_token.as_ref())
}

/// Makes a pod's volumes, or brings those that stand up to date.
pub async fn prepare(context: &Context, pod: &Pod) -> Result<Mounted, Error> {
    let anywhere = |reason: String| Error { volume: String::new(), reason };
    let objects = context
        .references
        .fetch(pod, &references(pod))
        .await
        .map_err(|error| anywhere(kontiki_base::tasks::render(&error)))?;
    let mut mounted = Mounted::default();
    let mut tokens = Tokens::new();
    for projection in token_projections(pod) {
        let wanted = TokenRequestFor::projection(pod, projection);
        let token = context.tokens.get(&wanted).await.map_err(|error| {
            anywhere(format!("failed to fetch token: {}", kontiki_base::tasks::render(&error)))
        })?;
        mounted.refresh_at = match mounted.refresh_at {
            Some(earlier) => Some(earlier.min(token.refresh_at)),
            None => Some(token.refresh_at),
        };
        tokens.insert(wanted.key(), token.token);
    }
    let (paths, allocatable) = (context.options.paths(), context.machine.allocatable());
    let node_addresses = context.options.node_addresses.clone();
    let pod = pod.clone();
    let work = move || {
        let environment = environment::Context {
            pod: &pod,
            pod_addresses: &[],
            node_addresses: &node_addresses,
            allocatable,
            objects: &objects,
            services: &BTreeMap::new(),
        };
        set_up(&paths, &environment, &objects, &tokens)
    };
    mounted.paths = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| anywhere(format!("volume set-up broke off: {error}")))??;
    Ok(mounted)
}

fn set_up(
    paths: &Paths,
    context: &environment::Context<'_>,
    objects: &Objects,
    tokens: &Tokens,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let pod = context.pod;
    let group = pod.pod_spec().security_context.as_ref().and_then(|security| security.fs_group);
    let mut done = BTreeMap::new();
    for volume in pod.pod_spec().volumes.iter().flatten() {
        let failed = |reason: String| Error { volume: volume.name.clone(), reason };
        let path = paths.volume(pod.uid(), plugin(volume), &volume.name);
        if let Some(source) = &volume.host_path {
            let path = host_path(source).map_err(failed)?;
            done.insert(volume.name.clone(), path);
            continue;
        }
        if let Some(source) = &volume.empty_dir {
            empty_dir(source, &path, group).map_err(failed)?;
        } else if let Some(files) = payload::of(volume, context, objects, tokens) {
            let files: BTreeMap<String, File> = files.map_err(failed)?;
            let in_memory = volume.secret.is_some() || volume.projected.is_some();
            let io = |error: std::io::Error| failed(error.to_string());
            if in_memory {
                filesystem::mount_tmpfs(&path, None).map_err(io)?;
            } else {
                std::fs::create_dir_all(&path).map_err(io)?;
            }
            atomic_writer::write(&path, &files, group).map_err(io)?;
        } else {
            return Err(failed("this kind of volume is not supported by this node".to_owned()));
        }
        done.insert(volume.name.clone(), path);
    }
    Ok(done)
}

fn empty_dir(source: &EmptyDirVolumeSource, path: &Path, group: Option<i64>) -> Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    match source.medium.as_deref().unwrap_or_default() {
        "" => std::fs::create_dir_all(path).map_err(io)?,
        "Memory" => {
            let limit = source.size_limit.as_ref().and_then(|limit| quantity::value(&limit.0));
            filesystem::mount_tmpfs(path, limit.filter(|limit| *limit > 0)).map_err(io)?;
        }
        other => return Err(format!("unknown storage medium {other:?}")),
    }
    filesystem::open_to_all(path, group).map_err(io)
}

/// Checks, or makes, what a hostPath volume names.
fn host_path(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let io = |error: std::io::Error| format!("hostPath {}: {error}", path.display());
    match kind {
        "DirectoryOrCreate" if !path.exists() => std::fs::create_dir_all(&path).map_err(io)?,
        "FileOrCreate" if !path.exists() => {
            std::fs::File::create(&path).map_err(io)?;
        }
        _ => {}
    }
    let fits = match kind {
        "" => true,
        "Directory" | "DirectoryOrCreate" => path.is_dir(),
        "File" | "FileOrCreate" => path.is_file(),
        _ => path.exists(),
    };
    if fits {
        Ok(path)
    } else {
        Err(format!("hostPath type check failed: {} is not a {kind}", path.display()))
    }
}

/// Takes all of a pod's volumes away, with its folder.
pub async fn tear_down(paths: &Paths, uid: &str) -> std::io::Result<()> {
    let folder = paths.pod(uid);
    tokio::task::spawn_blocking(move || filesystem::remove_folder(&folder))
        .await
        .map_err(std::io::Error::other)?
}
