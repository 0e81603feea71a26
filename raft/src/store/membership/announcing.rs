//! What a member says of itself to the cluster, and what the cluster says to one that is none of
//! its members any more.

use std::{sync::Arc, time::Duration};

use kontiki_base::CancellationToken;
use openraft::async_runtime::watch::WatchReceiver;

use super::Inner;
use crate::{peer::Administration, raft_types::MemberNode};

/// After the leader could not be told.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(2);

/// Tells the leader when this member's addresses are not those it is known by.
pub(super) async fn run(inner: Arc<Inner>, own: MemberNode, shutdown: CancellationToken) {
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

/// Keeps a member still that was removed: it learns that from its own state, or from whoever
/// refuses it.
pub(super) async fn follow_expulsion(inner: Arc<Inner>, shutdown: CancellationToken) {
    let own = inner.identified.member;
    let (mut expelled, mut applied) =
        (inner.identified.watch_expelled(), inner.shared.watch_removals());
    loop {
        if inner.shared.is_removed(own) {
            inner.identified.expel("it was removed from its cluster");
        }
        if expelled.borrow_and_update().is_some() {
            inner.raft.runtime_config().elect(false);
            inner.raft.runtime_config().heartbeat(false);
            return;
        }
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            changed = expelled.changed() => if changed.is_err() { return },
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}
