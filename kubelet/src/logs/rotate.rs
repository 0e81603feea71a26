//! Keeping logs small: a log that grew too large is renamed and the container told to open a new
//! one; the oldest go.
//!
//! ```text
//! NAME/0.log   NAME/0.log.20261120-102357   NAME/0.log.20261120-101500
//! ```

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kontiki_base::tasks::render;

use crate::runtime::Runtime;

/// Rotated files of a log, oldest first.
pub async fn rotated(log: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name()) else { return Vec::new() };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut files = Vec::new();
    if let Ok(mut entries) = tokio::fs::read_dir(folder).await {
        while let Ok(Some(entry)) = entries.next_entry().await {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

/// Removes a log with its rotated files.
pub async fn remove_all(log: &Path) {
    for file in rotated(log).await {
        let _ = tokio::fs::remove_file(file).await;
    }
    let _ = tokio::fs::remove_file(log).await;
}

/// Rotates the log of a running container if it is larger than `size_max`, keeping `files_max`
/// files in all.
pub async fn rotate(
    runtime: &Runtime,
    container_id: &str,
    log: &Path,
    size_max: u64,
    files_max: u32,
    now: Timestamp,
) {
    let size = tokio::fs::metadata(log).await.map_or(0, |metadata| metadata.len());
    if size <= size_max {
        return;
    }
    let stamp = now.strftime("%Y%m%d-%H%M%S%.3f").to_string();
    let target = PathBuf::from(format!("{}.{stamp}", log.display()));
    if let Err(error) = tokio::fs::rename(log, &target).await {
        tracing::warn!("cannot rotate {}: {error}", log.display());
        return;
    }
    if let Err(error) = runtime.reopen_container_log(container_id).await {
        tracing::warn!("cannot rotate {}: {}", log.display(), render(&error));
        // The container still writes to the renamed file: it gets its name back.
        let _ = tokio::fs::rename(&target, log).await;
        return;
    }
    let files = rotated(log).await;
    let keep = usize::try_from(files_max.saturating_sub(1)).unwrap_or(usize::MAX);
    let excess = files.len().saturating_sub(keep);
    for file in &files[..excess] {
        let _ = tokio::fs::remove_file(file).await;
    }
}
