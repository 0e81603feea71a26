//! What callers of the store can be told.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::types::{LeaseId, MemberId, Revision};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The revision's history is gone.
    #[error("revision {requested} is compacted, the oldest kept is {oldest}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest readable one.
        oldest: Revision,
    },
    /// The revision does not exist yet.
    #[error("revision {requested} is in the future, the current is {current}")]
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// The store's.
        current: Revision,
    },
    /// The command was refused when it was applied.
    #[error(transparent)]
    Refused(Refusal),
    /// No leader answered in time; a write may or may not have happened.
    #[error("no answer from a leader within {waited:?}: {last}")]
    Timeout {
        /// How long was tried.
        waited: std::time::Duration,
        /// What the last attempt ended with.
        last: String,
    },
    /// More is waiting than this member takes; nothing was done.
    #[error("too many requests")]
    TooManyRequests,
    /// This member's state differs from the majority's: it answers nothing.
    #[error("this member is corrupt: {reason}")]
    CorruptMember {
        /// What was found.
        reason: String,
    },
    /// This member was removed from its cluster: it answers nothing.
    #[error("this member is none any more: {reason}")]
    Removed {
        /// Who says so.
        reason: String,
    },
    /// The member is stopping or has stopped.
    #[error("the store is shut down")]
    ShutDown,
    /// The leader will not do it.
    #[error("the leader declined: {reason}")]
    Declined {
        /// Why.
        reason: String,
    },
    /// The member's folder cannot be used.
    #[error("cannot use the data folder {}: {reason}", path.display())]
    DataFolder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The disk, or what is on it.
    #[error("storage failed")]
    Storage(#[source] io::Error),
    /// TLS or the listening socket.
    #[error("cannot serve peers on {address}: {reason}")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        reason: String,
    },
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Storage(error)
    }
}

impl From<Refusal> for Error {
    /// What a read is told by [`Error`], a command is told by the same.
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::Compacted { requested, oldest } => Error::Compacted { requested, oldest },
            Refusal::FutureRevision { requested, current } => {
                Error::FutureRevision { requested, current }
            }
            other => Error::Refused(other),
        }
    }
}

/// Why a command was refused at apply: the same on every member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The leadership under which the caller acted is over.
    #[error("the leadership of the caller is over: it acted under {expected}, now leads {actual}")]
    Fenced {
        /// The caller's.
        expected: kontiki_base::Fence,
        /// Of the log entry.
        actual: kontiki_base::Fence,
    },
    /// The proposal is older than what its member has finished with.
    #[error("proposal {sequence} of boot {boot} of member {member} is outdated")]
    Outdated {
        /// Who proposed.
        member: MemberId,
        /// In which life.
        boot: u64,
        /// Which one.
        sequence: u64,
    },
    /// Too few voters have room on their disks for what it puts. The leader refuses this before
    /// it enters the log.
    #[error("no majority of the voters has room on its disk")]
    NoSpace,
    /// The lease does not exist, or no longer.
    #[error("lease {lease:?} not found")]
    LeaseNotFound {
        /// Which one.
        lease: LeaseId,
    },
    /// The lease's id is taken.
    #[error("lease {lease:?} exists already")]
    LeaseExists {
        /// Which one.
        lease: LeaseId,
    },
    /// A lease shall live longer than any may.
    #[error("a lease cannot live {}s, {}s is the most", ttl.as_secs(), most.as_secs())]
    LeaseTtlTooLarge {
        /// What was asked for.
        ttl: std::time::Duration,
        /// The bound.
        most: std::time::Duration,
    },
    /// A put keeps the value or the lease of a key that does not exist.
    #[error("key {key} not found")]
    KeyNotFound {
        /// The key, readable.
        key: String,
    },
    /// A range or a compaction asks for a revision whose history is gone.
    #[error("revision {requested} is compacted, the oldest kept is {oldest}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest readable one.
        oldest: Revision,
    },
    /// A range or a compaction asks for a revision that does not exist yet.
    #[error("revision {requested} is in the future, the current is {current}")]
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// The store's.
        current: Revision,
    },
    /// A delete takes more than fits into one transaction. One that is a transaction by itself
    /// and asks for no previous values is done in several instead.
    #[error("more than {bytes_max} bytes cannot be deleted at once")]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// One transaction writes one key twice.
    #[error("duplicate key given in the transaction: {key}")]
    DuplicateKey {
        /// The key, readable.
        key: String,
    },
}

/// Stored or received bytes that make no sense.
#[derive(Debug, thiserror::Error)]
#[error("{what} is corrupt: {reason}")]
pub struct Corrupt {
    what: &'static str,
    reason: String,
}

impl Corrupt {
    pub(crate) fn new(what: &'static str, reason: String) -> Corrupt {
        Corrupt { what, reason }
    }
}

impl From<Corrupt> for io::Error {
    fn from(corrupt: Corrupt) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, corrupt)
    }
}
