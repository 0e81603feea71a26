//! Messages of the etcd v3 API, generated from the definitions that the store is built from.

#![allow(clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
#![allow(dead_code, unreachable_pub, reason = "the generator needs a part of the API")]

/// Keys and events.
pub mod mvccpb {
    include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
}

/// Requests and answers.
pub mod etcdserverpb {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

pub use etcdserverpb::*;
