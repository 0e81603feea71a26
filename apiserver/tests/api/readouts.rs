//! Logs and watches in messages of a WebSocket, as upstream's conformance tests and browsers read them.

use serde_json::{Value, json};

use crate::{
    stream_protocols::{hear, say, websocket},
    streams::{Connection, Stage, read_head},
    support::{CONFIG_MAPS, config_map},
};

const LOG: &str = "/api/v1/namespaces/default/pods/p/log?container=c";

async fn opened(stage: &Stage, path: &str, protocol: &str) -> Connection {
    let head = websocket(path, protocol);
    let head =
        if protocol.is_empty() { head.rsplit_once('\n').unwrap().0.to_owned() } else { head };
    stage.admin(&head).await
}

async fn accepted(client: &mut Connection, protocol: &str) {
    let head = read_head(client).await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    let told = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
    assert_eq!(told.unwrap_or_default().trim(), protocol);
}

/// A log under a protocol: the opcode of its messages, and all they say.
async fn log(stage: &mut Stage, protocol: &str) -> (u8, String) {
    let mut client = opened(stage, LOG, protocol).await;
    let mut kubelet = stage.asked().await;
    assert_eq!(kubelet.line(), "GET /containerLogs/default/p/c? HTTP/1.1");
    kubelet.answer("HTTP/1.1 200 OK\nContent-Length: 19\nConnection: close").await;
    tokio::io::AsyncWriteExt::write_all(&mut kubelet.connection, b"container is alive\n")
        .await
        .unwrap();
    accepted(&mut client, protocol).await;
    say(&mut client, b"whatever").await;
    let (mut kind, mut text) = (0, String::new());
    loop {
        match hear(&mut client).await {
            (8, code) => {
                assert_eq!(code, 1000_u16.to_be_bytes());
                return (kind, text);
            }
            (10, _) => {}
            (opcode, message) => {
                kind = opcode;
                text += std::str::from_utf8(&message).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_come_in_messages() {
    let mut stage = Stage::set().await;
    let alive = "container is alive\n";
    assert_eq!(log(&mut stage, "binary.k8s.io").await, (2, alive.to_owned()));
    assert_eq!(log(&mut stage, "").await, (2, alive.to_owned()));
    let encoded = "Y29udGFpbmVyIGlzIGFsaXZlCg==".to_owned();
    assert_eq!(log(&mut stage, "base64.binary.k8s.io").await, (1, encoded));
    stage.all_ended().await;
    stage.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_come_in_messages() {
    let stage = Stage::set().await;
    let admin = stage.cluster.admin();
    admin.create(CONFIG_MAPS, &config_map("one")).await.ok();
    let mut client = opened(&stage, &format!("{CONFIG_MAPS}?watch=1"), "").await;
    accepted(&mut client, "").await;
    for name in ["one", "two", "three"] {
        let (opcode, message) = hear(&mut client).await;
        let event: Value = serde_json::from_slice(&message).unwrap();
        let seen = (opcode, &event["type"], &event["object"]["metadata"]["name"]);
        assert_eq!(seen, (1, &json!("ADDED"), &json!(name)));
        let next = if name == "one" { "two" } else { "three" };
        if name != "three" {
            admin.create(CONFIG_MAPS, &config_map(next)).await.ok();
        }
    }
    drop(client);
    stage.all_ended().await;
    stage.cluster.stop().await;
}
