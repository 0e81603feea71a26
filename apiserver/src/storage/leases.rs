//! Leases that expiring objects share: one per time to live and minute, not one per object.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use kontiki_raft::types::LeaseId;
use tokio::sync::Mutex;

use super::backend::{Backend, BackendError};

/// Objects written within this time share a lease; it lasts this much longer than asked, so that
/// none expires early.
const SHARED_FOR: Duration = Duration::from_secs(60);

/// The leases in use.
#[derive(Default)]
pub(super) struct SharedLeases {
    // Held across the grant on purpose: writers of the same minute wait for one grant.
    current: Mutex<HashMap<Duration, (LeaseId, Instant)>>,
}

impl SharedLeases {
    /// The current lease for a time to live.
    pub(super) async fn get(
        &self,
        backend: &dyn Backend,
        ttl: Duration,
    ) -> Result<LeaseId, BackendError> {
        let mut current = self.current.lock().await;
        if let Some((lease, granted)) = current.get(&ttl)
            && granted.elapsed() < SHARED_FOR
        {
            return Ok(*lease);
        }
        let lease = backend.lease_grant(ttl + SHARED_FOR).await?;
        current.insert(ttl, (lease, Instant::now()));
        Ok(lease)
    }

    /// A new lease, because the current one is gone.
    pub(super) async fn renew(
        &self,
        backend: &dyn Backend,
        ttl: Duration,
    ) -> Result<LeaseId, BackendError> {
        self.current.lock().await.remove(&ttl);
        self.get(backend, ttl).await
    }
}
