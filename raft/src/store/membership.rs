//! Who belongs to the cluster, and who votes.
//!
//! A member joins as a learner. The leader promotes learners that have caught up, as many at once
//! as keep the number of voters odd: two voters tolerate no more failures than one.

mod announcing;
mod changing;
mod transfer;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kontiki_base::{
    CancellationToken,
    tasks::{TaskKind, Tasks},
};
use openraft::{ChangeMembers, RaftMetrics, ServerState, async_runtime::watch::WatchReceiver};
use tokio::time::{Instant, sleep_until};

use super::{Attempt, Inner, discovery, versions};
use crate::{
    metrics,
    options::Tuning,
    raft_types::{MemberNode, TypeConfig},
    types::MemberId,
};

/// A learner this close to the end of the log has caught up.
const PROMOTION_LAG_MAX: u64 = 1_000;
/// Between looks at how far learners are, and after a failed promotion.
const PROMOTION_PAUSE: Duration = Duration::from_millis(100);

type Change = ChangeMembers<u64, MemberNode>;

/// Starts what a member does for the membership by itself.
pub(super) fn start(inner: &Arc<Inner>, own: MemberNode, tuning: Tuning, tasks: &Tasks) {
    tasks.spawn_infallible(
        TaskKind::vital("membership"),
        supervise(inner.clone(), tasks.shutdown()),
    );
    tasks.spawn_infallible(
        TaskKind::logged("announcement"),
        announcing::run(inner.clone(), own, tasks.shutdown()),
    );
    tasks.spawn_infallible(
        TaskKind::vital("expulsion"),
        announcing::follow_expulsion(inner.clone(), tasks.shutdown()),
    );
    tasks.spawn_infallible(
        TaskKind::logged("discovery"),
        discovery::run(inner.clone(), tuning.peers, tasks.shutdown()),
    );
    tasks.spawn_infallible(
        TaskKind::vital("cluster version"),
        versions::run(inner.clone(), tuning.cluster_version_max, tasks.shutdown()),
    );
}

/// Which learners become voters now. Pure.
fn promotions(
    voters: &BTreeSet<u64>,
    learners: &BTreeMap<u64, Option<u64>>,
    last_index: u64,
) -> BTreeSet<u64> {
    let ready: Vec<u64> = learners
        .iter()
        .filter(|(_, matched)| has_caught_up(**matched, last_index))
        .map(|(id, _)| *id)
        .collect();
    let surplus = usize::from((voters.len() + ready.len()).is_multiple_of(2));
    ready[..ready.len().saturating_sub(surplus)].iter().copied().collect()
}

fn has_caught_up(matched: Option<u64>, last_index: u64) -> bool {
    matched.is_some_and(|matched| matched + PROMOTION_LAG_MAX >= last_index)
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

/// Counts the members, and says once per change that an even number of voters is unwise.
fn report(observed: &Observed, voters_before: usize) {
    let voters = observed.voters.len();
    let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let metrics = &metrics::store().members;
    metrics.voters.set(gauge(voters));
    metrics.learners.set(gauge(observed.learners.len()));
    metrics.voters_even.set(i64::from(is_unwise(voters)));
    if observed.leads && voters != voters_before && is_unwise(voters) {
        tracing::warn!(
            voters,
            "an even number of members votes: it survives no more failures than one fewer would"
        );
    }
}

fn is_unwise(voters: usize) -> bool {
    voters > 0 && voters.is_multiple_of(2)
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

/// Who is promoted by a change that [`plan`] makes, for people.
fn promoted(change: &Change) -> String {
    let ChangeMembers::AddVoterIds(ids) = change else { return String::new() };
    let ids: Vec<String> = ids.iter().map(|id| MemberId(*id).to_string()).collect();
    ids.join(", ")
}

/// Promotes learners while this member leads.
async fn supervise(inner: Arc<Inner>, shutdown: CancellationToken) {
    let raft = inner.raft.metrics();
    let mut voters = 0;
    let (mut server, mut data) = (inner.raft.server_metrics(), inner.raft.data_metrics());
    let mut not_before = Instant::now();
    loop {
        server.borrow_and_update();
        data.borrow_and_update();
        let observed = observe(&raft.borrow_watched());
        if !observed.changing && !observed.joint {
            report(&observed, std::mem::replace(&mut voters, observed.voters.len()));
        }
        let change = plan(&observed);
        if let Some(change) = change {
            let changing = async {
                sleep_until(not_before).await;
                // Behind whatever is under way, and only if it is still the right thing then.
                let turn = inner.membership.lock().await;
                let now = plan(&observe(&raft.borrow_watched())).filter(|now| *now == change)?;
                tracing::info!(promoted = promoted(&now), "changing who votes");
                Some(inner.change_in_turn(&turn, now, true).await)
            };
            let outcome = tokio::select! { biased;
                () = shutdown.cancelled() => return,
                outcome = changing => outcome,
            };
            if let Some(outcome) = outcome.filter(|outcome| !matches!(outcome, Attempt::Done(()))) {
                tracing::info!(?outcome, "who votes has not changed");
            }
            not_before = Instant::now() + PROMOTION_PAUSE;
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
