//! Our types in openraft's places.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    command::{Proposal, Reply},
    environment::AsyncRuntime,
    types::{Member, MemberId},
};

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
    /// The version that it speaks, as it said itself; 0 is unknown.
    pub(crate) version: u32,
}

openraft::declare_raft_types!(
    /// Our instance of openraft.
    pub(crate) TypeConfig: D = Proposal, R = Reply, Node = MemberNode, AsyncRuntime = AsyncRuntime,
);

pub(crate) type Raft = openraft::Raft<TypeConfig, crate::state::StateMachine>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, MemberNode>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot =
    openraft::alias::SnapshotOf<TypeConfig, crate::state::snapshot::SnapshotFiles>;

/// The leadership under which an entry stands, as callers know it.
pub(crate) fn fence_of(log_id: &LogId) -> kontiki_base::Fence {
    let leader = log_id.committed_leader_id();
    kontiki_base::Fence { term: leader.term, member: leader.node_id }
}

impl MemberNode {
    /// What is replicated of a member beside its id.
    pub(crate) fn of(member: &Member, version: u32) -> MemberNode {
        MemberNode {
            version,
            name: member.name.clone(),
            peer_address: member.peer_address.clone(),
            api_address: member.api_address.clone(),
            client_address: member.client_address.clone(),
        }
    }

    /// As callers know it.
    pub(crate) fn to_member(&self, id: MemberId, voter: bool) -> Member {
        Member {
            id,
            name: self.name.clone(),
            peer_address: self.peer_address.clone(),
            api_address: self.api_address.clone(),
            client_address: self.client_address.clone(),
            voter,
        }
    }
}

/// The members of a membership.
pub(crate) fn members_of(membership: &Membership) -> Vec<Member> {
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let nodes = membership.nodes();
    nodes.map(|(id, node)| node.to_member(MemberId(*id), voters.contains(id))).collect()
}
