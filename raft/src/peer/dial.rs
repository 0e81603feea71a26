//! Dialling: who is where, and what this member asks the others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kontiki_base::tasks::{TaskKind, Tasks};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};
use tonic::{Code, Status};

use super::{
    Administration, Forwarded, LeaseQuery,
    addresses::AddressBook,
    forward::{Home, Lines, ReadIndex},
    frame,
    greeting::{Greeting, Hello},
    handshake::{ANYBODY, Claim, Refusal, Way},
    open,
    proto::Frame,
    route::{Routes, Taken},
    snapshot::{Held, Pace},
    transport::{Call, Lane, Method, Transport},
};
use crate::{
    command::{Proposal, Reply},
    failpoints::{Step, pass_between},
    raft_types::MemberNode,
    store::{Attempt, Finding, Identified, Question},
    types::{LeaseStatus, MemberId},
};

/// A member that is to be added is up.
const HELLO_MAX: Duration = Duration::from_secs(2);
/// How long members of a later life of the cluster are left alone.
const OUTLIVED_PAUSE: Duration = Duration::from_secs(60);
/// Heartbeats in a row that a member may miss before it is called lost: a second's worth.
const MISSED_MAX: u32 = 10;

/// Connections to the other members. Clones share them.
#[derive(Clone)]
pub(crate) struct Peers(Arc<Inner>);

struct Inner {
    identified: Arc<Identified>,
    transport: Arc<dyn Transport>,
    /// This member, as it introduces itself.
    own: MemberNode,
    pace: Pace,
    addresses: AddressBook,
    routes: Routes,
    /// Members of a later life of the cluster, and until when they are left alone.
    outlived_by: Mutex<HashMap<MemberId, (Instant, String)>>,
    /// Heartbeats in a row that a member has missed.
    missed: Mutex<HashMap<MemberId, u32>>,
    home: Home,
    proposals: Lines<Proposal>,
    read_indexes: Lines<ReadIndex>,
}

impl Peers {
    /// Streams to peers live in the runtime in which this is called.
    pub(crate) fn new(
        identified: Arc<Identified>,
        own: MemberNode,
        snapshot_rate: u64,
        transport: Arc<dyn Transport>,
        tasks: &Tasks,
    ) -> Peers {
        Peers(Arc::new(Inner {
            identified,
            transport,
            own,
            pace: Pace::new(snapshot_rate),
            addresses: AddressBook::default(),
            routes: Routes::default(),
            outlived_by: Mutex::default(),
            missed: Mutex::default(),
            home: Home { tasks: tasks.clone(), runtime: Handle::current() },
            proposals: Lines::default(),
            read_indexes: Lines::default(),
        }))
    }

    /// Learns where a member is by the membership; connections to old addresses are dropped when
    /// used next.
    pub(crate) fn learn(&self, member: MemberId, address: &str) {
        self.0.addresses.learn(member, address);
    }

    /// Learns who the other members are: they pass on what does not arrive directly.
    pub(crate) fn know(&self, others: &[MemberId]) {
        self.0.routes.know(others.to_vec());
    }

    /// Learns where a member is by its own word.
    pub(crate) fn meet(&self, member: MemberId, address: &str) {
        if self.0.addresses.hear(member, address) {
            tracing::info!(%member, address, "the member is here now");
        }
    }

