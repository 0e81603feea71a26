//! Leases: what keys can hang on, and end with.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::LeaseId;

/// A lease to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// Which id it shall have; `None` has one chosen that is not in use.
    pub id: Option<LeaseId>,
    /// How long it lives without renewal. A lease whose keys end together lives a second at least.
    pub ttl: Duration,
    /// Whether its keys end at one revision, as in etcd. Otherwise each ends at one of its own,
    /// so that no revision carries two events of one watch, and the end of a lease with many keys
    /// is spread over several entries of the log.
    pub together: bool,
}

/// A lease that was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// How long it lives without renewal.
    pub ttl: Duration,
}

/// What the leader knows of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// How long it lives after each renewal.
    pub granted: Duration,
    /// How long it still lives.
    pub remaining: Duration,
    /// The keys that hang on it, if they were asked for.
    pub keys: Vec<Bytes>,
}
