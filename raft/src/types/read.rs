//! Reads: which keys, as of when, in which order, and what was found.

use serde::{Deserialize, Serialize};

use super::{KeyRange, KeyValue, Revision};

/// A query: alone as part of a [`RangeRequest`], or as an operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Which keys.
    pub range: KeyRange,
    /// At which revision; `None` is the latest. A compacted one is an error.
    pub revision: Option<Revision>,
    /// Most keys to return; 0 is no limit.
    pub limit: u64,
    /// In which order, and so which ones a limit leaves out; `None` is by key, ascending.
    pub sort: Option<Sort>,
    /// Leave values out.
    pub keys_only: bool,
    /// Return only the count.
    pub count_only: bool,
    /// Return only keys that were last written within these bounds. They still count.
    pub mod_revisions: RevisionBounds,
    /// Return only keys that were created within these bounds. They still count.
    pub create_revisions: RevisionBounds,
}

impl Range {
    /// Everything in the range, as it is.
    pub fn new(range: KeyRange) -> Range {
        Range {
            range,
            revision: None,
            limit: 0,
            sort: None,
            keys_only: false,
            count_only: false,
            mod_revisions: RevisionBounds::default(),
            create_revisions: RevisionBounds::default(),
        }
    }
}

/// An order of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sort {
    /// What is compared; equals stay in order of their keys.
    pub target: SortTarget,
    /// Which way.
    pub order: SortOrder,
}

/// What a [`Sort`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SortTarget {
    Key,
    Version,
    CreateRevision,
    ModRevision,
    Value,
}

/// Which way a [`Sort`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SortOrder {
    Ascending,
    Descending,
}

/// Revisions from `min` to `max`, both inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionBounds {
    /// The lowest; `None` is any.
    pub min: Option<Revision>,
    /// The highest; `None` is any.
    pub max: Option<Revision>,
}

impl RevisionBounds {
    /// Whether it bounds nothing.
    pub fn is_unbounded(&self) -> bool {
        *self == RevisionBounds::default()
    }

    /// Whether a revision lies within.
    pub fn contains(&self, revision: Revision) -> bool {
        self.min.is_none_or(|min| revision >= min) && self.max.is_none_or(|max| revision <= max)
    }
}

/// A read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    /// What.
    pub query: Range,
    /// How fresh the answer must be.
    pub consistency: Consistency,
    /// Whether [`RangeReply::count`] is needed where a limit leaves keys out: counting them costs
    /// as much as reading their keys.
    pub counted: bool,
}

impl RangeRequest {
    /// A linearizable read of everything in the range.
    pub fn new(range: KeyRange) -> RangeRequest {
        RangeRequest {
            query: Range::new(range),
            consistency: Consistency::Linearizable,
            counted: true,
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// At least as new as everything acknowledged before the read began (read index).
    Linearizable,
    /// Whatever this member has applied.
    Serializable,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeReply {
    /// The store's revision at the time of the read (not the one that was asked for).
    pub revision: Revision,
    /// Keys in order.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left some out.
    pub more: bool,
    /// Keys in the range at that revision, whatever the limit and the bounds; when no count was
    /// needed and `more` is set, only a lower bound.
    pub count: u64,
}
