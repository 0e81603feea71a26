//! Turns: writes that quotas count go one after the other in a namespace, so that they do not
//! push each other out of the transaction again and again.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Namespaces share this many turnstiles.
const TURNSTILES: usize = 64;

/// The turnstiles of this server. Other servers' writes are told apart by the transaction.
pub(crate) struct Turns {
    turnstiles: Vec<Semaphore>,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { turnstiles: (0..TURNSTILES).map(|_| Semaphore::new(1)).collect() }
    }
}

impl Turns {
    /// Waits for the turn of a namespace. Requests in flight are limited, so is the queue.
    pub(crate) async fn of(&self, namespace: &str) -> Option<SemaphorePermit<'_>> {
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % TURNSTILES as u64).unwrap_or_default();
        // Nobody closes a turnstile.
        self.turnstiles[at].acquire().await.ok()
    }
}
