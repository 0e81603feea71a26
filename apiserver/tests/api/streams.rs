//! Conversations with containers, over real sockets, with a kubelet that speaks the protocols.

use std::{sync::Arc, time::Duration};

use kontiki_base::{
    pki::{CertificateRequest, Usage},
    tasks::TaskKind,
    tls::{self, ClientCertificates, Roots},
};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::support::Cluster;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}
pub(crate) type Connection = Box<dyn Socket>;

/// A request that a kubelet got: its head, and the connection to answer on.
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) connection: Connection,
}

impl Asked {
    pub(crate) async fn answer(&mut self, head: &str) {
        let head = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
        self.connection.write_all(head.as_bytes()).await.unwrap();
        self.connection.flush().await.unwrap();
    }

    /// Switches to SPDY.
    pub(crate) async fn switch(&mut self, protocol: &str) {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: SPDY/3.1\nX-Stream-Protocol-Version: {protocol}"
        );
        self.answer(&head).await;
    }

    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

/// A server of one member with a pod on a node, whose kubelet hands its requests to the test.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) requests: mpsc::Receiver<Asked>,
    address: std::net::SocketAddr,
}

impl Stage {
    pub(crate) async fn set() -> Stage {
        let cluster = Cluster::start().await;
        let (kubelet, requests) = kubelet(&cluster).await;
        let admin = cluster.admin();
        let accounts = "/api/v1/namespaces/default/serviceaccounts";
        admin.create(accounts, &json!({"metadata": {"name": "default"}})).await.ok();
        admin.create("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await.ok();
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}},
        }});
        admin.merge("/api/v1/nodes/n1/status", &status).await.ok();
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "nodeName": "n1", "containers": [{"name": "c", "image": "x"}],
        }});
        admin.create("/api/v1/namespaces/default/pods", &pod).await.ok();
        let address = cluster.listen().await;
        Stage { cluster, requests, address }
    }

    /// Sends a request head as a user; answers with the connection.
    pub(crate) async fn send(&self, user: &str, group: Option<&str>, head: &str) -> Connection {
        let identity =
            self.cluster.authority.issue(&CertificateRequest::client(user, group)).unwrap();
        let roots = Roots { pem: self.cluster.authority.certificate_pem.clone() };
        let config = tls::client_config(&roots, Some(&identity), &[b"http/1.1"]).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = rustls::pki_types::ServerName::from(self.address.ip());
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await.unwrap();
        let head = format!("{}\r\nHost: api\r\n\r\n", head.replace('\n', "\r\n"));
        stream.write_all(head.as_bytes()).await.unwrap();
        Box::new(stream)
    }

    pub(crate) async fn admin(&self, head: &str) -> Connection {
        self.send("admin", Some("system:masters"), head).await
    }

    pub(crate) async fn asked(&mut self) -> Asked {
        tokio::time::timeout(SOON, self.requests.recv()).await.expect("a request in time").unwrap()
    }

    /// Waits until no conversation is left.
    pub(crate) async fn all_ended(&self) {
        let ending = async {
            while self.cluster.server.open_streams() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, ending).await.expect("all conversations to end");
    }
}

async fn kubelet(cluster: &Cluster) -> (std::net::SocketAddr, mpsc::Receiver<Asked>) {
    let local = "127.0.0.1".parse().unwrap();
    let request = CertificateRequest::serving("n1", Vec::new(), vec![local], Usage::Server);
    let identity = cluster.authority.issue(&request).unwrap();
    let roots = Roots { pem: cluster.authority.certificate_pem.clone() };
    let config =
        tls::server_config(&identity, &roots, ClientCertificates::Required, &[b"http/1.1"])
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((local, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::channel(4);
    let shutdown = cluster.tasks.shutdown();
    let serving = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let mut connection: Connection = Box::new(stream);
            let head = read_head(&mut connection).await;
            if sender.send(Asked { head, connection }).await.is_err() {
                return;
            }
        }
    };
    cluster.tasks.spawn_infallible(TaskKind::logged("test kubelet"), async move {
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            () = serving => {}
        }
    });
    (address, requests)
}

/// Reads a head up to its empty line, and nothing behind it.
pub(crate) async fn read_head(connection: &mut Connection) -> String {
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.unwrap());
        }
    };
    tokio::time::timeout(SOON, reading).await.expect("a head in time");
    String::from_utf8(head).unwrap()
}

pub(crate) async fn read_exactly(connection: &mut Connection, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let reading = connection.read_exact(&mut bytes);
    tokio::time::timeout(SOON, reading).await.expect("bytes in time").unwrap();
    bytes
}