    /// Where members may be.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.0.addresses.all()
    }

    /// This member, as it introduces itself.
    pub(crate) fn own(&self) -> &MemberNode {
        &self.0.own
    }

    /// Says once that a member is lost, and once that it is back.
    pub(super) fn heard(&self, member: MemberId, problem: Option<&Status>) {
        let mut missed = self.0.missed.lock();
        let missed = missed.entry(member).or_default();
        match problem {
            None => {
                if std::mem::take(missed) >= MISSED_MAX {
                    tracing::info!(%member, "the member answers again");
                }
            }
            Some(problem) => {
                *missed = missed.saturating_add(1);
                if *missed == MISSED_MAX {
                    tracing::warn!(%member, "the member does not answer: {}", problem.message());
                }
            }
        }
    }

    /// How frames get there.
    pub(super) fn transport(&self) -> &dyn Transport {
        &*self.0.transport
    }

    /// A call to a member on the best way, with this member's claim.
    pub(super) fn call(&self, to: MemberId, lane: Lane) -> Result<Call, Status> {
        let Taken { by, ended, probe } = self.0.routes.take(to);
        if probe {
            self.probe(to);
        }
        let Some(by) = by else {
            let call = self.call_directly(to, lane);
            return call.inspect_err(|_| self.0.routes.report(to, None, false));
        };
        let claim = Claim { way: Way::Over(by), ..self.claim(to)? };
        let call = self.hop(Call { address: String::new(), lane, claim, ended });
        call.inspect_err(|_| self.0.routes.report(to, Some(by), false))
    }

    /// A call of another member, passed on.
    pub(super) fn pass_on(&self, claim: Claim, lane: Lane) -> Result<Call, Status> {
        let claim = Claim { way: Way::PassedOnBy(self.0.identified.member), ..claim };
        self.hop(Call { address: String::new(), lane, claim, ended: None })
    }

    /// Takes note of what became of a call: where calls fail, another way is tried.
    pub(super) fn report(&self, claim: &Claim, problem: Option<&Status>) {
        let down = problem.is_some_and(|problem| {
            // Whoever refuses to pass something on is no way either.
            let away = [Code::Unavailable, Code::Unknown, Code::DeadlineExceeded];
            claim.over().is_some() || away.contains(&problem.code())
        });
        self.0.routes.report(claim.to, claim.over(), !down);
    }

    /// Tries the direct way to a member.
    fn probe(&self, to: MemberId) {
        let (peers, shutdown) = (self.clone(), self.0.home.tasks.shutdown());
        let _runtime = self.0.home.runtime.enter();
        self.0.home.tasks.spawn_infallible(TaskKind::logged("probe"), async move {
            let greeted = peers.greet(peers.call_directly(to, Lane::Forward));
            // Reports by itself what comes of it.
            let _ = shutdown.run_until_cancelled(greeted).await;
        });
    }

    fn call_directly(&self, to: MemberId, lane: Lane) -> Result<Call, Status> {
        let claim = self.claim(to)?;
        self.hop(Call { address: String::new(), lane, claim, ended: None })
    }

    /// Addresses a call to whom it goes first.
    fn hop(&self, call: Call) -> Result<Call, Status> {
        let to = call.claim.next_hop();
        pass_between(Step::PeerCall, to).map_err(|error| Status::unavailable(error.to_string()))?;
        let address = self.0.addresses.of(to);
        let address = address
            .ok_or_else(|| Status::unavailable(format!("the address of {to} is not known")))?;
        if let Some((until, reason)) = self.0.outlived_by.lock().get(&to)
            && Instant::now() < *until
        {
            return Err(Status::unavailable(reason));
        }
        Ok(Call { address, ..call })
    }

    fn claim(&self, to: MemberId) -> Result<Claim, Status> {
        let identified = &self.0.identified;
        if let Some(reason) = identified.expelled() {
            return Err(Status::failed_precondition(reason));
        }
        let cluster = identified.cluster().ok_or_else(|| {
            Status::failed_precondition("this member has not been added to a cluster yet")
        })?;
        Ok(Claim {
            protocol: identified.version,
            cluster,
            from: identified.member,
            to,
            way: Way::Direct,
        })
    }

    /// Takes note of what a refusal means beyond its call.
    pub(super) fn note(&self, by: MemberId, status: Status) -> Status {
        match Refusal::of(&status) {
            Some(Refusal::Removed) => {
                self.0
                    .identified
                    .expel(&format!("it was removed from its cluster, says member {by}"));
            }
            Some(Refusal::Outlived) => {
                let reason = status.message().to_owned();
                tracing::error!(
                    member = %by,
                    "the cluster goes on without this member, which has to join it anew with an \
                     empty data folder: {reason}"
                );
                let until = Instant::now() + OUTLIVED_PAUSE;
                self.0.outlived_by.lock().insert(by, (until, reason));
            }
            None => {}
        }
        status
    }

    /// One question, one answer.
    pub(super) async fn ask(
        &self,
        to: MemberId,
        lane: Lane,
        method: Method,
        question: Frame,
    ) -> Result<Frame, Status> {
        let call = self.call(to, lane)?;
        let claim = call.claim;
        let answer = self.0.transport.ask(call, method, question).await;
        self.report(&claim, answer.as_ref().err());
        answer.map_err(|status| self.note(to, status))
    }

    /// Makes sure that a member is at its address and may be of this cluster, and asks how it is.
    pub(crate) async fn hello(&self, to: MemberId) -> Result<Greeting, String> {
        self.greet(self.call(to, Lane::Forward)).await
    }

    /// Asks who is at an address. Whoever that is does not join a cluster by being asked.
    pub(crate) async fn who_is_at(&self, address: &str) -> Result<Greeting, String> {
        let address = address.to_owned();
        let call = self.claim(ANYBODY).map(|claim| Call {
            address,
            lane: Lane::Forward,
            claim,
            ended: None,
        });
        self.greet(call).await
    }

    /// Connects to a member before it matters: an election and what follows it then wait for no
    /// handshake. That it cannot be reached is found out when it matters.
    pub(crate) async fn warm(&self, to: MemberId) {
        for lane in [Lane::Append, Lane::Forward] {
            let _ = self.greet(self.call(to, lane)).await;
        }
    }

    async fn greet(&self, call: Result<Call, Status>) -> Result<Greeting, String> {
        let said = async {
            let call = call?;
            let claim = call.claim;
            let to = claim.to;
            let hello = frame(&Hello { node: self.0.own.clone() });
            let answer = self.0.transport.ask(call, Method::Hello, hello).await;
            if to != ANYBODY {
                self.report(&claim, answer.as_ref().err());
            }
            open(&answer.map_err(|status| self.note(to, status))?)
        };
        match timeout(HELLO_MAX, said).await {
            Ok(Ok(greeting)) => Ok(greeting),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(format!("no answer within {HELLO_MAX:?}")),
        }
    }

    /// What a member still has of a snapshot that broke off.
    pub(super) async fn held_files(&self, to: MemberId) -> Held {
        let asked = self.ask(to, Lane::Snapshot, Method::HeldFiles, Frame::default());
        match timeout(HELLO_MAX, asked).await {
            Ok(Ok(answer)) => open(&answer).unwrap_or_default(),
            _ => Held::new(),
        }
    }

    /// How fast snapshots are sent.
    pub(super) fn pace(&self) -> Pace {
        self.0.pace.clone()
    }

    /// Forwards a proposal to the leader.
    pub(crate) async fn propose(&self, to: MemberId, proposal: &Proposal) -> Attempt<Reply> {
        self.0.proposals.ask(self, &self.0.home, to, proposal.clone()).await
    }

    /// Asks the leader for a read index.
    pub(crate) async fn read_index(&self, to: MemberId) -> Attempt<u64> {
        self.0.read_indexes.ask(self, &self.0.home, to, ReadIndex).await
    }

    /// Asks a member how it is, or what it holds.
    pub(crate) async fn examine(
        &self,
        member: MemberId,
        question: &Question,
    ) -> Result<Finding, Status> {
        let asked = self.ask(member, Lane::Forward, Method::Examine, frame(question));
        open(&asked.await?)
    }

    /// Asks the leader to change the membership.
    pub(crate) async fn administer(&self, to: MemberId, what: &Administration) -> Attempt<()> {
        answered(self.ask(to, Lane::Forward, Method::Administer, frame(what)).await)
    }

    /// Asks the leader about a lease; no answer is that there is none.
    pub(crate) async fn lease(
        &self,
        to: MemberId,
        query: LeaseQuery,
    ) -> Attempt<Option<LeaseStatus>> {
        answered(self.ask(to, Lane::Forward, Method::Lease, frame(&query)).await)
    }
}

fn answered<T: serde::de::DeserializeOwned>(answer: Result<Frame, Status>) -> Attempt<T> {
    let forwarded = answer.and_then(|answer| open::<Forwarded<T>>(&answer));
    match forwarded {
        Ok(forwarded) => forwarded.into(),
        Err(status) => Attempt::Again(status.message().to_owned()),
    }
}
