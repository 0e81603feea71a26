//! One of the two that are compared: members, and how to ask them.

use kontiki_tests::etcd::proto::etcdserverpb::{
    RangeRequest, kv_client::KvClient, lease_client::LeaseClient,
};
use tonic::transport::Channel;

use crate::{
    answer::{plain, plain_txn, text},
    step::{Request, Step},
    watching::Stream,
};

/// Members, each with one stream of watches.
pub(crate) struct Side {
    pub(crate) members: Vec<Member>,
}

pub(crate) struct Member {
    channel: Channel,
    pub(crate) stream: Stream,
}

impl Side {
    pub(crate) async fn new(channels: Vec<Channel>) -> Side {
        let mut members = Vec::new();
        for channel in channels {
            let stream = Stream::open(channel.clone()).await;
            members.push(Member { channel, stream });
        }
        Side { members }
    }

    /// Asks, and says what was answered.
    pub(crate) async fn ask(&mut self, step: &Step) -> String {
        let count = self.members.len();
        let member = &mut self.members[step.at % count];
        let mut kv = KvClient::new(member.channel.clone());
        let mut lease = LeaseClient::new(member.channel.clone());
        match step.request.clone() {
            Request::Range(request) => {
                if request.serializable {
                    member.catch_up().await;
                }
                text(kv.range(request).await, |answer| plain(&mut answer.header))
            }
            Request::Put(request) => {
                text(kv.put(request).await, |answer| plain(&mut answer.header))
            }
            Request::Delete(request) => {
                text(kv.delete_range(request).await, |answer| plain(&mut answer.header))
            }
            Request::Txn(request) => text(kv.txn(request).await, plain_txn),
            Request::Compact(request) => {
                text(kv.compact(request).await, |answer| plain(&mut answer.header))
            }
            Request::Grant(request) => {
                // Who has not applied what others acknowledged says an older revision.
                member.catch_up().await;
                text(lease.lease_grant(request).await, |answer| plain(&mut answer.header))
            }
            Request::Revoke(request) => {
                text(lease.lease_revoke(request).await, |answer| plain(&mut answer.header))
            }
            Request::KeepAlive(request) => {
                member.catch_up().await;
                let requests = tokio_stream::once(request);
                match lease.lease_keep_alive(requests).await {
                    Ok(answers) => {
                        let first = answers.into_inner().message().await;
                        let first = first.map(|answer| tonic::Response::new(answer.unwrap()));
                        text(first, |answer| plain(&mut answer.header))
                    }
                    Err(status) => text::<()>(Err(status), |()| {}),
                }
            }
            Request::TimeToLive(request) => {
                member.catch_up().await;
                text(lease.lease_time_to_live(request).await, |answer| {
                    plain(&mut answer.header);
                    answer.keys.sort();
                    // Time goes by.
                    answer.ttl = answer.ttl.signum();
                })
            }
            Request::Leases(request) => {
                member.catch_up().await;
                text(lease.lease_leases(request).await, |answer| {
                    plain(&mut answer.header);
                    answer.leases.sort_by_key(|lease| lease.id);
                })
            }
            Request::Watch(request) => {
                member.catch_up().await;
                member.stream.create(request).await
            }
            Request::CancelWatch(id) => {
                member.catch_up().await;
                member.stream.cancel(id).await
            }
            Request::Progress => {
                member.catch_up().await;
                member.stream.progress().await
            }
        }
    }
}

impl Member {
    /// Lets the member apply what others have acknowledged: only then do answers that need no
    /// quorum have to be equal.
    pub(crate) async fn catch_up(&self) -> i64 {
        let request = RangeRequest { key: "x".into(), count_only: true, ..Default::default() };
        let answer = KvClient::new(self.channel.clone()).range(request).await.unwrap();
        answer.into_inner().header.unwrap().revision
    }
}
