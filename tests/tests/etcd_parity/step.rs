//! What a history is made of.

use kontiki_tests::etcd::proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest,
    TxnRequest, WatchCreateRequest,
};

/// One request. `at` chooses the member, where there are several.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: usize,
    pub(crate) request: Request,
}

/// Requests.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    Grant(LeaseGrantRequest),
    Revoke(LeaseRevokeRequest),
    KeepAlive(LeaseKeepAliveRequest),
    TimeToLive(LeaseTimeToLiveRequest),
    Leases(LeaseLeasesRequest),
    /// On the stream of the member.
    Watch(WatchCreateRequest),
    CancelWatch(i64),
    Progress,
}
