//! The store as its users see it: real disks, real sockets, real time-outs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "store/backup.rs"]
mod backup;
#[path = "store/cluster.rs"]
mod cluster;
#[path = "store/crash.rs"]
mod crash;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/lab.rs"]
mod lab;
#[path = "store/leases.rs"]
mod leases;
#[path = "store/members.rs"]
mod members;
#[path = "store/partition.rs"]
mod partition;
#[path = "store/pause.rs"]
mod pause;
#[path = "store/process.rs"]
mod process;
#[path = "store/sick.rs"]
mod sick;
#[path = "store/single.rs"]
mod single;
#[path = "store/stored.rs"]
mod stored;
