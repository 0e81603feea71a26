//! The KV service: every request is one read or one transaction of the store.

use tonic::{Request, Response, Status};

use super::{
    answers,
    api::Api,
    errors::status,
    proto::etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
        PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse, kv_server::Kv,
    },
    requests,
};
use crate::types::{Op, OpResult, Revision, Txn, TxnReply};

/// The service.
pub(super) struct Keys(pub(super) Api);

impl Keys {
    /// Executes one operation on its own.
    async fn execute(&self, operation: Op) -> Result<(Revision, Option<OpResult>), Status> {
        let reply = self.transact(Txn::of([operation])).await?;
        Ok((reply.revision, reply.results.into_iter().next()))
    }

    async fn transact(&self, txn: Txn) -> Result<TxnReply, Status> {
        self.0.may_execute(&txn)?;
        let reply = self.0.store.txn(txn).await.map_err(status)?;
        // As with etcd, who wrote through this member also reads it here, without a quorum too.
        self.0.store.applied(reply.revision).await;
        Ok(reply)
    }
}

#[tonic::async_trait]
impl Kv for Keys {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        self.0.check_leader(&request)?;
        let request = requests::range(request.into_inner())?;
        let reply = self.0.store.range(request).await.map_err(status)?;
        Ok(Response::new(answers::range(self.0.header(reply.revision), reply)))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.0.check_leader(&request)?;
        requests::check_size(request.get_ref())?;
        let put = requests::put(request.into_inner())?;
        let (revision, result) = self.execute(Op::Put(put)).await?;
        let previous = match result {
            Some(OpResult::Put { previous }) => previous,
            _ => None,
        };
        Ok(Response::new(answers::put(self.0.header(revision), previous)))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.0.check_leader(&request)?;
        requests::check_size(request.get_ref())?;
        let delete = requests::delete(request.into_inner())?;
        let (revision, result) = self.execute(Op::Delete(delete)).await?;
        let (deleted, previous) = match result {
            Some(OpResult::Delete { deleted, previous }) => (deleted, previous),
            _ => (0, Vec::new()),
        };
        Ok(Response::new(answers::delete(self.0.header(revision), deleted, previous)))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.0.check_leader(&request)?;
        requests::check_size(request.get_ref())?;
        let txn = requests::txn(request.into_inner())?;
        let reply = self.transact(txn).await?;
        Ok(Response::new(answers::txn(self.0.header(reply.revision), reply)))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        self.0.check_leader(&request)?;
        let revision = Revision(u64::try_from(request.get_ref().revision).unwrap_or(0));
        self.0.store.compact(revision).await.map_err(status)?;
        // Space is reclaimed in the background; who asks for it waits until that is done here.
        if request.get_ref().physical {
            self.0.store.reclaimed(revision).await.map_err(status)?;
        }
        Ok(Response::new(CompactionResponse { header: self.0.header_now() }))
    }
}
