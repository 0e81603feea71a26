//! How a member is doing: what operators look at.

use openraft::async_runtime::watch::WatchReceiver;

use super::{Inner, Store};
use crate::types::{MemberId, Revision};

/// How a member is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Bytes of its state on disk.
    pub db_bytes: u64,
    /// Bytes of those that are not garbage.
    pub db_bytes_in_use: u64,
    /// The last entry of its log.
    pub raft_index: u64,
    /// The last entry it has applied.
    pub raft_applied: u64,
    /// Its term.
    pub raft_term: u64,
    /// The leader, if it knows one.
    pub leader: Option<MemberId>,
    /// Whether it does not vote.
    pub learner: bool,
    /// The store's revision here.
    pub revision: Revision,
    /// The oldest readable revision here.
    pub floor: Revision,
    /// What is wrong, for people.
    pub errors: Vec<String>,
}

impl Store {
    /// How this member is doing.
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Raft's term, as far as this member knows.
    pub fn term(&self) -> u64 {
        self.0.raft.server_metrics().borrow_watched().vote.leader_id.term
    }
}

impl Inner {
    fn status(&self) -> Status {
        let applied = self.shared.applied();
        let (raft_index, raft_term, learner) = {
            let raft = self.raft.metrics();
            let raft = raft.borrow_watched();
            let voter = raft.membership_config.voter_ids().any(|id| id == raft.id);
            (raft.last_log_index.unwrap_or(0), raft.current_term, !voter)
        };
        let leader: Option<MemberId> = self.leadership.borrow().leader;
        let mut errors = Vec::new();
        if leader.is_none() {
            errors.push("no leader is known".to_owned());
        }
        errors.extend(self.health.ailments().into_iter().map(|ailment| ailment.to_string()));
        let db_bytes = self.shared.db().disk_bytes();
        Status {
            db_bytes,
            db_bytes_in_use: db_bytes,
            raft_index,
            raft_applied: applied.next_index.saturating_sub(1),
            raft_term,
            leader,
            learner,
            revision: applied.revision,
            floor: applied.floor,
            errors,
        }
    }
}
