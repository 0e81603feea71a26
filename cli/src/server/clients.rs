//! The store's port: etcd's API for whoever holds a certificate of the store's authority, and a
//! file that tells etcdctl how to get there.

use std::{path::Path, sync::Mutex, time::Duration};

use anyhow::{Context, Result, anyhow};
use kontiki_base::{
    tasks::{Tasks, render},
    tls::Roots,
};
use kontiki_raft::{Store, etcd};
use tokio::net::TcpListener;

use crate::{config::Server, files, pki::ServerIdentities};

/// For `. FILE; etcdctl ...`.
const ENVIRONMENT: &str = "etcdctl.env";

/// The port, bound from the start and served once the store is ready: who connects meanwhile
/// waits.
pub(super) struct Clients {
    listener: Mutex<Option<TcpListener>>,
    read_only: Option<String>,
    progress_notify_interval: Duration,
}

impl Clients {
    pub(super) async fn listen(config: &Server, folder: &Path) -> Result<Clients> {
        let listener = super::foundation::listen(config.store_listen(), "--store-port").await?;
        publish(config, folder)?;
        Ok(Clients {
            listener: Mutex::new(Some(listener)),
            read_only: None,
            progress_notify_interval: config.watch_progress_notify_interval,
        })
    }

    /// Keeps clients from writing what the API server writes below `prefix`.
    pub(super) fn protect(&mut self, prefix: &str) {
        self.read_only = Some(format!("{}/", prefix.trim_end_matches('/')));
    }

    /// Serves. Once is enough: the port is given away.
    pub(super) fn serve(
        &self,
        store: &Store,
        identities: &ServerIdentities,
        roots: &Roots,
        tasks: &Tasks,
    ) -> Result<()> {
        let listener = self.listener.lock().ok().and_then(|mut listener| listener.take());
        let listener = listener.context("the store's port is served already")?;
        let options = etcd::Options {
            identity: identities.peer.clone(),
            roots: roots.clone(),
            read_only: self.read_only.clone().map(Into::into),
            progress_notify_interval: self.progress_notify_interval,
        };
        etcd::serve(store, listener, options, tasks).map_err(|error| anyhow!(render(&error)))
    }
}

/// Writes where etcdctl finds this member and its credentials.
fn publish(config: &Server, folder: &Path) -> Result<()> {
    let folder =
        std::path::absolute(folder).with_context(|| format!("where is {}?", folder.display()))?;
    let host = match config.bind_address {
        address if address.is_unspecified() => [127, 0, 0, 1].into(),
        address => address,
    };
    let endpoint = std::net::SocketAddr::new(host, config.store_port);
    let pki = folder.join("pki/store");
    let text = environment(&format!("https://{endpoint}"), &pki);
    files::write_private(&folder.join(ENVIRONMENT), &text)
}

fn environment(endpoint: &str, pki: &Path) -> String {
    let file = |name: &str| pki.join(name).display().to_string();
    let lines = [
        ("ETCDCTL_API", "3".to_owned()),
        ("ETCDCTL_ENDPOINTS", endpoint.to_owned()),
        ("ETCDCTL_CACERT", file("ca.crt")),
        ("ETCDCTL_CERT", file("client.crt")),
        ("ETCDCTL_KEY", file("client.key")),
    ];
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    lines.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_survives_a_shell() {
        let text = environment("https://127.0.0.1:2379", Path::new("/a b/it's/pki/store"));
        let cert = text.lines().find(|line| line.contains("ETCDCTL_CERT=")).unwrap();
        assert_eq!(cert, r"export ETCDCTL_CERT='/a b/it'\''s/pki/store/client.crt'");
        assert!(text.contains("export ETCDCTL_ENDPOINTS='https://127.0.0.1:2379'\n"), "{text}");
    }
}
