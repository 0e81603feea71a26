//! The Lock service: who is first in the queue below a name has the lock.

use bytes::Bytes;
use tonic::{Request, Response, Status};

use super::{
    errors::{self, status},
    proto::v3lockpb::{
        LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock,
    },
    queue::Queues,
};
use crate::types::{Delete, KeyRange, Op, Txn};

/// The service.
pub(super) struct Locks(pub(super) Queues);

#[tonic::async_trait]
impl Lock for Locks {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let Locks(queues) = self;
        queues.api.check_leader(&request)?;
        let LockRequest { name, lease } = request.into_inner();
        let lease = queues.lease(lease).await?;
        let mut place = queues.enter(&name, lease, Bytes::new()).await?;
        let revision = queues.wait(&name, &place).await?;
        place.kept = true;
        let header = queues.api.header(revision);
        Ok(Response::new(LockResponse { header, key: place.key.clone() }))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let api = &self.0.api;
        api.check_leader(&request)?;
        let key = request.into_inner().key;
        if key.is_empty() {
            return Err(errors::EMPTY_KEY.into());
        }
        let leave = Txn::of([Op::Delete(Delete::new(KeyRange::key(key)))]);
        api.may_execute(&leave)?;
        let reply = api.store.txn(leave).await.map_err(status)?;
        Ok(Response::new(UnlockResponse { header: api.header(reply.revision) }))
    }
}
