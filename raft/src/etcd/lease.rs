//! The Lease service. Any member takes any request; the leader keeps the time.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{
    api::{self, Api},
    errors::{self, status},
    proto::etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
        LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_server::Lease,
    },
};
use crate::{
    error::{Error, Refusal},
    types::{LeaseGrant, LeaseId},
};

/// etcd's longest lease: some three hundred years.
const TTL_SECONDS_MAX: i64 = 9_000_000_000;
/// Renewals of one stream that are under way at once; answers keep their order.
const RENEWALS_MAX: usize = 64;
/// What a client is told of a lease that is not there.
const GONE: i64 = -1;

/// The service.
pub(super) struct Leases(pub(super) Api);

/// Whole seconds, never fewer than there are.
fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis().div_ceil(1_000)).unwrap_or(TTL_SECONDS_MAX)
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Refused(Refusal::LeaseNotFound { .. }))
}

async fn renew(
    api: Api,
    request: Result<LeaseKeepAliveRequest, Status>,
) -> Result<LeaseKeepAliveResponse, Status> {
    let id = request?.id;
    let ttl = match api.store.lease_keep_alive(LeaseId(id)).await {
        Ok(ttl) => seconds(ttl),
        Err(error) if is_missing(&error) => 0,
        Err(error) => return Err(status(error)),
    };
    Ok(LeaseKeepAliveResponse { header: api.header_now(), id, ttl })
}

#[tonic::async_trait]
impl Lease for Leases {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        self.0.check_leader(&request)?;
        let request = request.into_inner();
        if request.ttl > TTL_SECONDS_MAX {
            return Err(errors::LEASE_TOO_LONG.into());
        }
        let seconds_wanted = u64::try_from(request.ttl).unwrap_or(0).max(1);
        let grant = LeaseGrant {
            id: (request.id != 0).then_some(LeaseId(request.id)),
            ttl: Duration::from_secs(seconds_wanted),
            together: true,
        };
        let lease = self.0.store.lease_grant(grant).await.map_err(status)?;
        Ok(Response::new(LeaseGrantResponse {
            header: self.0.header_now(),
            id: lease.id.0,
            ttl: seconds(lease.ttl),
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        self.0.check_leader(&request)?;
        let lease = LeaseId(request.into_inner().id);
        if self.0.protects() {
            let found = self.0.store.lease_time_to_live(lease, true).await.map_err(status)?;
            self.0.may_delete(found.keys.iter())?;
        }
        self.0.store.lease_revoke(lease).await.map_err(status)?;
        // The deletions may have a revision that this member has not applied yet.
        let revision = self.0.store.read_index().await.map_err(status)?;
        Ok(Response::new(LeaseRevokeResponse { header: self.0.header(revision) }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let wants_leader = self.0.check_leader(&request)?;
        let api = self.0.clone();
        let renewals = request
            .into_inner()
            .map(move |request| renew(api.clone(), request))
            .buffered(RENEWALS_MAX);
        let ended = self.0.clone().ended(wants_leader);
        Ok(Response::new(Box::pin(api::until(renewals, ended))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        self.0.check_leader(&request)?;
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let found = match self.0.store.lease_time_to_live(LeaseId(id), keys).await {
            Ok(found) => Some(found),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(status(error)),
        };
        let header = self.0.header_now();
        let answer = match found {
            Some(found) => LeaseTimeToLiveResponse {
                header,
                id,
                ttl: found.remaining.as_secs().try_into().unwrap_or(TTL_SECONDS_MAX),
                granted_ttl: seconds(found.granted),
                keys: found.keys,
            },
            None => {
                LeaseTimeToLiveResponse { header, id, ttl: GONE, granted_ttl: 0, keys: Vec::new() }
            }
        };
        Ok(Response::new(answer))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        self.0.check_leader(&request)?;
        let leases = self.0.store.leases().await.map_err(status)?;
        let leases = leases.into_iter().map(|LeaseId(id)| LeaseStatus { id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header: self.0.header_now(), leases }))
    }
}
