//! What a data folder remembers of its cluster, so that a restart needs no flag.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::pin::head;
use crate::{config::ClusterSettings, files};

const FILE: &str = "cluster.json";
const LOCK: &str = "lock";

/// What this folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// The first server of its cluster.
    Founder,
    /// A server that joined.
    Server,
    /// A worker.
    Agent,
}

/// The folder's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) origin: Origin,
    pub(crate) node_name: String,
    pub(crate) cluster: ClusterSettings,
    /// `host:port` of the API servers that were known last.
    pub(crate) servers: Vec<String>,
}

impl State {
    /// Writes the memory of the folder at `path`, which this process must hold.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write the state")?;
        files::write_private(&path.join(FILE), &format!("{text}\n"))
    }
}

/// The data folder, held by this process alone.
pub(crate) struct DataFolder {
    pub(crate) path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Creates the folder if it is not there, and takes hold of it.
    pub(crate) fn open(path: &Path) -> Result<DataFolder> {
        files::create_private_folder(path)?;
        let lock_path = path.join(LOCK);
        let lock = File::create(&lock_path)
            .with_context(|| format!("cannot write {}", lock_path.display()))?;
        if lock.try_lock().is_err() {
            bail!(
                "the data folder {} is in use by another kontiki process; stop that one or choose \
                 another --data-dir",
                path.display()
            );
        }
        Ok(DataFolder { path: path.to_path_buf(), _lock: lock })
    }

    /// What the folder remembers; `None` in a new one.
    pub(crate) fn state(&self) -> Result<Option<State>> {
        let path = self.path.join(FILE);
        let Some(text) = files::read_if_there(&path)? else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("{} is damaged", path.display()))
    }

    /// Remembers.
    pub(crate) fn remember(&self, state: &State) -> Result<()> {
        state.save(&self.path)
    }

    /// Refuses a token for a cluster that is not this folder's.
    pub(crate) fn check_cluster(&self, own_fingerprint: &str, token: Option<&str>) -> Result<()> {
        let Some(token) = token else { return Ok(()) };
        let pinned = token.parse::<crate::token::Token>()?.ca_fingerprint;
        if pinned != own_fingerprint {
            bail!(
                "the data folder {} belongs to another cluster: its CA hash is {}…, the token's is \
                 {}…; choose another --data-dir, or remove the folder to give up what it holds",
                self.path.display(),
                head(own_fingerprint),
                head(&pinned)
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Token;

    #[test]
    fn a_folder_is_held_by_one_process_and_remembers() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let error = DataFolder::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("is in use by another kontiki process"), "{error}");
        assert_eq!(data.state().unwrap(), None);
        let state = State {
            origin: Origin::Agent,
            node_name: "w1".to_owned(),
            cluster: ClusterSettings {
                cluster_cidr: vec![],
                service_cidr: vec![],
                cluster_dns: vec![],
                cluster_domain: "cluster.local".to_owned(),
                service_node_port_range: crate::config::PortRange::default(),
                store_only: false,
            },
            servers: vec!["10.0.0.1:6443".to_owned()],
        };
        data.remember(&state).unwrap();
        assert_eq!(data.state().unwrap(), Some(state));
    }

    #[test]
    fn a_token_of_another_cluster_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let own = "0a".repeat(32);
        let token = Token::generate(&"0b".repeat(32)).to_string();
        data.check_cluster(&own, None).unwrap();
        data.check_cluster(&own, Some(&Token::generate(&own).to_string())).unwrap();
        let error = data.check_cluster(&own, Some(&token)).unwrap_err().to_string();
        assert!(error.contains("belongs to another cluster: its CA hash is 0a0a"), "{error}");
    }
}
