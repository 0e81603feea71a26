//! What newer clients speak: commands in WebSocket messages, port-forward in a tunnel of them.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::streams::{Asked, Connection, Stage, read_exactly, read_head, read_rest};

const EXEC: &str = "/api/v1/namespaces/default/pods/p/exec?command=cat";
const ALL: &str = "&stdin=true&stdout=true&stderr=true";
const STATUS: &[u8] = br#"{"metadata":{},"status":"Success"}"#;

pub(crate) fn websocket(path: &str, protocol: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: {protocol}"
    )
}

/// Says a message as clients do: masked.
pub(crate) async fn say(client: &mut Connection, message: &[u8]) {
    let mask = [7, 5, 3, 1];
    let mut frame = vec![0x82, 0x80 | u8::try_from(message.len()).unwrap()];
    frame.extend(mask);
    frame.extend(message.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    client.write_all(&frame).await.unwrap();
    client.flush().await.unwrap();
}

/// The next frame: opcode and payload.
pub(crate) async fn hear(client: &mut Connection) -> (u8, Vec<u8>) {
    let head = read_exactly(client, 2).await;
    let length = match head[1] {
        126 => {
            let long = read_exactly(client, 2).await;
            usize::from(u16::from_be_bytes([long[0], long[1]]))
        }
        short => usize::from(short),
    };
    (head[0] & 0x0f, read_exactly(client, length).await)
}

async fn accepted(client: &mut Connection, protocol: &str) {
    let head = read_head(client).await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(
        head.contains(&format!("sec-websocket-protocol: {}", protocol.to_lowercase())),
        "{head}"
    );
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
}

/// The next frame that a kubelet gets: its first word, flags and payload.
async fn spdy(kubelet: &mut Asked) -> (u32, u8, Vec<u8>) {
    let head = read_exactly(&mut kubelet.connection, 8).await;
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
    (first, head[4], read_exactly(&mut kubelet.connection, length).await)
}

fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = stream.to_be_bytes().to_vec();
    let length = u32::try_from(payload.len()).unwrap() | u32::from(flags) << 24;
    frame.extend(length.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Takes a command as far as its streams are open.
async fn opened(stage: &mut Stage, query: &str, names: &[&str]) -> (Connection, Asked) {
    let head = websocket(&format!("{EXEC}{query}"), "v5.channel.k8s.io,v4.channel.k8s.io");
    let mut client = stage.admin(&head).await;
    accepted(&mut client, "v5.channel.k8s.io").await;
    let mut kubelet = stage.asked().await;
    assert!(kubelet.line().starts_with("POST /exec/default/p/c?"), "{}", kubelet.line());
    let lower = kubelet.head.to_ascii_lowercase();
    assert!(lower.contains("upgrade: spdy/3.1") && !lower.contains("websocket"), "{lower}");
    kubelet.switch("v4.channel.k8s.io").await;
    for (index, name) in names.iter().enumerate() {
        let (first, _, payload) = spdy(&mut kubelet).await;
        assert_eq!(first, 0x8003_0001, "a stream is opened");
        assert_eq!(payload[3], u8::try_from(2 * index + 1).unwrap());
        let text = String::from_utf8_lossy(&payload);
        assert!(text.contains("streamtype") && text.contains(name), "{name} in {text:?}");
    }
    (client, kubelet)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_5_is_translated_to_spdy() {
    let mut stage = Stage::set().await;
    let names = ["error", "stdin", "stdout", "stderr"];
    let (mut client, mut kubelet) = opened(&mut stage, ALL, &names).await;
    assert_eq!(hear(&mut client).await, (2, vec![1]), "the greeting");
    say(&mut client, b"\0hello").await;
    assert_eq!(spdy(&mut kubelet).await, (3, 0, b"hello".to_vec()));
    say(&mut client, &[255, 0]).await;
    assert_eq!(spdy(&mut kubelet).await, (3, 1, Vec::new()), "stdin ends");
    let said = [
        data(5, 0, b"out"),
        data(7, 0, b"err"),
        data(5, 1, b""),
        data(7, 1, b""),
        data(1, 0, STATUS),
        data(1, 1, b""),
    ];
    kubelet.connection.write_all(&said.concat()).await.unwrap();
    kubelet.connection.flush().await.unwrap();
    assert_eq!(hear(&mut client).await, (2, b"\x01out".to_vec()));
    assert_eq!(hear(&mut client).await, (2, b"\x02err".to_vec()));
    assert_eq!(hear(&mut client).await, (2, [&[3], STATUS].concat()));
    assert_eq!(hear(&mut client).await, (8, vec![3, 232]), "goodbye");
    drop(client);
    assert_eq!(read_rest(&mut kubelet.connection).await, "");
    stage.all_ended().await;
    stage.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminals_have_a_size_and_pings_are_answered() {
    let mut stage = Stage::set().await;
    let names = ["error", "stdin", "stdout", "resize"];
    let (mut client, mut kubelet) = opened(&mut stage, &format!("{ALL}&tty=true"), &names).await;
    assert_eq!(hear(&mut client).await, (2, vec![1]));
    say(&mut client, b"\x04{\"Width\":80,\"Height\":24}").await;
    assert_eq!(spdy(&mut kubelet).await, (7, 0, br#"{"Width":80,"Height":24}"#.to_vec()));
    client.write_all(&[0x89, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
    assert_eq!(hear(&mut client).await, (10, b"hi".to_vec()));
    // A client that says goodbye ends the command's connection.
    client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(read_rest(&mut kubelet.connection).await, "");
    drop(client);
    stage.all_ended().await;
    stage.cluster.stop().await;
}

async fn failure(client: &mut Connection) -> String {
    let (_, message) = hear(client).await;
    assert_eq!(message[0], 3);
    let status: Value = serde_json::from_slice(&message[1..]).unwrap();
    format!("{} {}", status["code"], status["message"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_behind_the_handshake_is_told_on_the_error_channel() {
    let mut stage = Stage::set().await;
    let head = websocket(&format!("{EXEC}&stdout=true"), "v5.channel.k8s.io");
    let mut client = stage.admin(&head).await;
    accepted(&mut client, "v5.channel.k8s.io").await;
    hear(&mut client).await;
    let mut kubelet = stage.asked().await;
    kubelet.answer("HTTP/1.1 404 Not Found\nContent-Length: 23\nConnection: close\n\ncontainer not found (c)").await;
    assert_eq!(
        failure(&mut client).await,
        "500 Internal error occurred: unable to upgrade connection: container not found (c)"
    );
    assert_eq!(hear(&mut client).await.0, 8);
    drop(client);

    // A kubelet that breaks off leaves no doubt that the outcome is unknown.
    let (mut client, kubelet) = opened(&mut stage, "&stdout=true", &["error", "stdout"]).await;
    hear(&mut client).await;
    drop(kubelet);
    assert_eq!(
        failure(&mut client).await,
        "500 Internal error occurred: error reading from error stream: unexpected EOF"
    );
    drop(client);
    stage.all_ended().await;
    stage.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_holds_its_container_back_and_nobody_else() {
    let mut stage = Stage::set().await;
    let names = ["error", "stdout"];
    let (slow, mut flooding) = opened(&mut stage, "&stdout=true", &names).await;
    let (mut quick, mut kubelet) = opened(&mut stage, "&stdout=true", &names).await;
    let chunk = data(3, 0, &vec![b'x'; 256 << 10]);
    let mut sent = 0_usize;
    let patience = Duration::from_secs(1);
    while tokio::time::timeout(patience, flooding.connection.write_all(&chunk)).await.is_ok() {
        sent += chunk.len();
        // What sockets hold by themselves is some megabytes.
        assert!(sent < 64 << 20, "nothing holds the container back");
    }
    assert_eq!(hear(&mut quick).await, (2, vec![1]));
    kubelet.connection.write_all(&data(3, 0, b"quick")).await.unwrap();
    kubelet.connection.flush().await.unwrap();
    assert_eq!(hear(&mut quick).await, (2, b"\x01quick".to_vec()));
    drop((slow, quick));
    stage.all_ended().await;
    stage.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_forward_is_tunnelled() {
    let mut stage = Stage::set().await;
    let path = "/api/v1/namespaces/default/pods/p/portforward";
    let head = websocket(path, "SPDY/3.1+portforward.k8s.io");
    let mut client = stage.admin(&head).await;
    let mut kubelet = stage.asked().await;
    assert_eq!(kubelet.line(), "POST /portForward/default/p HTTP/1.1");
    let lower = kubelet.head.to_ascii_lowercase();
    assert!(lower.contains("x-stream-protocol-version: portforward.k8s.io"), "{lower}");
    kubelet.switch("portforward.k8s.io").await;
    accepted(&mut client, "SPDY/3.1+portforward.k8s.io").await;
    say(&mut client, b"any bytes").await;
    say(&mut client, b"").await;
    say(&mut client, b" at all").await;
    assert_eq!(read_exactly(&mut kubelet.connection, 16).await, b"any bytes at all");
    kubelet.connection.write_all(b"and back").await.unwrap();
    kubelet.connection.flush().await.unwrap();
    assert_eq!(hear(&mut client).await, (2, b"and back".to_vec()));
    drop(kubelet);
    assert_eq!(hear(&mut client).await.0, 8);
    drop(client);

    // Refused before the client is accepted, so that it tries again without WebSocket.
    let mut client = stage.admin(&head).await;
    let mut kubelet = stage.asked().await;
    kubelet.answer("HTTP/1.1 403 Forbidden\nContent-Length: 2\nConnection: close\n\nno").await;
    let answer = read_head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    drop(client);
    stage.all_ended().await;
    stage.cluster.stop().await;
}
