//! Following who leads, and whether Raft is alive at all.

use std::sync::Arc;

use futures::future::join_all;
use kontiki_base::{CancellationToken, Fence, tasks::TaskKind};
use openraft::{ServerState, async_runtime::watch::WatchReceiver, metrics::RaftServerMetrics};

use super::Inner;
use crate::{
    metrics,
    raft_types::{LogId, TypeConfig, fence_of},
    types::{Leadership, MemberId},
};

/// Raft has stopped by itself: the disk failed, or something must not be applied.
#[derive(Debug, thiserror::Error)]
#[error("raft has stopped: {0}")]
pub(super) struct Stopped(String);

/// Publishes leadership until shutdown; fails when Raft does.
///
/// Openraft's metrics of data change with every heartbeat, those of the server hardly ever: only
/// a leader that waits for its first entry looks at the former.
pub(super) async fn follow(inner: Arc<Inner>, shutdown: CancellationToken) -> Result<(), Stopped> {
    let (mut server, mut data) = (inner.raft.server_metrics(), inner.raft.data_metrics());
    loop {
        let (leads, leadership, others) = {
            let server = server.borrow_and_update();
            let mut others = Vec::new();
            for (id, node) in server.membership_config.nodes() {
                inner.peers.learn(MemberId(*id), &node.peer_address);
                others.extend((*id != server.id).then_some(MemberId(*id)));
            }
            inner.peers.know(&others);
            let leads = server.state == ServerState::Leader;
            let leadership = observe(&server, data.borrow_and_update().last_applied.as_ref());
            (leads, leadership, others)
        };
        if inner.publish_leadership(leadership) {
            inner.greet(others);
        }
        let changed = tokio::select! { biased;
            () = shutdown.cancelled() => return Ok(()),
            changed = server.changed() => changed,
            changed = data.changed(), if leads && leadership.fence.is_none() => changed,
        };
        if changed.is_err() {
            return if shutdown.is_cancelled() { Ok(()) } else { Err(Stopped(inner.end())) };
        }
    }
}

/// What Raft's metrics say about leadership. The fence is set only once an entry of the leader's
/// own term is applied here: then everything before it is applied too.
fn observe(server: &RaftServerMetrics<TypeConfig>, last_applied: Option<&LogId>) -> Leadership {
    let leader = server.current_leader.map(MemberId);
    let own = Fence { term: server.vote.leader_id.term, member: server.id };
    let leads = server.state == ServerState::Leader && leader == Some(MemberId(server.id));
    let committed = last_applied.is_some_and(|id| fence_of(id) == own);
    Leadership { leader, fence: (leads && committed).then_some(own) }
}

impl Inner {
    /// Why Raft's core has ended.
    fn end(&self) -> String {
        let raft = self.raft.metrics();
        let state = raft.borrow_watched().running_state.clone();
        state.err().map_or_else(|| "its core has ended".to_owned(), |fatal| fatal.to_string())
    }

    /// Connects to the other members, whoever will need whom next.
    fn greet(&self, others: Vec<MemberId>) {
        let (peers, shutdown) = (self.peers.clone(), self.tasks.shutdown());
        self.tasks.spawn_infallible(TaskKind::logged("greeting"), async move {
            let greetings = others.into_iter().map(|member| peers.warm(member));
            let _ = shutdown.run_until_cancelled(join_all(greetings)).await;
        });
    }

    /// `true` when it is news.
    fn publish_leadership(&self, now: Leadership) -> bool {
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
        })
    }
}
