//! The Lock service: who waits for a lock stands in a queue of keys below its name, in order of
//! their creation, each on its holder's lease. The same layout as that of clients which lock by
//! themselves, so both kinds respect each other.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kontiki_base::tasks::{TaskKind, Tasks};
use tonic::{Request, Response, Status};

use super::{
    api::Api,
    errors::{self, status},
    proto::v3lockpb::{
        LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock,
    },
};
use crate::{
    types::{
        Compare, Delete, KeyRange, LeaseGrant, LeaseId, Op, OpResult, Put, Range, RangeRequest,
        Revision, Sort, SortOrder, SortTarget, Target, Txn, WatchEventKind, WatchRequest,
    },
    watch::WatchError,
};

/// How long a lock is held that was taken without a lease.
const OWN_LEASE: Duration = Duration::from_secs(60);
const WITHDRAWAL: TaskKind = TaskKind::logged("withdrawal from a lock");

/// The service.
pub(super) struct Locks {
    pub(super) api: Api,
    pub(super) tasks: Tasks,
}

/// Somebody's place in the queue. It is given up when this is dropped, unless it is kept.
struct Place {
    api: Api,
    tasks: Tasks,
    key: Bytes,
    /// The revision that created it: who comes later stands behind.
    turn: Revision,
    kept: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (store, key) = (self.api.store.clone(), self.key.clone());
        let mine =
            Compare { target: Target::CreateRevision(self.turn), ..Compare::absent(key.clone()) };
        let leave = Txn {
            compares: vec![mine],
            success: vec![Op::Delete(Delete::new(KeyRange::key(key)))],
            ..Txn::default()
        };
        self.tasks.spawn_infallible(WITHDRAWAL, async move {
            // If this fails, the lease ends the place.
            let _ = store.txn(leave).await;
        });
    }
}

fn joined(name: &[u8], rest: &[u8]) -> Bytes {
    let mut joined = BytesMut::with_capacity(name.len() + rest.len() + 1);
    joined.put_slice(name);
    joined.put_u8(b'/');
    joined.put_slice(rest);
    joined.freeze()
}

impl Locks {
    async fn lease(&self, given: i64) -> Result<LeaseId, Status> {
        if given != 0 {
            return Ok(LeaseId(given));
        }
        let grant = LeaseGrant { id: None, ttl: OWN_LEASE, together: true };
        Ok(self.api.store.lease_grant(grant).await.map_err(status)?.id)
    }

    /// Takes a place in the queue; one lease has one.
    async fn enter(&self, name: &[u8], lease: LeaseId) -> Result<Place, Status> {
        let key = joined(name, format!("{:x}", lease.0).as_bytes());
        let put = Put { lease: Some(lease), ..Put::new(key.clone(), Bytes::new()) };
        let enter = Txn {
            compares: vec![Compare::absent(key.clone())],
            success: vec![Op::Put(put)],
            failure: vec![Op::Range(Range::new(KeyRange::key(key.clone())))],
            fence: None,
        };
        self.api.may_execute(&enter)?;
        let reply = self.api.store.txn(enter).await.map_err(status)?;
        let (turn, kept) = match reply.results.first() {
            Some(OpResult::Range(found)) => {
                let turn = found.kvs.first().map(|kv| kv.create_revision);
                // Not to be given up: it is another call's, too.
                (turn.ok_or(errors::LEASE_NOT_FOUND)?, true)
            }
            _ => (reply.revision, false),
        };
        Ok(Place { api: self.api.clone(), tasks: self.tasks.clone(), key, turn, kept })
    }

    /// Waits until nobody stands before `turn`.
    async fn wait(&self, name: &[u8], turn: Revision) -> Result<(), Status> {
        let mut before = RangeRequest::new(KeyRange::prefix(joined(name, b"")));
        before.query.create_revisions.max = Some(Revision(turn.0 - 1));
        before.query.sort =
            Some(Sort { target: SortTarget::CreateRevision, order: SortOrder::Descending });
        (before.query.limit, before.query.keys_only) = (1, true);
        loop {
            let found = self.api.store.range(before.clone()).await.map_err(status)?;
            let Some(last) = found.kvs.into_iter().next() else { return Ok(()) };
            self.gone(last.key, Revision(found.revision.0 + 1)).await?;
        }
    }

    /// Waits until a key is deleted, or may have been.
    async fn gone(&self, key: Bytes, from: Revision) -> Result<(), Status> {
        let request = WatchRequest { range: KeyRange::key(key), from: Some(from), previous: false };
        let mut watch = self.api.store.watch(request).await.map_err(status)?;
        loop {
            match watch.recv().await {
                Ok(batch) => {
                    let mut events = batch.events.iter();
                    if events.any(|event| event.kind == WatchEventKind::Delete) {
                        return Ok(());
                    }
                }
                Err(WatchError::Compacted { .. }) => return Ok(()),
                Err(WatchError::Closed) => return Err(errors::STOPPED.into()),
                Err(WatchError::Storage(error)) => return Err(status(*error)),
            }
        }
    }
}

#[tonic::async_trait]
impl Lock for Locks {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        self.api.check_leader(&request)?;
        let LockRequest { name, lease } = request.into_inner();
        let lease = self.lease(lease).await?;
        let mut place = self.enter(&name, lease).await?;
        tokio::select! { biased;
            waited = self.wait(&name, place.turn) => waited?,
            ended = self.api.clone().ended(false) => return Err(ended),
        }
        // The lease may have ended while others had the lock.
        let mine = RangeRequest::new(KeyRange::key(place.key.clone()));
        let found = self.api.store.range(mine).await.map_err(status)?;
        if found.kvs.first().is_none_or(|kv| kv.create_revision != place.turn) {
            return Err(errors::LEASE_NOT_FOUND.into());
        }
        place.kept = true;
        let header = self.api.header(found.revision);
        Ok(Response::new(LockResponse { header, key: place.key.clone() }))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        self.api.check_leader(&request)?;
        let key = request.into_inner().key;
        if key.is_empty() {
            return Err(errors::EMPTY_KEY.into());
        }
        let leave = Txn::of([Op::Delete(Delete::new(KeyRange::key(key)))]);
        self.api.may_execute(&leave)?;
        let reply = self.api.store.txn(leave).await.map_err(status)?;
        Ok(Response::new(UnlockResponse { header: self.api.header(reply.revision) }))
    }
}
