//! Three servers on one host: joining, losing the leader, coming back.

use anyhow::{Context, Result, ensure};
use kontiki_tests::{cluster::Cluster, eventually, server::Server};

use crate::manifests::config_map;

async fn create(cluster: &Cluster, through: &Server, name: &str) -> Result<()> {
    let client = through.client_of(cluster.addresses())?;
    let object = config_map(name, "x");
    let kubeconfig_servers = cluster.addresses().join(",");
    eventually("a write", || async {
        let finished = through.kontiki_with_input(
            &["apply", "--servers", &kubeconfig_servers, "-f", "-"],
            Some(&object),
        )?;
        finished.success().map(|_| ())
    })
    .await?;
    let path = format!("/api/v1/namespaces/default/configmaps/{name}");
    client.call(http::Method::GET, &path, None).await?;
    Ok(())
}

/// Waits until all members hold the same at one revision.
async fn same_state(cluster: &Cluster) -> Result<()> {
    let at = cluster.servers[0].get("/kontiki/v1/hash").await?["revision"]
        .as_u64()
        .context("no revision")?;
    eventually("equal hashes", || async {
        let mut hashes = Vec::new();
        for server in &cluster.servers {
            let reply = server.get(&format!("/kontiki/v1/hash?revision={at}")).await?;
            hashes.push(reply["hash"].as_str().context("no hash")?.to_owned());
        }
        ensure!(hashes.iter().all(|hash| *hash == hashes[0]), "at {at}: {hashes:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_outlives_its_leader() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let leader = cluster.leader(0).await?;
    let witness = (leader + 1) % 3;
    create(&cluster, &cluster.servers[witness], "before").await?;

    cluster.servers[leader].kill()?;
    create(&cluster, &cluster.servers[witness], "while-down").await?;
    let successor = cluster.leader(witness).await?;
    assert_ne!(successor, leader);

    // It needs no token to come back, and has missed nothing.
    cluster.servers[leader].start_ready().await?;
    let names = cluster.servers[leader].kontiki(&["get", "cm", "-o", "name"])?.success()?;
    for name in ["configmap/before", "configmap/while-down"] {
        assert!(names.contains(name), "{name} in {names}");
    }
    same_state(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_hands_over() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let leader = cluster.leader(0).await?;
    let witness = (leader + 1) % 3;
    cluster.servers[leader].signal("TERM")?;
    let status = cluster.servers[leader].ended().await?;
    assert_eq!(status.code(), Some(0), "{}", cluster.servers[leader].log());
    create(&cluster, &cluster.servers[witness], "after").await?;

    let list = cluster.servers[witness].kontiki(&["member", "list"])?.success()?;
    assert_eq!(list.lines().count(), 4, "{list}");
    assert_eq!(list.matches("leader").count(), 1, "{list}");
    Ok(())
}
