//! The HTTP surface: any request gets an answer that is no error of ours, and limits answer as
//! Kubernetes does without holding anybody else up.

use std::time::{Duration, Instant};

use http::Method;
use kontiki_base::tls::{self, Roots};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{Case, Plan, noise::Noise};
use crate::support::{CONFIG_MAPS, Caller, Cluster, config_map};

const MEDIA_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "text/plain",
];

/// Makes a request of the noise and looks at its answer.
async fn ask(caller: &Caller, noise: &mut Noise) {
    let base = *noise.pick(&[
        CONFIG_MAPS,
        "/api/v1/namespaces/default/pods",
        "/apis/apps/v1/namespaces/default/deployments",
        "/api/v1/namespaces/default/services",
        "/apis/batch/v1/namespaces/default/jobs",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/api/v1/nodes",
        "/apis",
        "/openapi/v3",
    ]);
    let mut uri = base.to_owned();
    if noise.once_in(2) {
        uri.push_str(noise.one_of(&["/a", "/a/status", "/a/scale", "/a/eviction", "/none/x/y"]));
    }
    uri.push('?');
    for _ in 0..noise.below(4) {
        let name = *noise.pick(&[
            "limit",
            "continue",
            "resourceVersion",
            "resourceVersionMatch",
            "labelSelector",
            "dryRun",
            "fieldSelector",
            "fieldManager",
            "force",
            "pretty",
            "propagationPolicy",
            "fieldValidation",
        ]);
        let word: String = noise
            .word()
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02x}")
                }
            })
            .collect();
        uri.push_str(&format!("{name}={word}&"));
    }
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let method = noise.pick(&methods).clone();
    let media_type = *noise.pick(MEDIA_TYPES);
    let (.., id) = noise.kind();
    let mut object = if noise.once_in(4) { noise.json(4) } else { noise.object(id, 5) };
    if let Some(map) = object.as_object_mut()
        && !noise.once_in(4)
    {
        map.insert("metadata".to_owned(), json!({"name": "a"}));
        map.shift_remove("kind");
        map.shift_remove("apiVersion");
    }
    let mut bytes = object.to_string().into_bytes();
    if noise.once_in(5) {
        noise.damage(&mut bytes);
    }
    let shown = format!("{method} {uri} {media_type} {}", String::from_utf8_lossy(&bytes));
    let answer = caller.call(method, &uri, media_type, bytes).await;
    assert!(answer.code.as_u16() != 500, "{shown}\n{}", answer.value);
    if answer.code.as_u16() >= 400 {
        assert_eq!(answer.value["kind"], "Status", "{shown}\n{}", answer.value);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_has_an_answer() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let plan = Plan::of_the_environment();
    let start = Instant::now();
    let mut seed = plan.first;
    while start.elapsed() < plan.time * 4 {
        let _case = Case("surface", seed);
        ask(&admin, &mut Noise::new(seed)).await;
        seed += 1;
    }
    println!("surface: {} requests", seed - plan.first);
    admin.get("/readyz").await.ok();
    cluster.stop().await;
}

