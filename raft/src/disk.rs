//! What a member knows of its disk: how long it takes, how much room it has, what it has lost.
//!
//! A disk that is slow or full is sick, not wrong: the member goes on with what it can still do,
//! and tells the others ([`latency`], [`space`]). A disk that has changed or lost what was written
//! to it is wrong: the member stops, and says which file and where ([`damage`], [`wal`]).

pub(crate) mod damage;
pub(crate) mod database;
pub(crate) mod latency;
pub(crate) mod space;
mod table;
mod wal;

pub(crate) use self::{
    damage::{Alarm, of_rocksdb},
    latency::Latencies,
    space::Room,
};
