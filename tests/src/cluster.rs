//! Three servers on one host.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{eventually, server::Server};

/// Servers of one cluster; the first founded it.
pub struct Cluster {
    /// In order of joining.
    pub servers: Vec<Server>,
}

impl Cluster {
    /// Founds a cluster and lets two servers join.
    pub async fn start() -> Result<Cluster> {
        Cluster::start_with(&[]).await
    }

    /// Founds a cluster of stores for other software, and lets two more join.
    pub async fn start_store() -> Result<Cluster> {
        Cluster::start_with(&["--store-only"]).await
    }

    async fn start_with(flags: &[&str]) -> Result<Cluster> {
        let mut first = Server::new("one")?.with(flags);
        first.start_ready().await?;
        let token = first.token("server").await?;
        let mut servers = vec![first];
        for name in ["two", "three"] {
            let join = servers[0].address();
            let joining = ["--join", &join, "--token", &token];
            let mut server = Server::new(name)?.with(flags).with(&joining);
            server.start_ready().await?;
            servers.push(server);
        }
        let cluster = Cluster { servers };
        eventually("three voters", || async {
            let list = cluster.servers[0].get("/kontiki/v1/members").await?;
            let voters = list["members"].as_array().context("no members")?;
            let voters = voters.iter().filter(|member| member["voter"] == true).count();
            ensure!(voters == 3, "{voters} voters: {list}");
            Ok(())
        })
        .await?;
        Ok(cluster)
    }

    /// Addresses of all API servers.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(Server::address).collect()
    }

    /// Which server leads, by the word of one of those that run.
    pub async fn leader(&self, witness: usize) -> Result<usize> {
        eventually("a leader", || async {
            let list: Value = self.servers[witness].get("/kontiki/v1/members").await?;
            let members = list["members"].as_array().context("no members")?;
            let leader = members
                .iter()
                .find(|member| member["id"] == list["leader"])
                .with_context(|| format!("no leader: {list}"))?;
            self.servers
                .iter()
                .position(|server| leader["name"] == server.name())
                .context("an unknown leader")
        })
        .await
    }
}
