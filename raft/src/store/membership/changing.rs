//! Changes of the membership that somebody asked for, on the member that leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use openraft::{
    ChangeMembers, RaftMetrics, ServerState, async_runtime::watch::WatchReceiver, errors::RaftError,
};

use super::{
    Attempt, Change, Inner, has_caught_up, observe,
    transfer::{LIVE_WITHIN, live_members},
};
use crate::{
    error::Error,
    failpoints::{Step, pass},
    peer::Administration,
    raft_types::{MemberNode, StoredMembership, TypeConfig, members_of},
    types::{Member, MemberId},
};

/// How long a change of the membership is tried.
const CHANGE_MAX: Duration = Duration::from_secs(10);
/// How long a change waits for the one before it.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

impl Inner {
    /// The members, from the replicated membership.
    pub(crate) fn members(&self) -> Vec<Member> {
        members_of(self.membership_known().membership())
    }

    /// Whether the replicated membership has this member.
    pub(crate) fn is_member(&self, member: MemberId) -> bool {
        self.membership_known().get_node(&member.0).is_some()
    }

    fn membership_known(&self) -> std::sync::Arc<StoredMembership> {
        self.raft.metrics().borrow_watched().membership_config.clone()
    }

    /// Has the leader change the membership.
    pub(in crate::store) async fn administer(&self, what: Administration) -> Result<(), Error> {
        let what = &what;
        self.ask_leader(CHANGE_MAX, |leader| async move {
            if leader == self.identified.member {
                self.administer_here(what).await
            } else {
                self.peers.administer(leader, what).await
            }
        })
        .await
    }

    /// Changes the membership on this member, which should be leading.
    pub(crate) async fn administer_here(&self, what: &Administration) -> Attempt<()> {
        match what {
            Administration::Add(member) => self.add(member).await,
            Administration::Remove(member) => self.remove(*member).await,
            Administration::Promote(member) => self.promote(*member).await,
            Administration::Replace { lost, with } => self.replace(*lost, *with).await,
            // Asked again after the move, the successor must not pass it on.
            Administration::TransferLeadership { from, .. } if *from != self.identified.member => {
                Attempt::Done(())
            }
            Administration::TransferLeadership { to, .. } => self.transfer(*to).await,
        }
    }

    async fn add(&self, member: &Member) -> Attempt<()> {
        if self.shared.is_removed(member.id) {
            return Attempt::Refused(format!(
                "member {} was removed, and an id never comes back: start it with an empty folder",
                member.id
            ));
        }
        // Found out before it counts: a folder of another cluster, a wrong address.
        let version = if member.id == self.identified.member {
            self.identified.version
        } else {
            self.peers.meet(member.id, &member.peer_address);
            match self.peers.hello(member.id).await {
                Ok(greeting) => greeting.node.version,
                Err(reason) => {
                    let at = &member.peer_address;
                    return Attempt::Refused(format!("member {} at {at}: {reason}", member.id));
                }
            }
        };
        let node = MemberNode::of(member, version);
        let nodes = BTreeMap::from([(member.id.0, node.clone())]);
        let Member { id, name, peer_address, .. } = member;
        let change = match self.membership_known().get_node(&id.0) {
            Some(known) if *known == node => return Attempt::Done(()),
            Some(_) => {
                tracing::info!(member = %id, name, peer_address, "a member has changed");
                ChangeMembers::SetNodes(nodes)
            }
            None => {
                tracing::info!(member = %id, name, peer_address, "adding a member as learner");
                ChangeMembers::AddNodes(nodes)
            }
        };
        self.change(change, true).await
    }

    /// Changes the membership once the last change is committed.
    pub(super) async fn change(
        &self,
        change: Change,
        keep_removed_as_learners: bool,
    ) -> Attempt<()> {
        let turn = self.membership.lock().await;
        self.change_in_turn(&turn, change, keep_removed_as_learners).await
    }

