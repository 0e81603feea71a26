//! The version of the cluster: what all of its members understand.
//!
//! Each member says which version it speaks; the leader raises the cluster's when all of them
//! speak more, and never lowers it. An operator can hold it back, so that members can still go
//! back to their old release.

use std::sync::Arc;

use kontiki_base::CancellationToken;
use openraft::{ServerState, async_runtime::watch::WatchReceiver};

use super::Inner;
use crate::{command::Command, raft_types::MemberNode};

/// The version to raise the cluster to. Pure.
fn plan<'a>(
    nodes: impl Iterator<Item = &'a MemberNode>,
    present: u32,
    most: Option<u32>,
) -> Option<u32> {
    let common = nodes.map(|node| node.version).min()?;
    let wanted = most.map_or(common, |most| common.min(most));
    (wanted > present).then_some(wanted)
}

/// Raises the cluster's version while this member leads.
pub(super) async fn run(inner: Arc<Inner>, most: Option<u32>, shutdown: CancellationToken) {
    let mut server = inner.raft.server_metrics();
    loop {
        let wanted = {
            let server = server.borrow_and_update();
            let present = inner.shared.applied().cluster_version;
            let nodes = server.membership_config.nodes().map(|(_, node)| node);
            let leads = server.state == ServerState::Leader;
            plan(nodes, present, most).filter(|_| leads)
        };
        if let Some(version) = wanted {
            let raised = tokio::select! { biased;
                () = shutdown.cancelled() => return,
                raised = inner.propose(Command::SetClusterVersion { version }) => raised,
            };
            match raised {
                Ok(_) => tracing::info!(version, "all members speak it: the cluster does, too"),
                Err(error) => tracing::info!(version, "the cluster's version stays: {error}"),
            }
        }
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            changed = server.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_rises_when_all_speak_it_and_is_held_back() {
        let check = |versions: &[u32], present, most| {
            let nodes: Vec<MemberNode> = versions
                .iter()
                .map(|version| MemberNode { version: *version, ..MemberNode::default() })
                .collect();
            plan(nodes.iter(), present, most)
        };
        assert_eq!(check(&[2, 2, 2], 1, None), Some(2));
        assert_eq!(check(&[2, 1, 2], 1, None), None);
        assert_eq!(check(&[2, 2, 2], 1, Some(1)), None);
        assert_eq!(check(&[2, 2, 2], 2, None), None);
        // A member that has not said what it speaks holds all others back.
        assert_eq!(check(&[2, 0], 1, None), None);
        // It never falls.
        assert_eq!(check(&[1, 1], 2, None), None);
    }
}
