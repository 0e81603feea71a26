//! What the API server needs of a store: the seam behind which the replicated one sits.

use std::time::Duration;

use async_trait::async_trait;
use kontiki_raft::types::{
    LeaseId, RangeReply, RangeRequest, Revision, Txn, TxnReply, WatchBatch, WatchRequest,
};

/// A multi-version store.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Executes a transaction.
    async fn txn(&self, txn: Txn) -> Result<TxnReply, BackendError>;
    /// Reads.
    async fn range(&self, request: RangeRequest) -> Result<RangeReply, BackendError>;
    /// Subscribes to changes.
    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn Changes>, BackendError>;
    /// A revision that covers everything acknowledged so far, applied here.
    async fn read_index(&self) -> Result<Revision, BackendError>;
    /// Gives up history below a revision.
    async fn compact(&self, revision: Revision) -> Result<(), BackendError>;
    /// Refuses, with the reason, when this member may serve nobody any more.
    fn may_serve(&self) -> Result<(), BackendError>;
    /// Ends when this member may serve nobody any more, with the reason.
    async fn dismissed(&self) -> BackendError;
    /// Whether this member leads.
    fn leads(&self) -> bool;
    /// A new lease.
    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, BackendError>;
}

/// A running subscription.
#[async_trait]
pub trait Changes: Send {
    /// The next batch.
    async fn next(&mut self) -> Result<WatchBatch, BackendError>;
}

/// Why the store did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BackendError {
    /// History is gone.
    #[error("revision {requested} is compacted, the oldest kept is {oldest}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// What could be had.
        oldest: Revision,
    },
    /// The revision is in the future.
    #[error("revision {requested} is in the future, the current is {current}")]
    Future {
        /// What was asked for.
        requested: Revision,
        /// The latest there is.
        current: Revision,
    },
    /// The leadership under which the writer acted is over.
    #[error("{0}")]
    Fenced(String),
    /// The lease is gone.
    #[error("lease not found")]
    LeaseNotFound,
    /// No leader answered in time; a write may or may not stand.
    #[error("{0}")]
    Timeout(String),
    /// The store is stopping, or broken.
    #[error("{0}")]
    Unavailable(String),
}
