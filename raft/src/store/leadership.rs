//! Following who leads, and whether Raft is alive at all.

use std::sync::Arc;

use kontiki_base::{CancellationToken, Fence};
use openraft::{RaftMetrics, ServerState, async_runtime::watch::WatchReceiver};

use super::Inner;
use crate::{
    metrics,
    raft_types::{TypeConfig, fence_of},
    types::{Leadership, MemberId},
};

/// Raft has stopped by itself: the disk failed, or something must not be applied.
#[derive(Debug, thiserror::Error)]
#[error("raft has stopped: {0}")]
pub(super) struct Stopped(String);

/// Publishes leadership until shutdown; fails when Raft does.
pub(super) async fn follow(inner: Arc<Inner>, shutdown: CancellationToken) -> Result<(), Stopped> {
    let mut raft = inner.raft.metrics();
    loop {
        let leadership = {
            let metrics = raft.borrow_watched();
            if let Err(fatal) = &metrics.running_state {
                if shutdown.is_cancelled() {
                    return Ok(());
                }
                return Err(Stopped(fatal.to_string()));
            }
            for (id, node) in metrics.membership_config.nodes() {
                inner.peers.learn(MemberId(*id), &node.peer_address);
            }
            observe(&metrics)
        };
        inner.publish_leadership(leadership);
        tokio::select! { biased;
            () = shutdown.cancelled() => return Ok(()),
            changed = raft.changed() => {
                if changed.is_err() {
                    return if shutdown.is_cancelled() { Ok(()) } else {
                        Err(Stopped("its core has ended".to_owned()))
                    };
                }
            }
        }
    }
}

/// What Raft's metrics say about leadership. The fence is set only once an entry of the leader's
/// own term is applied here: then everything before it is applied too.
fn observe(raft: &RaftMetrics<TypeConfig>) -> Leadership {
    let gauge = |log_id: &Option<crate::raft_types::LogId>| {
        log_id.as_ref().map_or(0, |id| i64::try_from(id.index).unwrap_or(i64::MAX))
    };
    metrics::store().proposals_committed.set(gauge(&raft.cluster_committed));
    let leader = raft.current_leader.map(MemberId);
    let own = Fence { term: raft.current_term, member: raft.id };
    let leads = raft.state == ServerState::Leader && leader == Some(MemberId(raft.id));
    let committed = raft.last_applied.as_ref().is_some_and(|id| fence_of(id) == own);
    Leadership { leader, fence: (leads && committed).then_some(own) }
}

impl Inner {
    fn publish_leadership(&self, now: Leadership) {
        self.leadership.send_if_modified(|before| {
            if *before == now {
                return false;
            }
            let metrics = metrics::store();
            if now.leader.is_some() && before.leader != now.leader {
                metrics.leader_changes.inc();
                let leader = now.leader.unwrap_or_default();
                tracing::info!(member = %self.identified.member, %leader, "the leader is known");
            }
            metrics.has_leader.set(i64::from(now.leader.is_some()));
            metrics.is_leader.set(i64::from(now.fence.is_some()));
            *before = now;
            true
        });
    }
}
