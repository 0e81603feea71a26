//! What members tell each other when they meet: who and where they are, and how far.

use serde::{Deserialize, Serialize};

use crate::{
    raft_types::MemberNode,
    store::ClusterIdentity,
    types::{MemberId, Revision},
};

/// What a caller says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Its name and where it is now.
    pub(crate) node: MemberNode,
}

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// Who answers.
    pub(crate) member: MemberId,
    /// What it belongs to; nothing while it waits to be added.
    pub(crate) cluster: Option<ClusterIdentity>,
    /// Its name and where it is now.
    pub(crate) node: MemberNode,
    /// How far it is.
    pub(crate) standing: Standing,
    /// Where others may be: worth a try, nothing more.
    pub(crate) addresses: Vec<String>,
}

/// How far a member is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Its release.
    pub(crate) release: String,
    /// Its term.
    pub(crate) term: u64,
    /// The index of its last entry.
    pub(crate) last_index: u64,
    /// The index behind the last applied entry.
    pub(crate) next_index: u64,
    /// The revision that it has applied.
    pub(crate) revision: Revision,
    /// Bytes of its tables.
    pub(crate) disk_bytes: u64,
    /// Whom it follows.
    pub(crate) leader: Option<MemberId>,
}
