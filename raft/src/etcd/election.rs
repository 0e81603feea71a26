//! The Election service: who is first in the queue below a name leads, and its key holds what it
//! says.

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use tonic::{Request, Response, Status};

use super::{
    answers::key_value,
    api::until,
    errors,
    proto::v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse,
        ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
        election_server::Election,
    },
    queue::{self, Place, Queues},
};
use crate::{
    types::{
        Delete, KeyRange, KeyValue, LeaseId, Op, Put, Revision, WatchBatch, WatchEvent,
        WatchEventKind,
    },
    watch::Watch,
};

/// The service.
pub(super) struct Elections(pub(super) Queues);

/// By what somebody says that it leads.
fn given(leader: Option<LeaderKey>) -> Result<(LeaderKey, Revision), Status> {
    let leader = leader.ok_or(errors::MISSING_LEADER_KEY)?;
    let turn = Revision(u64::try_from(leader.rev).unwrap_or_default());
    Ok((leader, turn))
}

impl Elections {
    /// Says something new in a place; refused if that is another's by now.
    async fn say(
        &self,
        key: Bytes,
        turn: Revision,
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Revision, Status> {
        let put = Put { lease: Some(lease), ..Put::new(key.clone(), value) };
        match self.0.change(key, turn, Op::Put(put)).await? {
            (revision, true) => Ok(revision),
            (_, false) => Err(errors::NOT_ELECTED.into()),
        }
    }

    /// A lease that stands already says something new; if it cannot, it stands no more.
    async fn stand(&self, place: &mut Place, lease: LeaseId, value: Bytes) -> Result<(), Status> {
        if place.found.as_ref().is_some_and(|found| *found != value) {
            let said = self.say(place.key.clone(), place.turn, lease, value).await;
            place.kept = said.is_ok();
            said?;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Election for Elections {
    type ObserveStream = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let Elections(queues) = self;
        queues.api.check_leader(&request)?;
        let CampaignRequest { name, lease, value } = request.into_inner();
        let lease = queues.lease(lease).await?;
        let mut place = queues.enter(&name, lease, value.clone()).await?;
        self.stand(&mut place, lease, value).await?;
        let revision = queues.wait(&name, &place).await?;
        place.kept = true;
        let rev = i64::try_from(place.turn.0).unwrap_or(i64::MAX);
        let leader = LeaderKey { name, key: place.key.clone(), rev, lease: lease.0 };
        let header = queues.api.header(revision);
        Ok(Response::new(CampaignResponse { header, leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let api = &self.0.api;
        api.check_leader(&request)?;
        let ProclaimRequest { leader, value } = request.into_inner();
        let (leader, turn) = given(leader)?;
        let revision = self.say(leader.key, turn, LeaseId(leader.lease), value).await?;
        Ok(Response::new(ProclaimResponse { header: api.header(revision) }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let Elections(queues) = self;
        queues.api.check_leader(&request)?;
        let (revision, leader) = queues.head(&request.into_inner().name).await?;
        let kv = Some(key_value(leader.ok_or(errors::NOBODY_ELECTED)?));
        Ok(Response::new(LeaderResponse { header: queues.api.header(revision), kv }))
    }

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let Elections(queues) = self;
        let wants_leader = queues.api.check_leader(&request)?;
        let name = request.into_inner().name;
        let observer = Observer { queues: queues.clone(), name, follows: None };
        let seen = futures::stream::try_unfold(observer, async |mut observer| {
            let seen = observer.next().await?;
            Ok::<_, Status>(Some((seen, observer)))
        });
        Ok(Response::new(Box::pin(until(seen, queues.api.clone().ended(wants_leader)))))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let Elections(queues) = self;
        queues.api.check_leader(&request)?;
        let (leader, turn) = given(request.into_inner().leader)?;
        let delete = Op::Delete(Delete::new(KeyRange::key(leader.key.clone())));
        // Who has no place any more has resigned already.
        let (revision, _) = queues.change(leader.key, turn, delete).await?;
        Ok(Response::new(ResignResponse { header: queues.api.header(revision) }))
    }
}

/// Sees who leads, and what that one says, as long as somebody listens.
struct Observer {
    queues: Queues,
    name: Bytes,
    /// What the leader says, until it leads no more.
    follows: Option<(Watch, std::collections::VecDeque<KeyValue>)>,
}

impl Observer {
    async fn next(&mut self) -> Result<LeaderResponse, Status> {
        loop {
            let Some((watch, said)) = &mut self.follows else {
                return self.find().await;
            };
            if let Some(kv) = said.pop_front() {
                let header = self.queues.api.header(kv.mod_revision);
                return Ok(LeaderResponse { header, kv: Some(key_value(kv)) });
            }
            let Some(WatchBatch { events, .. }) = queue::next(watch).await? else {
                self.follows = None;
                continue;
            };
            for WatchEvent { kind, kv, .. } in events {
                match kind {
                    WatchEventKind::Put => said.push_back(kv),
                    WatchEventKind::Delete => {
                        self.follows = None;
                        break;
                    }
                }
            }
        }
    }

    /// Finds out who leads, or waits until somebody does.
    async fn find(&mut self) -> Result<LeaderResponse, Status> {
        let (revision, leader) = self.queues.head(&self.name).await?;
        let (revision, leader) = match leader {
            Some(leader) => (revision, leader),
            None => self.first(Revision(revision.0 + 1)).await?,
        };
        let next = Revision(revision.0 + 1);
        let watch = self.queues.watch(KeyRange::key(leader.key.clone()), next).await?;
        self.follows = Some((watch, std::collections::VecDeque::new()));
        let header = self.queues.api.header(revision);
        Ok(LeaderResponse { header, kv: Some(key_value(leader)) })
    }

    /// The first that stands from `from` on.
    async fn first(&self, from: Revision) -> Result<(Revision, KeyValue), Status> {
        let mut watch = self.queues.watch(queue::places(&self.name), from).await?;
        loop {
            let Some(batch) = queue::next(&mut watch).await? else {
                return Err(errors::COMPACTED.into());
            };
            let mut puts =
                batch.events.into_iter().filter(|event| event.kind == WatchEventKind::Put);
            if let Some(event) = puts.next() {
                return Ok((event.kv.mod_revision, event.kv));
            }
        }
    }
}
