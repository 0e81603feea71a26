//! Who belongs to the cluster, and who votes.
//!
//! A member joins as a learner. The leader promotes learners that have caught up, as many at once
//! as keep the number of voters odd: two voters tolerate no more failures than one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kontiki_base::CancellationToken;
use openraft::{
    ChangeMembers, Instant as _, RaftMetrics, ServerState, async_runtime::watch::WatchReceiver,
    errors::RaftError,
};
use tokio::time::{Instant, sleep_until};

use super::{Attempt, Inner};
use crate::{
    error::Error,
    failpoints::{Step, pass},
    peer::Administration,
    raft_types::{MemberNode, TypeConfig, members_of},
    types::{Member, MemberId},
};

/// How long a change of the membership is tried.
const CHANGE_MAX: Duration = Duration::from_secs(10);
/// A learner this close to the end of the log has caught up.
const PROMOTION_LAG_MAX: u64 = 1_000;
/// Between looks at how far learners are, and after a failed promotion.
const PROMOTION_PAUSE: Duration = Duration::from_millis(100);
/// After the leader could not be told a new address.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(2);
/// How long a change waits for the one before it.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// A member that acknowledged nothing for so long does not count as live.
const LIVE_WITHIN: Duration = Duration::from_secs(1);

type Nodes = BTreeMap<u64, MemberNode>;
type Change = ChangeMembers<u64, MemberNode>;

/// Which learners become voters now. Pure.
fn promotions(
    voters: &BTreeSet<u64>,
    learners: &BTreeMap<u64, Option<u64>>,
    last_index: u64,
) -> BTreeSet<u64> {
    let ready: Vec<u64> = learners
        .iter()
        .filter(|(_, matched)| {
            matched.is_some_and(|matched| matched + PROMOTION_LAG_MAX >= last_index)
        })
        .map(|(id, _)| *id)
        .collect();
    let surplus = usize::from((voters.len() + ready.len()).is_multiple_of(2));
    ready[..ready.len().saturating_sub(surplus)].iter().copied().collect()
}

/// What the leader sees of the membership.
struct Observed {
    leads: bool,
    /// A change is half done, or not committed.
    changing: bool,
    joint: bool,
    voters: BTreeSet<u64>,
    learners: BTreeMap<u64, Option<u64>>,
    last_index: u64,
}

fn observe(raft: &RaftMetrics<TypeConfig>) -> Observed {
    let membership = raft.membership_config.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let matched = |id: u64| {
        let progress = raft.replication.as_ref()?.get(&id)?.as_ref()?;
        Some(progress.index)
    };
    Observed {
        leads: raft.state == ServerState::Leader,
        changing: raft.membership_config.log_id() != raft.committed_membership_config.log_id(),
        joint: membership.get_joint_config().len() > 1,
        learners: membership.learner_ids().map(|id| (id, matched(id))).collect(),
        voters,
        last_index: raft.last_log_index.unwrap_or(0),
    }
}

/// What the leader should change on its own. Pure.
fn plan(observed: &Observed) -> Option<Change> {
    if !observed.leads || observed.changing {
        return None;
    }
    if observed.joint {
        // A former leader stopped between the two steps of a change.
        return Some(ChangeMembers::AddVoterIds(BTreeSet::new()));
    }
    let promoted = promotions(&observed.voters, &observed.learners, observed.last_index);
    (!promoted.is_empty()).then_some(ChangeMembers::AddVoterIds(promoted))
}

/// Promotes learners while this member leads.
pub(super) async fn supervise(inner: Arc<Inner>, shutdown: CancellationToken) {
    let raft = inner.raft.metrics();
    let (mut server, mut data) = (inner.raft.server_metrics(), inner.raft.data_metrics());
    let mut not_before = Instant::now();
    loop {
        server.borrow_and_update();
        data.borrow_and_update();
        let observed = observe(&raft.borrow_watched());
        let change = plan(&observed);
        if let Some(change) = change {
            sleep_until(not_before).await;
            // The same decision is taken again if it is out of date by now.
            let change = plan(&observe(&raft.borrow_watched())).filter(|now| *now == change);
            if let Some(change) = change {
                tracing::info!(%change, "changing who votes");
                let outcome = inner.change(change, true).await;
                if !matches!(outcome, Attempt::Done(())) {
                    tracing::info!(?outcome, "who votes has not changed");
                }
                not_before = Instant::now() + PROMOTION_PAUSE;
            }
        }
        // How far learners are changes with every heartbeat; nothing else does.
        let waits = observed.leads && !observed.learners.is_empty();
        let progress = async {
            tokio::time::sleep(PROMOTION_PAUSE).await;
            data.changed().await
        };
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            changed = server.changed() => if changed.is_err() { return },
            changed = progress, if waits => if changed.is_err() { return },
        }
    }
}

