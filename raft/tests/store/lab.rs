//! Members in folders, with certificates of one authority.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use kontiki_base::{
    pki::{Authority, CertificateRequest, Usage},
    tasks::Tasks,
    telemetry::LogFormat,
    tls::Roots,
};
use kontiki_raft::{
    Compare, Delete, KeyRange, LeaseId, Op, Options, PeerTls, Put, RangeRequest, Revision, Start,
    Store, Timing, Txn, TxnReply,
};

/// A data folder that goes away.
pub(crate) struct Folder {
    path: PathBuf,
    /// What a recovery leaves beside the folder goes away with it.
    _around: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Folder {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("store");
        std::fs::create_dir(&path).unwrap();
        Folder { path, _around: around }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// One authority for all members of a test.
pub(crate) struct Lab {
    authority: Authority,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let filter = std::env::var("KONTIKI_TEST_LOG").unwrap_or_else(|_| "off".to_owned());
        let _ = kontiki_base::telemetry::init(&filter, LogFormat::Text);
        Lab { authority: Authority::generate("kontiki-store").unwrap() }
    }

    pub(crate) fn options(&self, name: &str, folder: PathBuf, start: Start) -> Options {
        let listen = free_address();
        let request = CertificateRequest::serving(name, vec![], vec![listen.ip()], Usage::Peer);
        Options {
            data_dir: folder,
            name: name.to_owned(),
            listen,
            peer_address: listen.to_string(),
            api_address: format!("{name}:6443"),
            client_address: format!("{name}:2379"),
            tls: PeerTls {
                identity: self.authority.issue(&request).unwrap(),
                roots: Roots { pem: self.authority.certificate_pem.clone() },
            },
            timing: Timing::default(),
            tuning: kontiki_raft::Tuning::default(),
            start,
        }
    }

    pub(crate) async fn open(&self, name: &str, folder: &Path, start: Start) -> Store {
        Store::open(self.options(name, folder.to_owned(), start), &Tasks::new()).await.unwrap()
    }
}

/// A loopback address nobody listens on. Every test process has an address of its own, so that
/// no other can take the port meanwhile.
pub(crate) fn free_address() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 64 | (high & 63), middle, low);
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap()
}

pub(crate) fn put(key: &str, value: &str) -> Txn {
    put_with(key, value, LeaseId(0))
}

pub(crate) fn put_with(key: &str, value: &str, lease: LeaseId) -> Txn {
    let put = Put { lease: Some(lease), ..Put::new(key.to_owned(), value.to_owned()) };
    Txn::of([Op::Put(put)])
}

pub(crate) fn delete(key: &str) -> Txn {
    Txn::of([Op::Delete(Delete::new(KeyRange::key(key.to_owned())))])
}

pub(crate) fn put_if(key: &str, value: &str, at: Revision) -> Txn {
    Txn { compares: vec![Compare::mod_revision(key.to_owned(), at)], ..put(key, value) }
}

/// `key=value@mod` of a range, space separated.
pub(crate) async fn dump(store: &Store, request: RangeRequest) -> String {
    let reply = store.range(request).await.unwrap();
    let kvs: Vec<String> = reply
        .kvs
        .iter()
        .map(|kv| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!("{}={}@{}", text(&kv.key), text(&kv.value), kv.mod_revision)
        })
        .collect();
    kvs.join(" ")
}

pub(crate) fn all() -> RangeRequest {
    RangeRequest::new(KeyRange::prefix(""))
}

pub(crate) fn all_at(revision: u64) -> RangeRequest {
    let mut request = all();
    request.query.revision = Some(Revision(revision));
    request
}

pub(crate) fn revision(reply: &TxnReply) -> u64 {
    reply.revision.0
}

/// Waits for what has no event of its own: what another process holds, what a dying one lets go.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let start = std::time::Instant::now();
    while !holds().await {
        assert!(start.elapsed().as_secs() < 30, "not within 30 s: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
