//! The replicated store behind the seam.

use std::time::Duration;

use async_trait::async_trait;
use kontiki_raft::{
    Error, Refusal, Store, WatchError,
    types::{
        LeaseGrant, LeaseId, RangeReply, RangeRequest, Revision, Txn, TxnReply, WatchBatch,
        WatchRequest,
    },
};

use super::backend::{Backend, BackendError, Changes};

fn failed(error: Error) -> BackendError {
    match error {
        Error::Compacted { requested, oldest } => BackendError::Compacted { requested, oldest },
        Error::FutureRevision { requested, current } => BackendError::Future { requested, current },
        Error::Refused(Refusal::Fenced { .. }) => BackendError::Fenced(error.to_string()),
        Error::Refused(Refusal::LeaseNotFound { .. }) => BackendError::LeaseNotFound,
        Error::Timeout { .. } => BackendError::Timeout(error.to_string()),
        other => BackendError::Unavailable(other.to_string()),
    }
}

#[async_trait]
impl Backend for Store {
    async fn txn(&self, txn: Txn) -> Result<TxnReply, BackendError> {
        Store::txn(self, txn).await.map_err(failed)
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeReply, BackendError> {
        Store::range(self, request).await.map_err(failed)
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn Changes>, BackendError> {
        let watch = Store::watch(self, request).await.map_err(failed)?;
        Ok(Box::new(watch))
    }

    async fn read_index(&self) -> Result<Revision, BackendError> {
        Store::read_index(self).await.map_err(failed)
    }

    async fn compact(&self, revision: Revision) -> Result<(), BackendError> {
        match Store::compact(self, revision).await {
            // Forgotten already is just as well.
            Ok(()) | Err(Error::Compacted { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn may_serve(&self) -> Result<(), BackendError> {
        Store::may_serve(self).map_err(failed)
    }

    async fn dismissed(&self) -> BackendError {
        failed(Store::dismissed(self).await)
    }

    fn leads(&self) -> bool {
        self.leadership().borrow().fence.is_some()
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, BackendError> {
        // Its keys end at one revision each: no revision carries two events of one watch.
        let grant = LeaseGrant { id: None, ttl, together: false };
        Ok(Store::lease_grant(self, grant).await.map_err(failed)?.id)
    }
}

#[async_trait]
impl Changes for kontiki_raft::Watch {
    async fn next(&mut self) -> Result<WatchBatch, BackendError> {
        self.recv().await.map_err(|error| match error {
            WatchError::Compacted { requested, oldest } => {
                BackendError::Compacted { requested, oldest }
            }
            other => BackendError::Unavailable(other.to_string()),
        })
    }
}
