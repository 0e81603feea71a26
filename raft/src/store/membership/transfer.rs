//! Moving leadership on purpose.

use std::collections::BTreeSet;

use openraft::{Instant as _, RaftMetrics, ServerState, async_runtime::watch::WatchReceiver};

use super::{Attempt, Inner};
use crate::{raft_types::TypeConfig, store::HANDOVER_MAX, types::MemberId};

/// A member that acknowledged nothing for so long does not count as live.
pub(super) const LIVE_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Who takes over, or why nobody can. Pure.
fn successor(raft: &RaftMetrics<TypeConfig>, to: Option<MemberId>) -> Result<u64, String> {
    let voters: BTreeSet<u64> = raft.membership_config.voter_ids().collect();
    let live = live_members(raft);
    if let Some(to) = to {
        if !voters.contains(&to.0) {
            return Err(format!("{to} is no voter, and cannot lead"));
        }
        if !live.contains(&to.0) {
            return Err(format!("{to} does not answer, and cannot lead"));
        }
        return Ok(to.0);
    }
    let progress = raft.replication.iter().flatten();
    progress
        .filter(|(id, _)| **id != raft.id && voters.contains(id) && live.contains(id))
        .max_by_key(|(_, matched)| matched.as_ref().map(|log_id| log_id.index))
        .map(|(id, _)| *id)
        .ok_or_else(|| "there is no other live voter".to_owned())
}

impl Inner {
    /// Moves leadership to that voter, or to the one that has most of the log.
    pub(in crate::store) async fn transfer(&self, to: Option<MemberId>) -> Attempt<()> {
        let own = self.identified.member;
        if to == Some(own) {
            return Attempt::Done(());
        }
        // A new leader has heard from nobody yet.
        let known = |raft: &RaftMetrics<TypeConfig>| {
            raft.state != ServerState::Leader || successor(raft, to).is_ok()
        };
        let _ = self.raft.wait(Some(LIVE_WITHIN)).metrics(known, "a live voter").await;
        let successor = {
            let raft = self.raft.metrics();
            let raft = raft.borrow_watched();
            if raft.state != ServerState::Leader {
                return Attempt::Again(format!("{own} leads no more"));
            }
            successor(&raft, to)
        };
        let successor = match successor {
            Ok(successor) => successor,
            Err(reason) => return Attempt::Refused(reason),
        };
        let mut leadership = self.leadership.subscribe();
        if self.raft.trigger().transfer_leader(successor).await.is_err() {
            return Attempt::Stopped;
        }
        let moved = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != own));
        match tokio::time::timeout(HANDOVER_MAX, moved).await {
            Ok(Ok(_)) => Attempt::Done(()),
            Ok(Err(_)) => Attempt::Stopped,
            Err(_) => Attempt::Again(format!("{} has not taken over", MemberId(successor))),
        }
    }

    /// Gives leadership away before this member stops.
    pub(in crate::store) async fn hand_over(&self) {
        let own = self.identified.member;
        let leads = self.leadership.borrow().leader == Some(own);
        if leads && self.members().iter().any(|member| member.voter && member.id != own) {
            match self.transfer(None).await {
                Attempt::Done(()) => tracing::info!("handed leadership over"),
                outcome => tracing::info!(?outcome, "could not hand leadership over"),
            }
        }
    }
}

/// Members that acknowledged something lately, as the leader sees it; itself among them.
pub(super) fn live_members(raft: &RaftMetrics<TypeConfig>) -> BTreeSet<u64> {
    let acknowledged = raft
        .heartbeat
        .iter()
        .flatten()
        .filter(|(_, at)| at.as_ref().is_some_and(|at| at.elapsed() < LIVE_WITHIN));
    acknowledged.map(|(id, _)| *id).chain([raft.id]).collect()
}