/// Tells the leader when this member's addresses are not those it is known by.
pub(super) async fn announce(inner: Arc<Inner>, own: MemberNode, shutdown: CancellationToken) {
    let mut server = inner.raft.server_metrics();
    loop {
        let known = server
            .borrow_and_update()
            .membership_config
            .get_node(&inner.identified.member.0)
            .map(|known| *known == own);
        if known == Some(true) {
            return;
        }
        if known == Some(false) {
            let member = own.to_member(inner.identified.member, false);
            let told = tokio::select! { biased;
                () = shutdown.cancelled() => return,
                told = inner.administer(Administration::Add(member)) => told,
            };
            if let Err(error) = told {
                tracing::info!("the cluster has not learned this member's addresses: {error}");
                tokio::select! { biased;
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(ANNOUNCE_PAUSE) => {}
                }
            }
        }
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            changed = server.changed() => if changed.is_err() { return },
        }
    }
}

impl Inner {
    /// The members, from the replicated membership.
    pub(crate) fn members(&self) -> Vec<Member> {
        let membership = self.raft.metrics().borrow_watched().membership_config.clone();
        members_of(membership.membership())
    }

    /// Whether the replicated membership has this member.
    pub(crate) fn is_member(&self, member: MemberId) -> bool {
        let membership = self.raft.metrics().borrow_watched().membership_config.clone();
        membership.get_node(&member.0).is_some()
    }

