//! Objects in the store: where they are, and how one is written.
//!
//! Every write is one transaction that touches one object and the claims it owns, so one revision
//! never carries two events of one watch. A write says what it expects to find; if something else
//! is there, the same round trip brings it back.

pub mod backend;
pub mod convert;
pub mod envelope;
mod keys;
mod leases;
mod replicated;
pub mod upgrade;

use std::sync::Arc;

use bytes::Bytes;
use kontiki_base::Fence;
use kontiki_raft::types::{
    Compare, Consistency, Delete, KeyRange, KeyValue, LeaseId, Op, OpResult, Put, Range,
    RangeReply, RangeRequest, Revision, Txn,
};

use backend::{Backend, BackendError};
pub use keys::{Keys, relative};
use leases::SharedLeases;

use crate::registry::Claim;

/// The store as the verbs see it.
pub struct Storage {
    backend: Arc<dyn Backend>,
    keys: Keys,
    leases: SharedLeases,
}

/// What a write expects to find under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// The object as this revision wrote it.
    Revision(Revision),
}

/// Another object that the write changes with it: a quota that it is charged to.
pub struct Charge {
    /// The quota's key.
    pub key: Bytes,
    /// The quota as this revision wrote it.
    pub revision: Revision,
    /// The quota as it becomes, sealed.
    pub value: Vec<u8>,
}

/// One write of one object.
#[derive(Clone)]
pub struct Write<'a> {
    /// The object's key.
    pub key: Bytes,
    /// What must be there.
    pub expected: Expected,
    /// The sealed object; `None` deletes.
    pub value: Option<Vec<u8>>,
    /// Claims to take.
    pub take: &'a [Claim],
    /// Claims to give back.
    pub release: Vec<String>,
    /// How long the object lives.
    pub time_to_live: Option<std::time::Duration>,
    /// The leadership under which the writer acts.
    pub fence: Option<Fence>,
    /// What it costs.
    pub charge: Option<&'a Charge>,
}

/// How a write ended.
#[derive(Debug)]
pub enum Outcome {
    /// It stands, at this revision.
    Written(Revision),
    /// Something else was there: this, or nothing.
    Changed(Option<KeyValue>),
    /// One of the claims to take belongs to another object.
    ClaimTaken(usize),
    /// The quota was changed meanwhile.
    ChargeLost,
}

impl Storage {
    /// Objects under `prefix` of a store.
    pub fn new(backend: Arc<dyn Backend>, prefix: &str) -> Storage {
        Storage { backend, keys: Keys::new(prefix), leases: SharedLeases::default() }
    }

    /// The store itself.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Where things are.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Executes a write.
    pub async fn write(&self, write: Write<'_>) -> Result<Outcome, BackendError> {
        let lease = match write.time_to_live {
            Some(ttl) => self.leases.get(&*self.backend, ttl).await?,
            None => LeaseId(0),
        };
        let txn = self.transaction(&write, lease);
        let reply = match self.backend.txn(txn).await {
            Err(BackendError::LeaseNotFound) => {
                // The shared lease ran out between grant and use: one fresh one, once.
                let lease = match write.time_to_live {
                    Some(ttl) => self.leases.renew(&*self.backend, ttl).await?,
                    None => LeaseId(0),
                };
                self.backend.txn(self.transaction(&write, lease)).await?
            }
            other => other?,
        };
        if reply.succeeded {
            return Ok(Outcome::Written(reply.revision));
        }
        let mut found = reply.results.into_iter().map(|result| match result {
            OpResult::Range(range) => range.kvs.into_iter().next(),
            _ => None,
        });
        let current = found.next().flatten();
        let as_expected = match (write.expected, &current) {
            (Expected::Absent, None) => true,
            (Expected::Revision(revision), Some(kv)) => kv.mod_revision == revision,
            _ => false,
        };
        if !as_expected {
            return Ok(Outcome::Changed(current));
        }
        let taken = found.by_ref().take(write.take.len()).position(|claim| claim.is_some());
        match taken {
            Some(taken) => Ok(Outcome::ClaimTaken(taken)),
            // All else was as expected, so it was the quota.
            None if write.charge.is_some() => Ok(Outcome::ChargeLost),
            None => Ok(Outcome::Changed(current)),
        }
    }

    fn transaction(&self, write: &Write<'_>, lease: LeaseId) -> Txn {
        let claim_key = |claim: &str| Bytes::from(self.keys.claim(claim));
        let mut compares = vec![match write.expected {
            Expected::Absent => Compare::absent(write.key.clone()),
            Expected::Revision(revision) => Compare::mod_revision(write.key.clone(), revision),
        }];
        let mut success = vec![match &write.value {
            Some(value) => {
                Op::Put(Put { lease: Some(lease), ..Put::new(write.key.clone(), value.clone()) })
            }
            None => Op::Delete(Delete::new(KeyRange::key(write.key.clone()))),
        }];
        let read = |key: Bytes| Op::Range(Range::new(KeyRange::key(key)));
        let mut failure = vec![read(write.key.clone())];
        for claim in write.take {
            let key = claim_key(&claim.key);
            compares.push(Compare::absent(key.clone()));
            failure.push(read(key.clone()));
            success.push(Op::Put(Put::new(key, write.key.clone())));
        }
        if let Some(charge) = write.charge {
            compares.push(Compare::mod_revision(charge.key.clone(), charge.revision));
            success.push(Op::Put(Put::new(charge.key.clone(), charge.value.clone())));
        }
        for claim in &write.release {
            success.push(Op::Delete(Delete::new(KeyRange::key(claim_key(claim)))));
        }
        Txn { compares, success, failure, fence: write.fence }
    }

    /// Reads one key as of now.
    pub async fn read(&self, key: Bytes) -> Result<Option<KeyValue>, BackendError> {
        let reply = self.backend.range(RangeRequest::new(KeyRange::key(key))).await?;
        Ok(reply.kvs.into_iter().next())
    }

    /// Reads a part of a range as of a revision.
    pub async fn page(
        &self,
        range: KeyRange,
        revision: Revision,
        limit: u64,
    ) -> Result<RangeReply, BackendError> {
        self.backend
            .range(RangeRequest {
                query: Range { revision: Some(revision), limit, ..Range::new(range) },
                consistency: Consistency::Serializable,
                counted: false,
            })
            .await
    }
}
