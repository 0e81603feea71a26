//! Queues of keys below a name, in order of their creation, each on its owner's lease: who is
//! first has the lock, or leads. The same layout as that of clients which do this by themselves,
//! so both kinds respect each other.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kontiki_base::tasks::{TaskKind, Tasks};
use tonic::Status;

use super::{
    api::Api,
    errors::{self, status},
};
use crate::{
    error::{Error, Refusal},
    types::{
        Compare, Delete, KeyRange, KeyValue, LeaseGrant, LeaseId, Op, OpResult, Put, Range,
        RangeReply, RangeRequest, Revision, Sort, SortOrder, SortTarget, Target, Txn, TxnReply,
        WatchBatch, WatchEventKind, WatchRequest,
    },
    watch::{Watch, WatchError},
};

/// How long a place is kept that was taken without a lease.
const OWN_LEASE: Duration = Duration::from_secs(60);
const WITHDRAWAL: TaskKind = TaskKind::logged("withdrawal from a queue");

/// All queues of the store.
#[derive(Clone)]
pub(super) struct Queues {
    pub(super) api: Api,
    pub(super) tasks: Tasks,
}

/// Somebody's place in a queue. It is given up when this is dropped, unless it is kept.
pub(super) struct Place {
    queues: Queues,
    pub(super) key: Bytes,
    /// The revision that created it: who comes later stands behind.
    pub(super) turn: Revision,
    pub(super) kept: bool,
    /// What it held when it was found to be there already.
    pub(super) found: Option<Bytes>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let store = self.queues.api.store.clone();
        let delete = Op::Delete(Delete::new(KeyRange::key(self.key.clone())));
        let leave = while_mine(self.key.clone(), self.turn, delete);
        self.queues.tasks.spawn_infallible(WITHDRAWAL, async move {
            // If this fails, the lease ends the place.
            let _ = store.txn(leave).await;
        });
    }
}

/// Does something as long as the place is the one that was taken.
fn while_mine(key: Bytes, turn: Revision, operation: Op) -> Txn {
    let mine = Compare { target: Target::CreateRevision(turn), ..Compare::absent(key) };
    Txn { compares: vec![mine], success: vec![operation], ..Txn::default() }
}

fn joined(name: &[u8], rest: &[u8]) -> Bytes {
    let mut joined = BytesMut::with_capacity(name.len() + rest.len() + 1);
    joined.put_slice(name);
    joined.put_u8(b'/');
    joined.put_slice(rest);
    joined.freeze()
}

/// All places of a queue.
pub(super) fn places(name: &[u8]) -> KeyRange {
    KeyRange::prefix(joined(name, b""))
}

impl Queues {
    /// The lease that was given, or a new one.
    pub(super) async fn lease(&self, given: i64) -> Result<LeaseId, Status> {
        if given != 0 {
            return Ok(LeaseId(given));
        }
        let grant = LeaseGrant { id: None, ttl: OWN_LEASE, together: true };
        Ok(self.api.store.lease_grant(grant).await.map_err(status)?.id)
    }

    /// Takes a place at the end of the queue; one lease has one.
    pub(super) async fn enter(
        &self,
        name: &[u8],
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Place, Status> {
        let key = joined(name, format!("{:x}", lease.0).as_bytes());
        let put = Put { lease: Some(lease), ..Put::new(key.clone(), value) };
        let enter = Txn {
            compares: vec![Compare::absent(key.clone())],
            success: vec![Op::Put(put)],
            failure: vec![Op::Range(Range::new(KeyRange::key(key.clone())))],
            fence: None,
        };
        let reply = self.execute(enter).await?;
        let (queues, turn) = (self.clone(), reply.revision);
        let Some(OpResult::Range(found)) = reply.results.into_iter().next() else {
            return Ok(Place { queues, key, turn, kept: false, found: None });
        };
        let found = found.kvs.into_iter().next().ok_or(errors::LEASE_NOT_FOUND)?;
        // Not to be given up: it is another call's, too.
        let (turn, value) = (found.create_revision, found.value);
        Ok(Place { queues, key, turn, kept: true, found: Some(value) })
    }

    async fn execute(&self, txn: Txn) -> Result<TxnReply, Status> {
        self.api.may_execute(&txn)?;
        self.api.store.txn(txn).await.map_err(|error| match error {
            Error::Refused(Refusal::LeaseNotFound { .. }) => errors::NO_SUCH_LEASE.into(),
            error => status(error),
        })
    }

    /// Waits until nobody stands before a place, and says the revision at which it is still
    /// there: its lease may have ended while others were first.
    pub(super) async fn wait(&self, name: &[u8], place: &Place) -> Result<Revision, Status> {
        tokio::select! { biased;
            waited = self.first(name, place.turn) => waited?,
            ended = self.api.clone().ended(false) => return Err(ended),
        }
        let mine = RangeRequest::new(KeyRange::key(place.key.clone()));
        let found = self.api.store.range(mine).await.map_err(status)?;
        if found.kvs.first().is_none_or(|kv| kv.create_revision != place.turn) {
            return Err(errors::LEASE_NOT_FOUND.into());
        }
        Ok(found.revision)
    }

    /// Waits until nobody stands before `turn`.
    async fn first(&self, name: &[u8], turn: Revision) -> Result<(), Status> {
        let mut before = RangeRequest::new(places(name));
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
        let mut watch = self.watch(KeyRange::key(key), from).await?;
        while let Some(batch) = next(&mut watch).await? {
            let mut events = batch.events.iter();
            if events.any(|event| event.kind == WatchEventKind::Delete) {
                break;
            }
        }
        Ok(())
    }

    /// Changes of a queue, or of one place.
    pub(super) async fn watch(&self, range: KeyRange, from: Revision) -> Result<Watch, Status> {
        let request = WatchRequest { range, from: Some(from), previous: false };
        self.api.store.watch(request).await.map_err(status)
    }

    /// Who is first.
    pub(super) async fn head(&self, name: &[u8]) -> Result<(Revision, Option<KeyValue>), Status> {
        let mut first = RangeRequest::new(places(name));
        first.query.sort =
            Some(Sort { target: SortTarget::CreateRevision, order: SortOrder::Ascending });
        first.query.limit = 1;
        let RangeReply { revision, kvs, .. } = self.api.store.range(first).await.map_err(status)?;
        Ok((revision, kvs.into_iter().next()))
    }

    /// Changes a place that was taken at `turn`; `None` if it is not there any more.
    pub(super) async fn change(
        &self,
        key: Bytes,
        turn: Revision,
        operation: Op,
    ) -> Result<(Revision, bool), Status> {
        let reply = self.execute(while_mine(key, turn, operation)).await?;
        Ok((reply.revision, reply.succeeded))
    }
}

/// The next changes; `None` if some of them are forgotten already.
pub(super) async fn next(watch: &mut Watch) -> Result<Option<WatchBatch>, Status> {
    match watch.recv().await {
        Ok(batch) => Ok(Some(batch)),
        Err(WatchError::Compacted { .. }) => Ok(None),
        Err(WatchError::Closed) => Err(errors::STOPPED.into()),
        Err(WatchError::Storage(error)) => Err(status(*error)),
    }
}