    /// Has the leader change the membership.
    pub(super) async fn administer(&self, what: Administration) -> Result<(), Error> {
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
            // Asked again after the move, the successor must not pass it on.
            Administration::TransferLeadership(from) if *from != self.identified.member => {
                Attempt::Done(())
            }
            Administration::TransferLeadership(_) => self.transfer().await,
        }
    }

    async fn add(&self, member: &Member) -> Attempt<()> {
        let node = MemberNode::of(member);
        let known = self.raft.metrics().borrow_watched().membership_config.clone();
        let nodes = Nodes::from([(member.id.0, node.clone())]);
        let change = match known.get_node(&member.id.0) {
            Some(known) if *known == node => return Attempt::Done(()),
            Some(_) => ChangeMembers::SetNodes(nodes),
            None => ChangeMembers::AddNodes(nodes),
        };
        // Found out before it counts: a folder of another cluster, a wrong address.
        self.peers.learn(member.id, &member.peer_address);
        if member.id != self.identified.member
            && let Err(reason) = self.peers.hello(member.id).await
        {
            let at = &member.peer_address;
            return Attempt::Refused(format!("member {} at {at}: {reason}", member.id));
        }
        tracing::info!(%change, "changing the members");
        self.change(change, true).await
    }

    /// Changes the membership once the last change is committed.
    async fn change(&self, change: Change, keep_removed_as_learners: bool) -> Attempt<()> {
        let _turn = self.membership.lock().await;
        let settled = |raft: &RaftMetrics<TypeConfig>| {
            raft.state != ServerState::Leader
                || raft.membership_config.log_id() == raft.committed_membership_config.log_id()
        };
        let waited = self.raft.wait(Some(SETTLED_WITHIN)).metrics(settled, "membership").await;
        if let Err(error) = waited {
            return Attempt::Again(format!("the last change is not committed: {error}"));
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

    async fn remove(&self, member: MemberId) -> Attempt<()> {
        let (known, live) = {
            let raft = self.raft.metrics();
            let raft = raft.borrow_watched();
            (raft.membership_config.clone(), live_members(&raft))
        };
        if known.get_node(&member.0).is_none() {
            return Attempt::Done(());
        }
        let voters: BTreeSet<u64> = known.voter_ids().collect();
        let gone = BTreeSet::from([member.0]);
        if !voters.contains(&member.0) {
            let change = ChangeMembers::RemoveNodes(gone);
            return self.change(change, false).await;
        }
        let remaining: BTreeSet<u64> = voters.difference(&gone).copied().collect();
        let living = remaining.intersection(&live).count();
        if living * 2 <= remaining.len() {
            return Attempt::Refused(format!(
                "without {member}, {living} of {} voters would be live, which is no majority",
                remaining.len()
            ));
        }
        tracing::info!(%member, "removing a voter");
        let change = ChangeMembers::RemoveVoters(gone);
        self.change(change, false).await
    }

    /// Moves leadership to the voter that has most of the log.
    async fn transfer(&self) -> Attempt<()> {
        let own = self.identified.member;
        let successor = {
            let raft = self.raft.metrics();
            let raft = raft.borrow_watched();
            if raft.state != ServerState::Leader {
                return Attempt::Again(format!("{own} leads no more"));
            }
            let voters: BTreeSet<u64> = raft.membership_config.voter_ids().collect();
            let live = live_members(&raft);
            let progress = raft.replication.iter().flatten();
            progress
                .filter(|(id, _)| **id != raft.id && voters.contains(id) && live.contains(id))
                .max_by_key(|(_, matched)| matched.as_ref().map(|log_id| log_id.index))
                .map(|(id, _)| *id)
        };
        let Some(successor) = successor else {
            return Attempt::Refused("there is no other live voter".to_owned());
        };
        let mut leadership = self.leadership.subscribe();
        if self.raft.trigger().transfer_leader(successor).await.is_err() {
            return Attempt::Stopped;
        }
        let moved = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != own));
        match tokio::time::timeout(super::HANDOVER_MAX, moved).await {
            Ok(Ok(_)) => Attempt::Done(()),
            Ok(Err(_)) => Attempt::Stopped,
            Err(_) => Attempt::Again(format!("{} has not taken over", MemberId(successor))),
        }
    }

    /// Gives leadership away before this member stops.
    pub(super) async fn hand_over(&self) {
        let own = self.identified.member;
        let leads = self.leadership.borrow().leader == Some(own);
        if leads && self.members().iter().any(|member| member.voter && member.id != own) {
            match self.transfer().await {
                Attempt::Done(()) => tracing::info!("handed leadership over"),
                outcome => tracing::info!(?outcome, "could not hand leadership over"),
            }
        }
    }
}

/// Members that acknowledged something lately, as the leader sees it; itself among them.
fn live_members(raft: &RaftMetrics<TypeConfig>) -> BTreeSet<u64> {
    let acknowledged = raft
        .heartbeat
        .iter()
        .flatten()
        .filter(|(_, at)| at.as_ref().is_some_and(|at| at.elapsed() < LIVE_WITHIN));
    acknowledged.map(|(id, _)| *id).chain([raft.id]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(voters: &[u64], learners: &[(u64, u64)], expected: &[u64]) {
        let voters = voters.iter().copied().collect();
        let learners = learners.iter().map(|(id, matched)| (*id, Some(*matched))).collect();
        let promoted: Vec<u64> = promotions(&voters, &learners, 10_000).into_iter().collect();
        assert_eq!(promoted, expected, "voters {voters:?} learners {learners:?}");
    }

    #[test]
    fn the_number_of_voters_stays_odd() {
        check(&[1], &[(2, 10_000)], &[]);
        check(&[1], &[(2, 10_000), (3, 9_500)], &[2, 3]);
        check(&[1], &[(2, 10_000), (3, 10)], &[]);
        check(&[1, 2, 3], &[(4, 10_000)], &[]);
        check(&[1, 2], &[(4, 10_000)], &[4]);
        check(&[1, 2], &[(4, 10_000), (5, 10_000)], &[4]);
        check(&[1, 2, 3], &[(4, 10_000), (5, 10_000)], &[4, 5]);
        check(&[1, 2], &[], &[]);
    }
}
