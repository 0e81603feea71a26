//! The etcd API from a client's side, and the real etcd to compare with.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::eventually;

/// Generated from the store's definitions.
#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "generated"
)]
pub mod proto {
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
}

/// A real etcd of one member, without TLS, on loopback; it ends with this value.
pub struct RealEtcd {
    child: Child,
    folder: TempDir,
    address: String,
}

impl RealEtcd {
    /// Starts `$KONTIKI_ETCD`, or Debian's.
    pub async fn start() -> Result<RealEtcd> {
        let named = std::env::var_os("KONTIKI_ETCD");
        RealEtcd::start_as(named.map_or_else(|| "etcd".into(), PathBuf::from)).await
    }

    /// Starts a program that is etcd.
    pub async fn start_as(program: PathBuf) -> Result<RealEtcd> {
        let folder = tempfile::Builder::new().prefix("kontiki-etcd-").tempdir()?;
        let [client, peer] = free_ports()?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(&program)
            .args(["--name", "real", "--log-level", "error"])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer)])
            .args(["--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &format!("real={}", url(peer))])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| {
                format!("cannot start {}: run `cargo xtask setup`", program.display())
            })?;
        let etcd = RealEtcd { child, folder, address: url(client) };
        eventually("etcd", || async { Ok(etcd.endpoint()?.connect().await.map(drop)?) })
            .await
            .with_context(|| etcd.log())?;
        Ok(etcd)
    }

    /// Its address as a URL.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A connection.
    pub fn channel(&self) -> Result<Channel> {
        Ok(self.endpoint()?.connect_lazy())
    }

    fn endpoint(&self) -> Result<Endpoint> {
        Ok(Endpoint::from_shared(self.address.clone())?)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that nobody listens on.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