/// What is refused for its size or depth, and in which words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(CONFIG_MAPS, &config_map("a")).await.ok();
    let deep = format!("{}{}", "{\"a\":".repeat(100_000), "1".to_owned() + &"}".repeat(100_000));
    let lists = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let laughs: String = (1..30).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        let before = n - 1;
        format!("{text}a{n}: &a{n} [*a{before},*a{before},*a{before},*a{before},*a{before}]\n")
    });
    let copies: Vec<_> = (0..60)
        .map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")}))
        .collect();
    let many = vec![json!({"op": "test", "path": "/kind", "value": "ConfigMap"}); 10_001];
    let one = format!("{CONFIG_MAPS}/a");
    let applied = format!("{one}?fieldManager=x");
    let json_patch = "application/json-patch+json";
    let text = |value: &[serde_json::Value]| serde_json::to_string(value).unwrap();
    let table: Vec<(Method, &str, &str, String, &str)> = vec![
        (Method::POST, CONFIG_MAPS, "application/json", deep.clone(), "400 BadRequest"),
        (Method::POST, CONFIG_MAPS, "application/json", lists, "400 BadRequest"),
        (Method::POST, CONFIG_MAPS, "application/yaml", deep.clone(), "400 BadRequest"),
        (Method::POST, CONFIG_MAPS, "application/yaml", laughs, "400 BadRequest"),
        (Method::PATCH, &one, "application/merge-patch+json", deep.clone(), "400 BadRequest"),
        (Method::PATCH, &applied, "application/apply-patch+yaml", deep, "400 BadRequest"),
        (Method::PATCH, &one, json_patch, text(&copies), "422 Invalid"),
        (Method::PATCH, &one, json_patch, text(&many), "413 RequestEntityTooLarge"),
        (
            Method::POST,
            CONFIG_MAPS,
            "application/json",
            "x".repeat(4 << 20),
            "413 RequestEntityTooLarge",
        ),
    ];
    for (method, uri, media_type, body, expected) in table {
        let begun = Instant::now();
        let answer = admin.call(method, uri, media_type, body).await.refusal();
        assert!(answer.starts_with(expected), "{media_type}: {}", &answer[..answer.len().min(400)]);
        assert!(begun.elapsed() < Duration::from_secs(5), "{expected} in {:?}", begun.elapsed());
    }
    cluster.stop().await;
}

async fn connect(cluster: &Cluster, address: std::net::SocketAddr) -> TlsStream<TcpStream> {
    let roots = Roots { pem: cluster.authority.certificate_pem.clone() };
    let config = tls::client_config(&roots, None, &[b"http/1.1"]).unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    connector.connect(rustls::pki_types::ServerName::from(address.ip()), stream).await.unwrap()
}

/// Sends text and reads the first line of the answer; empty if there is none.
async fn first_line(cluster: &Cluster, address: std::net::SocketAddr, text: &[u8]) -> String {
    let mut stream = connect(cluster, address).await;
    let _ = stream.write_all(text).await;
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut answer)).await;
    let length = read.expect("an answer in time").unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_and_slow_clients_hold_nobody_up() {
    let cluster = Cluster::start().await;
    let address = cluster.listen().await;
    // A crowd that begins requests and does not go on: in the head, and in the body.
    let mut crowd = Vec::new();
    for number in 0..100 {
        let mut stream = connect(&cluster, address).await;
        let begun: &[u8] = if number % 2 == 0 {
            b"GET /livez HTTP/1.1\r\nHost: loc"
        } else {
            b"POST /api/v1/namespaces HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"
        };
        stream.write_all(begun).await.unwrap();
        crowd.push(stream);
    }
    let ordinary = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let begun = Instant::now();
    assert_eq!(first_line(&cluster, address, ordinary).await, "HTTP/1.1 200 OK");
    assert!(begun.elapsed() < Duration::from_secs(5));

    let long = "x".repeat(2 << 20);
    for (what, request, expected) in [
        ("a long URL", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 4"),
        ("a long header", format!("GET /livez HTTP/1.1\r\nA: {long}\r\n\r\n"), "HTTP/1.1 4"),
        ("no HTTP", "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (
            "many headers",
            format!("GET /livez HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000)),
            "HTTP/1.1 431",
        ),
    ] {
        let line = first_line(&cluster, address, request.as_bytes()).await;
        // A peer that is still sending may see nothing but the connection's end.
        assert!(line.starts_with(expected) || line.is_empty(), "{what}: {line}");
    }
    let plan = Plan::of_the_environment();
    let start = Instant::now();
    let mut seed = plan.first;
    while start.elapsed() < plan.time {
        let _case = Case("sockets", seed);
        let mut noise = Noise::new(seed);
        let mut text = ordinary.to_vec();
        noise.damage(&mut text);
        text.extend_from_slice(b"\r\n\r\n");
        let mut stream = connect(&cluster, address).await;
        let _ = stream.write_all(&text).await;
        seed += 1;
    }
    assert_eq!(first_line(&cluster, address, ordinary).await, "HTTP/1.1 200 OK");
    drop(crowd);
    cluster.stop().await;
}
