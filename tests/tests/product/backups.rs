//! Backups, restoring them, and recovering a server that was left alone.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use kontiki_tests::{cluster::Cluster, command::run_kontiki, server::Server};

use crate::manifests::config_map;

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a readable path")
}

fn create(server: &Server, name: &str) -> Result<()> {
    let object = config_map(name, "x");
    server.kontiki_with_input(&["apply", "-f", "-"], Some(&object))?.success().map(drop)
}

fn config_maps(server: &Server) -> Result<String> {
    server.kontiki(&["get", "cm", "-o", "name"])?.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_the_cluster_back_with_its_keys() -> Result<()> {
    let mut server = Server::new("one")?;
    server.start_ready().await?;
    create(&server, "saved")?;
    let folder = tempfile::tempdir()?;
    let (backup, passphrase) = (folder.path().join("backup"), folder.path().join("passphrase"));
    std::fs::write(&passphrase, "correct horse battery\n")?;
    let with = ["--passphrase-file", text(&passphrase)?];
    let save = ["snapshot", "save", text(&backup)?];
    server.kontiki(&[save.as_slice(), &with].concat())?.success()?;
    create(&server, "later")?;
    let again = server.kontiki(&save)?.failure()?;
    ensure!(again.contains("exists already"), "{again}");
    let status = run_kontiki(&["snapshot", "status", text(&backup)?])?.success()?;
    ensure!(status.contains("Cluster keys:") && status.contains("encrypted"), "{status}");
    let token = server.token("server").await?;

    // The server and its folder are gone; another one takes its place.
    server.kill()?;
    std::fs::remove_dir_all(server.data_dir())?;
    let data = server.data_dir();
    let restore =
        ["snapshot", "restore", text(&backup)?, "--node-name", "one", "--data-dir", text(&data)?];
    let locked = run_kontiki(&restore)?.failure()?;
    ensure!(locked.contains("give --passphrase-file"), "{locked}");
    run_kontiki(&[restore.as_slice(), &with].concat())?.success()?;
    server.start_ready().await?;
    let found = config_maps(&server)?;
    ensure!(found.contains("configmap/saved") && !found.contains("later"), "{found}");
    create(&server, "afterwards")?;
    // The keys are the same, and so is the token, which the store holds.
    ensure!(std::fs::metadata(data.join("pki/ca.key"))?.len() > 0);
    let join = server.address();
    let mut second = Server::new("two")?.with(&["--join", &join, "--token", &token]);
    second.start_ready().await?;
    ensure!(config_maps(&second)?.contains("configmap/afterwards"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_goes_on_after_the_others_are_lost() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    create(&cluster.servers[0], "kept")?;
    let status = cluster.servers[0].kontiki(&["member", "status"])?.success()?;
    ensure!(status.lines().count() == 4 && status.contains("leader"), "{status}");
    let moved = cluster.servers[0].kontiki(&["member", "move-leader", "two"])?.success()?;
    ensure!(moved.contains("(two) leads"), "{moved}");
    let mut survivor = cluster.servers.remove(1);
    for server in &mut cluster.servers {
        server.kill()?;
    }
    survivor.kill()?;
    let data = survivor.data_dir();
    let recover = ["recover", "--data-dir", text(&data)?];
    let refused = run_kontiki(&recover)?.failure()?;
    ensure!(refused.contains("nothing was changed"), "{refused}");
    run_kontiki(&[recover.as_slice(), &["--yes"]].concat())?.success()?;
    survivor.start_ready().await?;
    ensure!(config_maps(&survivor)?.contains("configmap/kept"));
    create(&survivor, "alone")?;
    let members = survivor.get("/kontiki/v1/members").await?;
    ensure!(members["members"].as_array().is_some_and(|all| all.len() == 1), "{members}");
    Ok(())
}
