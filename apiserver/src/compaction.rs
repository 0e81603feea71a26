//! Drops history that nobody reads any more: what was over one interval ago.
//!
//! One server does it, the one whose member leads; the store pins what open reads still need.

use std::sync::Arc;

use kontiki_base::CancellationToken;

use crate::core::Core;

/// Compacts every interval to where the store was at the interval before.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) {
    let backend = core.storage.backend();
    let mut last = core.caches.revision();
    loop {
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(core.options.compaction_interval) => {}
        }
        let now = core.caches.revision();
        if now > last && last.0 > 0 && backend.leads() {
            match backend.compact(last).await {
                Ok(()) => tracing::debug!(revision = %last, "compacted"),
                Err(error) => tracing::debug!(revision = %last, "not compacted: {error}"),
            }
        }
        last = now;
    }
}
