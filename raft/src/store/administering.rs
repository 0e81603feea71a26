//! The membership, as operators see it and change it.

use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::timeout;

use super::{HANDOVER_MAX, Inner, Store};
use crate::{
    error::Error,
    peer::{Administration, Greeting, Standing},
    types::{Member, MemberId, Revision},
};

/// How a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who it is.
    pub member: Member,
    /// Whether it leads, as far as the member that was asked knows.
    pub leads: bool,
    /// What it says of itself, or why it does not.
    pub standing: Result<MemberStanding, String>,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStanding {
    /// Its release.
    pub release: String,
    /// The version that it speaks.
    pub version: u32,
    /// Its term.
    pub term: u64,
    /// The index of its last entry.
    pub last_index: u64,
    /// The index of the entry that it has applied last.
    pub applied_index: u64,
    /// Entries that the furthest member has and this one has not applied.
    pub lag: u64,
    /// The revision that it has applied.
    pub revision: Revision,
    /// Bytes of its tables.
    pub disk_bytes: u64,
    /// Whom it follows.
    pub leader: Option<MemberId>,
}

impl Store {
    /// All members, as this one knows them.
    pub fn members(&self) -> Vec<Member> {
        self.0.members()
    }

    /// The version that all members understand.
    pub fn cluster_version(&self) -> u32 {
        self.0.shared.applied().cluster_version
    }

    /// Why this member is none any more, if it was removed.
    pub fn expelled(&self) -> Option<String> {
        self.0.identified.expelled()
    }

    /// How all members are, asked now.
    pub async fn member_statuses(&self) -> Vec<MemberStatus> {
        let members = self.members();
        let leader = self.leadership().borrow().leader;
        let greetings = join_all(members.iter().map(|member| self.0.ask_standing(member.id)));
        let greetings = greetings.await;
        let last = greetings.iter().flatten().map(|greeting| greeting.standing.last_index).max();
        let statuses = members.into_iter().zip(greetings).map(|(member, greeting)| MemberStatus {
            leads: leader == Some(member.id),
            standing: greeting.map(|greeting| standing(greeting, last.unwrap_or(0))),
            member,
        });
        statuses.collect()
    }

    /// Who is at a peer address, and may be added: a member without a cluster, or one of this
    /// cluster.
    pub async fn member_at(&self, peer_address: &str) -> Result<Member, Error> {
        let at = |reason: String| Error::Declined { reason: format!("{peer_address}: {reason}") };
        let greeting = self.0.peers.who_is_at(peer_address).await.map_err(at)?;
        if greeting.cluster.is_some() && greeting.cluster != self.0.identified.cluster() {
            return Err(at("the member there belongs to another cluster".to_owned()));
        }
        let member = greeting.node.to_member(greeting.member, false);
        Ok(Member { peer_address: peer_address.to_owned(), ..member })
    }

    /// Adds a member as learner, or updates what is known of one. It is promoted to a voter once
    /// it has caught up and the number of voters stays odd: the second server waits for a third.
    pub async fn add_member(&self, member: Member) -> Result<(), Error> {
        self.0.administer(Administration::Add(member)).await
    }

    /// Makes a learner a voter, whatever that makes of their number; refused while it has not
    /// caught up.
    pub async fn promote_member(&self, member: MemberId) -> Result<(), Error> {
        self.0.administer(Administration::Promote(member)).await
    }

    /// Removes a member; refused when those that remain have no live majority.
    pub async fn remove_member(&self, member: MemberId) -> Result<(), Error> {
        self.0.administer(Administration::Remove(member)).await
    }

    /// Puts a learner that has caught up in the place of a member that is lost, in one step.
    pub async fn replace_member(&self, lost: MemberId, with: MemberId) -> Result<(), Error> {
        self.0.administer(Administration::Replace { lost, with }).await
    }

    /// Moves leadership to another voter.
    pub async fn transfer_leadership(&self) -> Result<(), Error> {
        self.move_leadership(None).await
    }

    /// Moves leadership to a voter: to that one, or to the one that has most of the log.
    pub async fn move_leadership(&self, to: Option<MemberId>) -> Result<(), Error> {
        let mut leadership = self.leadership();
        let known = leadership.wait_for(|now| now.leader.is_some());
        let known = timeout(HANDOVER_MAX, known).await.map_err(|_| Error::Timeout {
            waited: HANDOVER_MAX,
            last: "no leader is known".to_owned(),
        })?;
        let from = known.map_err(|_| Error::ShutDown)?.leader.unwrap_or_default();
        self.0.administer(Administration::TransferLeadership { from, to }).await
    }
}

fn standing(greeting: Greeting, last: u64) -> MemberStanding {
    let Greeting { node, standing, .. } = greeting;
    let applied_index = standing.next_index.saturating_sub(1);
    MemberStanding {
        release: standing.release,
        version: node.version,
        term: standing.term,
        last_index: standing.last_index,
        applied_index,
        lag: last.saturating_sub(applied_index),
        revision: standing.revision,
        disk_bytes: standing.disk_bytes,
        leader: standing.leader,
    }
}

impl Inner {
    async fn ask_standing(&self, member: MemberId) -> Result<Greeting, String> {
        if member == self.identified.member {
            return Ok(self.greeting());
        }
        self.peers.hello(member).await
    }

    /// What this member says when it is met.
    pub(crate) fn greeting(&self) -> Greeting {
        let applied = self.shared.applied();
        let (term, last_index) = {
            let raft = self.raft.metrics();
            let raft = raft.borrow_watched();
            (raft.current_term, raft.last_log_index.unwrap_or(0))
        };
        Greeting {
            member: self.identified.member,
            cluster: self.identified.cluster(),
            node: self.peers.own().clone(),
            standing: Standing {
                release: env!("CARGO_PKG_VERSION").to_owned(),
                term,
                last_index,
                next_index: applied.next_index,
                revision: applied.revision,
                disk_bytes: self.shared.db().disk_bytes(),
                leader: self.leadership.borrow().leader,
            },
            addresses: self.peers.addresses(),
        }
    }
}
