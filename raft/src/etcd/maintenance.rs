//! The Maintenance service: looking after one member.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::{
    API_VERSION,
    api::{self, Api},
    errors::{self, status},
    proto::etcdserverpb::{
        AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
        DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest,
        HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, SnapshotResponse,
        StatusRequest, StatusResponse, maintenance_server::Maintenance,
    },
};
use crate::{
    error::Error,
    store::Ailment,
    types::{MemberId, Revision},
};

/// The service.
pub(super) struct Care(pub(super) Api);

/// etcd's hashes have half the bits of ours.
fn fold(hash: u64) -> u32 {
    let (high, low) = (hash >> 32, hash & u64::from(u32::MAX));
    u32::try_from(high ^ low).unwrap_or_default()
}

/// Why leadership stays: etcd waits for a transferee that does not answer, and then gives up.
fn not_moved(error: Error) -> Status {
    match error {
        Error::Declined { reason } => errors::TRANSFER_TIMED_OUT.because(reason),
        Error::Timeout { .. } => errors::TRANSFER_TIMED_OUT.into(),
        other => status(other),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[tonic::async_trait]
impl Maintenance for Care {
    /// What ails this member. Nothing can be raised or disarmed by hand: it ends by itself.
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        self.0.check_leader(&request)?;
        let member_id = self.0.store.id().0;
        let alarms = self.0.store.ailments().into_iter().filter_map(|ailment| {
            let alarm = match ailment {
                Ailment::NoSpace => AlarmType::Nospace,
                Ailment::Corrupt => AlarmType::Corrupt,
                Ailment::SlowDisk => return None,
            };
            Some(AlarmMember { member_id, alarm: alarm.into() })
        });
        let alarms = alarms.collect();
        Ok(Response::new(AlarmResponse { header: self.0.header_now(), alarms }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let store = self.0.store.clone();
        let found = store.status();
        Ok(Response::new(StatusResponse {
            header: self.0.header(found.revision),
            version: API_VERSION.to_owned(),
            db_size: signed(found.db_bytes),
            leader: found.leader.map_or(0, |leader| leader.0),
            raft_index: found.raft_index,
            raft_term: found.raft_term,
            raft_applied_index: found.raft_applied,
            errors: found.errors,
            db_size_in_use: signed(found.db_bytes_in_use),
            is_learner: found.learner,
            storage_version: String::new(),
            db_size_quota: 0,
        }))
    }

    /// There is nothing to do: space is reclaimed all the time.
    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        Ok(Response::new(DefragmentResponse { header: self.0.header_now() }))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let (revision, hash) = self.0.store.hash(None).await.map_err(status)?;
        Ok(Response::new(HashResponse { header: self.0.header(revision), hash: fold(hash) }))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let at = u64::try_from(request.into_inner().revision).ok().filter(|at| *at > 0);
        let (revision, hash) = self.0.store.hash(at.map(Revision)).await.map_err(status)?;
        Ok(Response::new(HashKvResponse {
            header: self.0.header_now(),
            hash: fold(hash),
            compact_revision: signed(self.0.store.status().floor.0),
            hash_revision: signed(revision.0),
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    async fn snapshot(
        &self,
        _: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        // Keys and certificates stay where they are: they are not for clients of this port.
        let backup = self.0.store.backup(Vec::new()).await.map_err(status)?;
        let (api, mut remaining) = (self.0.clone(), backup.bytes);
        let pieces = backup.map(move |piece| {
            let blob = piece.map_err(|error| errors::CORRUPT.because(error))?;
            remaining = remaining.saturating_sub(blob.len() as u64);
            Ok(SnapshotResponse {
                header: api.header_now(),
                remaining_bytes: remaining,
                blob,
                version: API_VERSION.to_owned(),
            })
        });
        let ended = self.0.clone().ended(false);
        Ok(Response::new(Box::pin(api::until(pieces, ended))))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        self.0.check_leader(&request)?;
        let target = MemberId(request.into_inner().target_id);
        let store = &self.0.store;
        if store.leadership().borrow().leader != Some(store.id()) {
            return Err(errors::NOT_LEADER.into());
        }
        let eligible = store.members().iter().any(|member| member.id == target && member.voter);
        if !eligible {
            return Err(errors::BAD_TRANSFEREE.into());
        }
        if target != store.id() {
            store.move_leadership(Some(target)).await.map_err(not_moved)?;
        }
        Ok(Response::new(MoveLeaderResponse { header: self.0.header_now() }))
    }

    async fn downgrade(
        &self,
        _: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        Err(Status::unimplemented(
            "the store's own version is not etcd's: see `kontiki member list`",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_take_over_is_told_as_etcd_tells_it() {
        let told = not_moved(Error::Declined { reason: "b does not answer".to_owned() });
        assert_eq!(told.code(), tonic::Code::Unavailable);
        let text =
            "etcdserver: request timed out, leader transfer took too long: b does not answer";
        assert_eq!(told.message(), text);
    }

    #[test]
    fn both_halves_of_a_hash_count() {
        assert_eq!(fold(0x0000_0001_0000_0002), 3);
        assert_ne!(fold(1 << 40), fold(1 << 41));
    }
}