pub(crate) async fn read_rest(connection: &mut Connection) -> String {
    let mut bytes = Vec::new();
    // A connection that breaks off ends like one that is closed.
    let reading = connection.read_to_end(&mut bytes);
    let _ = tokio::time::timeout(SOON, reading).await.expect("an end in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

const EXEC: &str = "/api/v1/namespaces/default/pods/p/exec";
const SPDY: &str = "Connection: Upgrade\nUpgrade: SPDY/3.1\nX-Stream-Protocol-Version: v4.channel.k8s.io\nContent-Length: 0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgraded_connection_is_passed_through() {
    let mut stage = Stage::set().await;
    let head = format!(
        "POST {EXEC}?command=echo&command=a%20b&stdout=true HTTP/1.1\n{SPDY}\nAuthorization: Bearer secret"
    );
    let mut client = stage.send("admin", Some("system:masters"), &head).await;
    let mut kubelet = stage.asked().await;
    assert_eq!(
        kubelet.line(),
        "POST /exec/default/p/c?output=1&command=echo&command=a%20b HTTP/1.1"
    );
    let lower = kubelet.head.to_ascii_lowercase();
    assert!(lower.contains("x-stream-protocol-version: v4.channel.k8s.io"), "{lower}");
    assert!(!lower.contains("secret"), "{lower}");
    kubelet.switch("v4.channel.k8s.io").await;
    let answer = read_head(&mut client).await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(answer.contains("upgrade: spdy/3.1"), "{answer}");
    assert!(answer.contains("x-stream-protocol-version: v4.channel.k8s.io"), "{answer}");
    assert_eq!(stage.cluster.server.open_streams(), 1);
    client.write_all(b"question").await.unwrap();
    assert_eq!(read_exactly(&mut kubelet.connection, 8).await, b"question");
    kubelet.connection.write_all(b"answer").await.unwrap();
    assert_eq!(read_exactly(&mut client, 6).await, b"answer");
    // The container ends.
    drop(kubelet);
    assert_eq!(read_rest(&mut client).await, "");
    drop(client);
    stage.all_ended().await;
    stage.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_and_a_server_that_stops_end_conversations() {
    let mut stage = Stage::set().await;
    let head = format!("POST {EXEC}?command=x&stdin=true HTTP/1.1\n{SPDY}");
    let mut conversations = Vec::new();
    for _ in 0..3 {
        let mut client = stage.admin(&head).await;
        let mut kubelet = stage.asked().await;
        kubelet.switch("v4.channel.k8s.io").await;
        read_head(&mut client).await;
        conversations.push((client, kubelet));
    }
    assert_eq!(stage.cluster.server.open_streams(), 3);
    let (client, mut kubelet) = conversations.pop().unwrap();
    drop(client);
    assert_eq!(read_rest(&mut kubelet.connection).await, "");
    let Stage { cluster, .. } = stage;
    let server = cluster.server.clone();
    cluster.stop().await;
    assert_eq!(server.open_streams(), 0);
    for (mut client, mut kubelet) in conversations {
        assert_eq!(read_rest(&mut client).await, "");
        assert_eq!(read_rest(&mut kubelet.connection).await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_upstreams() {
    let mut stage = Stage::set().await;
    let mut client = stage.admin(&format!("POST {EXEC}?command=x&stdout=1 HTTP/1.1\n{SPDY}")).await;
    let mut kubelet = stage.asked().await;
    kubelet.answer("HTTP/1.1 404 Not Found\nContent-Length: 23\nConnection: close\n\ncontainer not found (c)").await;
    let refusal = read_head(&mut client).await;
    assert!(refusal.starts_with("HTTP/1.1 404 "), "{refusal}");
    assert_eq!(read_exactly(&mut client, 23).await, b"container not found (c)");
    stage.all_ended().await;

    let admin = stage.cluster.admin();
    let refused = admin.get(&format!("{EXEC}?command=x")).await;
    assert_eq!(refused.refusal(), "400 BadRequest: Upgrade request required");
    let refused = admin.get("/api/v1/namespaces/default/pods/q/exec").await;
    assert_eq!(refused.refusal(), "404 NotFound: pods \"q\" not found");
    let refused = admin.get(&format!("{EXEC}?container=z")).await;
    assert_eq!(refused.refusal(), "400 BadRequest: container z is not valid for pod p");
    let unbound = json!({"metadata": {"name": "u"}, "spec": {
        "containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}],
    }});
    admin.create("/api/v1/namespaces/default/pods", &unbound).await.ok();
    let at = |rest: &str| format!("/api/v1/namespaces/default/pods/u/{rest}");
    let refused = admin.get(&at("exec")).await;
    assert_eq!(
        refused.refusal(),
        "400 BadRequest: a container name must be specified for pod u, choose one of: [a b]"
    );
    let refused = admin.get(&at("portforward")).await;
    assert_eq!(refused.refusal(), "400 BadRequest: pod u does not have a host assigned");
    stage.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_only_read_may_not_run_commands() {
    let stage = Stage::set().await;
    let admin = stage.cluster.admin();
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"metadata": {"name": "reader"}, "rules": [
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]},
    ]});
    let mut policy = stage.cluster.server.policy_compiled();
    policy.mark_unchanged();
    admin.create(&format!("{rbac}/roles"), &role).await.ok();
    let binding = json!({"metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    });
    admin.create(&format!("{rbac}/rolebindings"), &binding).await.ok();
    let jane = stage.cluster.user("jane", &[]);
    let expected = "403 Forbidden: pods \"p\" is forbidden: User \"jane\" cannot create resource \"pods/exec\" in API group \"\" in the namespace \"default\"";
    let refused = loop {
        let refused = jane.get(&format!("{EXEC}?command=x")).await.refusal();
        if refused == expected || policy.changed().await.is_err() {
            break refused;
        }
    };
    assert_eq!(refused, expected);
    stage.cluster.stop().await;
}
