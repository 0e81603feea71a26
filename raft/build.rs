//! Generates the peer protocol from `proto/peer.proto`, and etcd's API from `proto/etcd/`, with
//! its descriptors for reflection.

use std::{env, path::PathBuf};

/// Services of etcd's API, by file.
const ETCD: &[&str] =
    &["auth", "cluster", "election", "kv", "lease", "lock", "maintenance", "watch"];

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    tonic_prost_build::configure().bytes(".").compile_protos(&["proto/peer.proto"], &["proto"])?;
    let descriptors =
        PathBuf::from(env::var("OUT_DIR").map_err(std::io::Error::other)?).join("etcd.bin");
    let files: Vec<String> = ETCD.iter().map(|name| format!("proto/etcd/{name}.proto")).collect();
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(false)
        // Events are encoded once, and spliced into the responses of all who watch.
        .extern_path(".etcdserverpb.WatchResponse", "crate::etcd::watch::Frame")
        .file_descriptor_set_path(descriptors)
        .compile_protos(&files, &["proto".to_owned()])
}
