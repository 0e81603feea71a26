//! Dialling: who is where, and what this member asks the others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kontiki_base::tasks::Tasks;
use parking_lot::Mutex;
use tokio::{runtime::Handle, time::timeout};
use tonic::Status;

use super::{
    Administration, Forwarded, LeaseQuery,
    forward::{Home, Lines, ReadIndex},
    frame,
    handshake::Claim,
    open,
    proto::Frame,
    transport::{Call, Lane, Method, Transport},
};
use crate::{
    command::{Proposal, Reply},
    failpoints::{Step, pass},
    store::{Attempt, Identified, PROTOCOL_VERSION},
    types::{LeaseStatus, MemberId},
};

/// A member that is to be added is up.
const HELLO_MAX: Duration = Duration::from_secs(2);
/// Heartbeats in a row that a member may miss before it is called lost: a second's worth.
const MISSED_MAX: u32 = 10;

/// Connections to the other members. Clones share them.
#[derive(Clone)]
pub(crate) struct Peers(Arc<Inner>);

struct Inner {
    identified: Arc<Identified>,
    transport: Arc<dyn Transport>,
    addresses: Mutex<HashMap<MemberId, String>>,
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
        transport: Arc<dyn Transport>,
        tasks: &Tasks,
    ) -> Peers {
        Peers(Arc::new(Inner {
            identified,
            transport,
            addresses: Mutex::default(),
            missed: Mutex::default(),
            home: Home { tasks: tasks.clone(), runtime: Handle::current() },
            proposals: Lines::default(),
            read_indexes: Lines::default(),
        }))
    }

    /// Learns where members are dialled; connections to old addresses are dropped when used next.
    pub(crate) fn learn(&self, member: MemberId, address: &str) {
        let mut addresses = self.0.addresses.lock();
        if addresses.get(&member).is_none_or(|known| known != address) {
            addresses.insert(member, address.to_owned());
        }
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

    /// A call to a member, with this member's claim.
    pub(super) fn call(&self, to: MemberId, lane: Lane) -> Result<Call, Status> {
        pass(Step::PeerCall).map_err(|error| Status::unavailable(error.to_string()))?;
        let address = self.0.addresses.lock().get(&to).cloned();
        let address = address
            .ok_or_else(|| Status::unavailable(format!("the address of {to} is not known")))?;
        let cluster = self.0.identified.cluster().ok_or_else(|| {
            Status::failed_precondition("this member has not been added to a cluster yet")
        })?;
        let from = self.0.identified.member;
        let claim = Claim { protocol: PROTOCOL_VERSION, cluster, from, to };
        Ok(Call { address, lane, claim })
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
        self.0.transport.ask(call, method, question).await
    }

    /// Makes sure that a member is at its address, and may be of this cluster.
    pub(crate) async fn hello(&self, to: MemberId) -> Result<(), String> {
        self.hello_on(to, Lane::Forward).await
    }

    /// Connects to a member before it matters: an election and what follows it then wait for no
    /// handshake. That it cannot be reached is found out when it matters.
    pub(crate) async fn warm(&self, to: MemberId) {
        for lane in [Lane::Append, Lane::Forward] {
            let _ = self.hello_on(to, lane).await;
        }
    }

    async fn hello_on(&self, to: MemberId, lane: Lane) -> Result<(), String> {
        let said = self.ask(to, lane, Method::Hello, Frame::default());
        match timeout(HELLO_MAX, said).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(format!("no answer within {HELLO_MAX:?}")),
        }
    }

    /// Forwards a proposal to the leader.
    pub(crate) async fn propose(&self, to: MemberId, proposal: &Proposal) -> Attempt<Reply> {
        self.0.proposals.ask(self, &self.0.home, to, proposal.clone()).await
    }

    /// Asks the leader for a read index.
    pub(crate) async fn read_index(&self, to: MemberId) -> Attempt<u64> {
        self.0.read_indexes.ask(self, &self.0.home, to, ReadIndex).await
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
