//! What goes through the log: proposals with an identity, and the replies they get.
//!
//! A proposal is encoded once, by the member whose caller asked, and travels as those bytes:
//! to the leader, into the log, to the followers. It is decoded where it is applied. Its identity
//! (member, boot, sequence) makes applying it twice the same as once, so it can be sent again
//! after any unclear outcome.

use std::fmt;

use bytes::Bytes;
use kontiki_base::Fence;
use serde::{Deserialize, Serialize};

use crate::{
    codec,
    error::{Corrupt, Refusal},
    types::{Lease, LeaseGrant, LeaseId, MemberId, Revision, Txn, TxnReply},
};

/// Who proposes, in which life, and which proposal of that life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The member whose caller asked.
    pub(crate) member: MemberId,
    /// Counts the member's starts.
    pub(crate) boot: u64,
    /// Counts its proposals since then.
    pub(crate) sequence: u64,
    /// The lowest sequence whose reply somebody still waits for: older ones can be forgotten.
    pub(crate) oldest_pending: u64,
}

/// What the state machine can do. New variants go to the end: the position is the wire format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Executes a transaction.
    Txn(Txn),
    /// Creates a lease.
    LeaseGrant(LeaseGrant),
    /// Ends a lease and deletes its keys: all at one revision, or one revision each and at most
    /// so many at once, as it was granted.
    LeaseEnd {
        /// Which one.
        lease: LeaseId,
        /// Keys to delete at most; the lease ends when none is left.
        keys_max: u32,
        /// When given, refused under any other leadership: whoever counted the lease's time leads
        /// no more, and its successor counts anew.
        fence: Option<Fence>,
    },
    /// Raises the compaction floor.
    Compact {
        /// The oldest revision that stays readable.
        revision: Revision,
    },
    /// Sets the cluster's version: what all members understand.
    SetClusterVersion {
        /// The new one; lower than the present one only to allow a downgrade.
        version: u32,
    },
}

/// A command under its identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    /// For applying it once.
    pub(crate) identity: Identity,
    /// What to do.
    pub(crate) command: Command,
}

/// An encoded [`Envelope`]: the application data of log entries.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proposal(pub(crate) Bytes);

impl Proposal {
    /// Encodes.
    pub(crate) fn new(envelope: &Envelope) -> Proposal {
        Proposal(codec::encode(envelope).into())
    }

    /// Decodes; an unknown format or command is an error, which stops the member before it
    /// applies something it does not understand.
    pub(crate) fn open(&self) -> Result<Envelope, Corrupt> {
        codec::decode("a proposal", &self.0)
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Of entries without a command.
    None,
    /// Of a transaction.
    Txn(TxnReply),
    /// The new lease.
    Lease(Lease),
    /// Of [`Command::LeaseEnd`]: whether the lease is gone, or has keys left.
    LeaseEnded {
        /// No keys left.
        complete: bool,
    },
    /// The new floor.
    Compacted(Revision),
    /// The cluster's version as it is now.
    ClusterVersion(u32),
    /// Nothing was changed.
    Refused(Refusal),
}
