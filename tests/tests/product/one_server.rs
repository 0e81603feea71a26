//! One server: its files, its ports, its restarts.

use std::net::TcpListener;

use anyhow::Result;
use kontiki_tests::{
    command::run,
    server::{Server, mode},
};

use crate::manifests::config_map;

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_keeps_its_secrets() -> Result<()> {
    let mut server = Server::new("one")?;
    server.start_ready().await?;
    server.token("agent").await?;
    let files = [
        "admin.kubeconfig",
        "agent-token",
        "cluster.json",
        "pki/admin.crt",
        "pki/admin.key",
        "pki/ca.crt",
        "pki/ca.key",
        "pki/service-account.key",
        "pki/store/ca.crt",
        "pki/store/client.crt",
        "pki/store/client.key",
        "server-token",
    ];
    for file in files {
        assert_eq!(mode(&server.data_dir().join(file))?, 0o600, "{file}");
    }
    assert_eq!(mode(&server.data_dir())?, 0o700);
    assert!(
        !server.log().contains(" WARN ") && !server.log().contains(" ERROR "),
        "{}",
        server.log()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_power_cuts_and_restarts() -> Result<()> {
    let mut server = Server::new("one")?;
    server.start_ready().await?;
    let apply = |server: &Server, name: &str| {
        server.kontiki_with_input(&["apply", "-f", "-"], Some(&config_map(name, "x")))?.success()
    };
    apply(&server, "before-power-cut")?;
    server.kill()?;
    server.start_ready().await?;
    apply(&server, "before-restart")?;
    server.signal("TERM")?;
    assert_eq!(server.ended().await?.code(), Some(0), "{}", server.log());
    server.start_ready().await?;
    let names = server.kontiki(&["get", "configmaps", "-o", "name"])?.success()?;
    for name in ["configmap/before-power-cut", "configmap/before-restart"] {
        assert!(names.contains(name), "{name} in {names}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_its_flag() -> Result<()> {
    let server = Server::new("one")?;
    for (port, flag) in [
        (server.address(), "--api-port"),
        (format!("127.0.0.1:{}", server.peer_port()), "--peer-port"),
    ] {
        let _taken = TcpListener::bind(&port)?;
        let stderr = run(server.command()?, None)?.failure()?;
        assert!(stderr.contains("is in use by another process"), "{stderr}");
        assert!(stderr.contains(flag), "{stderr}");
    }
    Ok(())
}
