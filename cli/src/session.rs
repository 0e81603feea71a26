//! What every verb that speaks to a cluster shares: where it is, as whom, in which namespace.

mod discovery;
mod files;
mod reference;
mod request;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use kontiki_base::tls::Roots;
use kontiki_client::{Client, ConnectOptions, ServerList};

pub(crate) use discovery::{Catalogue, Resource};
pub(crate) use files::{Manifest, read as read_manifests};
pub(crate) use reference::{Target, targets};
pub(crate) use request::Accept;

use crate::{config::DATA_DIR, kubeconfig, output::Output, pki};

/// Flags of every verb that speaks to a cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectionArguments {
    /// Kubeconfig to use [default: $KUBECONFIG, then admin.kubeconfig of --data-dir]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Servers to try, instead of the kubeconfig's
    #[arg(long, env = "KONTIKI_SERVERS", value_name = "HOST:PORT", value_delimiter = ',')]
    servers: Vec<String>,
    /// Folder of a server on this host
    #[arg(long, env = "KONTIKI_DATA_DIR", value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

/// An open way to a cluster.
pub(crate) struct Session {
    pub(crate) client: Client,
    /// The namespace of what names none.
    pub(crate) namespace: String,
    /// Whether the user chose it.
    pub(crate) namespace_given: bool,
    /// The cluster's CA.
    pub(crate) roots: Roots,
    pub(crate) output: Output,
}

impl ConnectionArguments {
    /// Finds the kubeconfig and makes a client; nothing is sent yet.
    pub(crate) fn open(&self) -> Result<Session> {
        let mut access = kubeconfig::load(&self.path()?, self.context.as_deref())?;
        pki::check_validity("the client certificate", &access.identity.chain_pem)?;
        if !self.servers.is_empty() {
            access.servers =
                self.servers.iter().map(|s| crate::config::with_port(s, 6443)).collect();
        }
        let namespace_given = self.namespace.is_some();
        let namespace = self.namespace.clone().or(access.namespace);
        let client = Client::remote(ConnectOptions {
            servers: ServerList::new(access.servers),
            roots: access.roots.clone(),
            identity: Some(access.identity),
        })?;
        Ok(Session {
            client,
            namespace: namespace.unwrap_or_else(|| "default".to_owned()),
            namespace_given,
            roots: access.roots,
            output: Output,
        })
    }

    /// The folder of a server on this host.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    fn path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.kubeconfig {
            return Ok(path.clone());
        }
        let mut candidates = Vec::new();
        if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
            candidates.extend(std::env::split_paths(&list));
        } else {
            candidates.push(self.data_dir.join("admin.kubeconfig"));
            if let Some(home) = std::env::var_os("HOME") {
                candidates.push(PathBuf::from(home).join(".kube/config"));
            }
        }
        if let Some(path) = candidates.iter().find(|path| path.exists()) {
            return Ok(path.clone());
        }
        let tried: Vec<String> = candidates.iter().map(|p| p.display().to_string()).collect();
        bail!(
            "no kubeconfig at {}; name one with --kubeconfig, or a server's folder with --data-dir",
            tried.join(" or ")
        )
    }
}

impl Session {
    /// The namespace part of a path for a resource, honouring `--all-namespaces`.
    pub(crate) fn collection(&self, resource: &Resource, all_namespaces: bool) -> String {
        if all_namespaces {
            resource.collection(None)
        } else {
            resource.collection(Some(&self.namespace))
        }
    }

    /// The API's resources.
    pub(crate) async fn catalogue(&self) -> Result<Catalogue> {
        Catalogue::discover(self).await
    }
}
