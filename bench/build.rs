//! Generates the messages of the etcd API from the store's own definitions. The calls are made by
//! hand (`store::grpc`), because the generator's CPU competes with the servers that it measures.

/// Files of the API that the generator speaks.
const ETCD: &[&str] = &["kv", "lease", "maintenance", "watch"];

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=../raft/proto/etcd");
    let files: Vec<String> =
        ETCD.iter().map(|name| format!("../raft/proto/etcd/{name}.proto")).collect();
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(false)
        .build_server(false)
        .compile_protos(&files, &["../raft/proto".to_owned()])
}
