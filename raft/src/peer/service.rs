//! What a member does for its peers, whatever brought their calls.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::StreamExt;
use kontiki_base::{
    CancellationToken,
    tasks::{TaskKind, Tasks},
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Status;

use super::{
    Administration, Forwarded, LeaseQuery, campaign, forward, frame,
    greeting::Hello,
    handshake::{self, Called, Claim, Verdict},
    open,
    proto::Frame,
    relay::Relay,
    snapshot,
    transport::{Frames, Method, Pipe, Upload},
};
use crate::{
    failpoints::{Step, pass_between},
    store::Inner,
    types::MemberId,
};

/// How often a refused peer is mentioned.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);

/// Serves peers.
pub(crate) struct Service {
    inner: Arc<Inner>,
    shutdown: CancellationToken,
    lost: campaign::Lost,
    complaints: Complaints,
    snapshots: snapshot::Receiver,
}

/// Who calls.
pub(crate) struct Caller {
    pub(crate) claim: Claim,
    /// The connection, if it is a lasting one.
    pub(super) session: Option<Session>,
}

impl Caller {
    /// A caller on no lasting connection.
    #[cfg(test)]
    pub(crate) fn new(claim: Claim) -> Caller {
        Caller { claim, session: None }
    }
}

/// Who is at the other end of a connection, once it has said so.
#[derive(Clone, Default)]
pub(super) struct Session(Arc<Mutex<Option<MemberId>>>);

impl Session {
    /// Who it is, if that is known by now.
    pub(super) fn member(&self) -> Option<MemberId> {
        *self.0.lock()
    }
}

/// Says who was refused, once a minute each: a stranger tries many times a second.
#[derive(Clone, Default)]
pub(super) struct Complaints(Arc<Mutex<HashMap<String, Instant>>>);

impl Complaints {
    pub(super) fn say(&self, about: &str, reason: &dyn std::fmt::Display) {
        let now = Instant::now();
        let mut said = self.0.lock();
        said.retain(|_, at| now.duration_since(*at) < COMPLAINT_EVERY);
        if !said.contains_key(about) {
            said.insert(about.to_owned(), now);
            tracing::warn!(from = about, "refused a peer: {reason}");
        }
    }
}

impl Service {
    /// A member's service. Campaigns run among its tasks.
    pub(crate) fn new(inner: &Arc<Inner>, tasks: &Tasks) -> Service {
        let (lost, campaigns) = campaign::channel();
        tasks.spawn_infallible(
            TaskKind::vital("campaigns"),
            campaign::run(inner.clone(), campaigns, tasks.shutdown()),
        );
        Service {
            inner: inner.clone(),
            shutdown: tasks.shutdown(),
            lost,
            complaints: Complaints::default(),
            snapshots: snapshot::Receiver::new(inner.shared.snapshot_folder()),
        }
    }

    /// Where broken connections are reported.
    pub(crate) fn lost(&self) -> campaign::Lost {
        self.lost.clone()
    }

    pub(super) fn complaints(&self) -> Complaints {
        self.complaints.clone()
    }

    /// Judges a call, or says why it is refused.
    fn judge(&self, caller: &Caller, greeting: bool) -> Result<Verdict, Status> {
        pass_between(Step::PeerServe, caller.claim.last_hop()).map_err(stopped)?;
        let claim = &caller.claim;
        let own = &self.inner.identified;
        if let Some(reason) = own.expelled() {
            return Err(Status::failed_precondition(reason));
        }
        let called = Called {
            member: own.member,
            cluster: own.cluster(),
            protocol: own.version,
            removed: self.inner.shared.is_removed(claim.from),
            greeting,
        };
        let verdict = handshake::judge(claim, &called).map_err(|stranger| {
            self.complaints.say(&claim.from.to_string(), &stranger);
            stranger.status()
        })?;
        if verdict == Verdict::Adopt {
            let adopted = own.adopt(claim.cluster).map_err(|e| Status::internal(e.to_string()))?;
            if !adopted {
                return Err(Status::failed_precondition("it joined another cluster just now"));
            }
            tracing::info!(cluster = format!("{:016x}", claim.cluster.id), "joined a cluster");
        }
        if let Some(session) = &caller.session {
            session.0.lock().get_or_insert(claim.last_hop());
        }
        Ok(verdict)
    }

    /// What becomes of a call: it is served, or passed on to whom it is for.
    fn admit(&self, caller: &Caller, greeting: bool) -> Result<Option<Relay>, Status> {
        match self.judge(caller, greeting)? {
            Verdict::Admit | Verdict::Adopt => Ok(None),
            Verdict::PassOn => {
                self.check_member(caller.claim.from)?;
                self.check_member(caller.claim.to)?;
                Ok(Some(Relay::new(&self.inner.peers, caller.claim, self.shutdown.clone())))
            }
        }
    }

    /// A request that a member has on behalf of its callers: one that was removed has none.
    fn check_member(&self, member: MemberId) -> Result<(), Status> {
        if self.inner.is_member(member) {
            return Ok(());
        }
        Err(Status::permission_denied(format!("{member} is no member of this cluster")))
    }

    /// Answers a question.
    pub(crate) async fn answer(
        &self,
        method: Method,
        caller: &Caller,
        question: Frame,
    ) -> Result<Frame, Status> {
        let raft = &self.inner.raft;
        if let Some(relay) = self.admit(caller, method == Method::Hello)? {
            return relay.ask(method, question).await;
        }
        if matches!(method, Method::Administer | Method::Lease | Method::Examine) {
            self.check_member(caller.claim.from)?;
        }
        match method {
            Method::Hello => {
                let hello: Hello = open(&question)?;
                if self.inner.is_member(caller.claim.from) {
                    self.inner.peers.meet(caller.claim.from, &hello.node.peer_address);
                }
                Ok(frame(&self.inner.greeting()))
            }
            Method::HeldFiles => Ok(frame(&self.snapshots.held(caller.claim.from))),
            Method::Append => {
                self.inner.pulse.heard();
                let answer = raft.append_entries(open(&question)?).await.map_err(stopped)?;
                Ok(frame(&answer))
            }
            Method::Vote => {
                let answer = raft.vote(open(&question)?).await.map_err(stopped)?;
                Ok(frame(&answer))
            }
            Method::PreVote => {
                let answer = raft.pre_vote(open(&question)?).await.map_err(stopped)?;
                Ok(frame(&answer))
            }
            Method::TransferLeader => {
                let transfer = open(&question)?;
                let answer = raft.handle_transfer_leader(transfer).await.map_err(stopped)?;
                Ok(frame(&answer))
            }
            Method::Administer => {
                let what: Administration = open(&question)?;
                Ok(frame(&Forwarded::from(self.inner.administer_here(&what).await)))
            }
            Method::Examine => Ok(frame(&self.inner.examine(open(&question)?).await)),
            Method::Lease => {
                let query: LeaseQuery = open(&question)?;
                Ok(frame(&Forwarded::from(self.inner.lease_here(query).await)))
            }
        }
    }

    /// Answers the questions of a stream in their order.
    pub(crate) fn stream(
        &self,
        what: Pipe,
        caller: &Caller,
        frames: Frames,
    ) -> Result<Frames, Status> {
        if let Some(relay) = self.admit(caller, false)? {
            return Ok(relay.stream(what, frames));
        }
        let claim = caller.claim;
        match what {
            Pipe::Append => self.append(claim, frames),
            Pipe::Propose => {
                self.check_member(claim.from)?;
                Ok(forward::serve(&self.inner, claim, frames, forward::propose))
            }
            Pipe::ReadIndex => {
                self.check_member(claim.from)?;
                Ok(forward::serve(&self.inner, claim, frames, forward::read_index))
            }
        }
    }

    fn append(&self, claim: Claim, frames: Frames) -> Result<Frames, Status> {
        self.refuse_when_full()?;
        let inner = self.inner.clone();
        // A message that cannot be read ends the stream: the leader begins again. So does one for
        // which there is no room.
        let requests = tokio_stream::StreamExt::map_while(frames, move |read| {
            pass_between(Step::PeerServe, claim.last_hop()).ok()?;
            inner.pulse.heard();
            if !inner.health.may_append() {
                return None;
            }
            read.and_then(|frame| open(&frame)).ok()
        });
        let answers = self
            .inner
            .raft
            .stream_append(requests)
            .map(|answer| answer.map(|answer| frame(&answer)).map_err(stopped))
            .take_until(self.shutdown.clone().cancelled_owned());
        Ok(answers.boxed())
    }

    /// Hardly any room is left: what the leader appends has to wait.
    fn refuse_when_full(&self) -> Result<(), Status> {
        if self.inner.health.may_append() {
            return Ok(());
        }
        Err(Status::resource_exhausted("the disk of this member is full"))
    }

    /// Takes a snapshot in.
    pub(crate) async fn install(&self, caller: &Caller, parts: Frames) -> Result<Frame, Status> {
        if let Some(relay) = self.admit(caller, false)? {
            return relay.upload(Upload::InstallSnapshot, parts).await;
        }
        self.refuse_when_full()?;
        let (vote, snapshot) = self.snapshots.receive(caller.claim.from, parts).await?;
        let answer =
            self.inner.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(frame(&answer))
    }
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}
