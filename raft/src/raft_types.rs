//! Our types in openraft's places.

use serde::{Deserialize, Serialize};

use crate::command::{Proposal, Reply};

/// What the replicated membership knows of a member beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberNode {
    /// The host's name.
    pub(crate) name: String,
    /// Where peers reach it.
    pub(crate) peer_address: String,
    /// Where its API server listens.
    pub(crate) api_address: String,
    /// Where it speaks etcd's API.
    pub(crate) client_address: String,
}

openraft::declare_raft_types!(
    /// Our instance of openraft.
    pub(crate) TypeConfig: D = Proposal, R = Reply, Node = MemberNode,
);

pub(crate) type Raft = openraft::Raft<TypeConfig, crate::state::StateMachine>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot =
    openraft::alias::SnapshotOf<TypeConfig, crate::state::snapshot::SnapshotFiles>;

/// The leadership under which an entry stands, as callers know it.
pub(crate) fn fence_of(log_id: &LogId) -> kontiki_base::Fence {
    let leader = log_id.committed_leader_id();
    kontiki_base::Fence { term: leader.term, member: leader.node_id }
}