    /// Changes the membership in its turn.
    pub(super) async fn change_in_turn(
        &self,
        _turn: &tokio::sync::MutexGuard<'_, ()>,
        change: Change,
        keep_removed_as_learners: bool,
    ) -> Attempt<()> {
        let settled = |raft: &RaftMetrics<TypeConfig>| {
            raft.state != ServerState::Leader
                || raft.membership_config.log_id() == raft.committed_membership_config.log_id()
        };
        let waited = self.raft.wait(Some(SETTLED_WITHIN)).metrics(settled, "membership").await;
        let now = match waited {
            Ok(raft) => observe(&raft),
            Err(error) => {
                return Attempt::Again(format!("the last change is not committed: {error}"));
            }
        };
        // The change before may have removed this member, or been what this one was to finish.
        if !now.leads || !now.voters.contains(&self.identified.member.0) {
            return Attempt::Again("this member leads no more".to_owned());
        }
        if !now.joint && change == ChangeMembers::AddVoterIds(BTreeSet::new()) {
            return Attempt::Done(());
        }
        if let Err(error) = pass(Step::MembershipChange) {
            return Attempt::Again(error.to_string());
        }
        let changed = self.raft.change_membership(change, keep_removed_as_learners).await;
        if let Err(error) = pass(Step::MembershipChanged) {
            return Attempt::Again(error.to_string());
        }
        match changed {
            Ok(_) => Attempt::Done(()),
            Err(RaftError::APIError(error)) => Attempt::Again(error.to_string()),
            Err(RaftError::Fatal(_)) => Attempt::Stopped,
        }
    }

    async fn promote(&self, member: MemberId) -> Attempt<()> {
        let observed = observe(&self.raft.metrics().borrow_watched());
        if observed.voters.contains(&member.0) {
            return Attempt::Done(());
        }
        match observed.learners.get(&member.0) {
            None => Attempt::Refused(format!("{member} is no member")),
            Some(matched) if !has_caught_up(*matched, observed.last_index) => {
                Attempt::Refused(not_caught_up(member))
            }
            Some(_) => {
                tracing::info!(%member, "promoting a learner, as asked");
                let change = ChangeMembers::AddVoterIds(BTreeSet::from([member.0]));
                self.change(change, true).await
            }
        }
    }

    async fn remove(&self, member: MemberId) -> Attempt<()> {
        let known = self.membership_known();
        if known.get_node(&member.0).is_none() {
            return Attempt::Done(());
        }
        let voters: BTreeSet<u64> = known.voter_ids().collect();
        let gone = BTreeSet::from([member.0]);
        if !voters.contains(&member.0) {
            let change = ChangeMembers::RemoveNodes(gone);
            return self.change(change, false).await;
        }
        if let Err(attempt) = self.may_remain(member, &(&voters - &gone)).await {
            return attempt;
        }
        tracing::info!(%member, "removing a voter");
        let change = ChangeMembers::RemoveVoters(gone);
        self.change(change, false).await
    }

    async fn replace(&self, lost: MemberId, with: MemberId) -> Attempt<()> {
        let observed = observe(&self.raft.metrics().borrow_watched());
        if !self.is_member(lost) {
            return Attempt::Done(());
        }
        if !observed.voters.contains(&lost.0) {
            return Attempt::Refused(format!("{lost} does not vote: just remove it"));
        }
        match observed.learners.get(&with.0) {
            None => return Attempt::Refused(format!("{with} is no learner of this cluster")),
            Some(matched) if !has_caught_up(*matched, observed.last_index) => {
                return Attempt::Refused(not_caught_up(with));
            }
            Some(_) => {}
        }
        let (goes, comes) = (BTreeSet::from([lost.0]), BTreeSet::from([with.0]));
        let after = &(&observed.voters - &goes) | &comes;
        if let Err(attempt) = self.may_remain(lost, &after).await {
            return attempt;
        }
        tracing::info!(%lost, %with, "replacing a voter");
        let steps = vec![ChangeMembers::AddVoterIds(comes), ChangeMembers::RemoveVoters(goes)];
        self.change(ChangeMembers::Batch(steps), false).await
    }

    /// Whether those voters can go on without a member. A leader that goes hands over first.
    async fn may_remain(
        &self,
        without: MemberId,
        voters: &BTreeSet<u64>,
    ) -> Result<(), Attempt<()>> {
        if voters.is_empty() {
            let reason = format!("{without} is the only voter: there would be no cluster");
            return Err(Attempt::Refused(reason));
        }
        let living =
            |raft: &RaftMetrics<TypeConfig>| voters.intersection(&live_members(raft)).count();
        let majority = |raft: &RaftMetrics<TypeConfig>| living(raft) * 2 > voters.len();
        // A new leader has heard from nobody yet.
        if self.raft.wait(Some(LIVE_WITHIN)).metrics(majority, "live voters").await.is_err() {
            let living = living(&self.raft.metrics().borrow_watched());
            return Err(Attempt::Refused(format!(
                "without {without}, {living} of {} voters would be live, which is no majority",
                voters.len()
            )));
        }
        if without != self.identified.member {
            return Ok(());
        }
        Err(match self.transfer(None).await {
            Attempt::Done(()) => Attempt::Again(format!("{without} hands leadership over first")),
            other => other,
        })
    }
}

fn not_caught_up(member: MemberId) -> String {
    format!("{member} has not caught up with the log yet")
}
