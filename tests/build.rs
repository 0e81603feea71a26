//! Generates a client of the etcd API from the store's own definitions.

/// Services that tests call.
const ETCD: &[&str] = &["cluster", "kv", "lease", "maintenance", "watch"];

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=../raft/proto/etcd");
    let files: Vec<String> =
        ETCD.iter().map(|name| format!("../raft/proto/etcd/{name}.proto")).collect();
    tonic_prost_build::configure()
        .bytes(".")
        .build_server(false)
        .compile_protos(&files, &["../raft/proto".to_owned()])
}
