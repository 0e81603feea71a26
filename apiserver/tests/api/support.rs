//! A server of one member in a folder of its own, and callers of it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kontiki_apiserver::{
    ApiServer, Body, InProcess, Options, Secrets, UserInfo, storage::backend::Backend,
};
use kontiki_base::{
    pki::{Authority, CertificateRequest, Usage},
    tasks::Tasks,
    tls::{self, ClientCertificates, Roots},
};
use kontiki_raft::{PeerTls, Start, Store, Timing};
use serde_json::{Value, json};
use tower::{Service, ServiceExt};

/// A running server.
pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    pub(crate) store: Store,
    pub(crate) authority: Authority,
    pub(crate) tasks: Tasks,
    pub(crate) options: Options,
    _folder: tempfile::TempDir,
}

/// A caller with an identity.
#[derive(Clone)]
pub(crate) struct Caller(pub(crate) InProcess);

pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) value: Value,
    pub(crate) revision: u64,
}

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        Cluster::start_with(|_| {}).await
    }

    /// A server with other settings than the default ones.
    pub(crate) async fn start_with(set: impl FnOnce(&mut Options)) -> Cluster {
        tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::new();
        let store = open_store(&folder, &tasks).await;
        let authority = Authority::generate("kontiki-cluster").unwrap();
        let secrets = Secrets {
            service_account_key: Authority::generate("sa").unwrap().key_pem,
            cluster_roots: Roots { pem: authority.certificate_pem.clone() },
            kubelet_client: authority
                .issue(&CertificateRequest::client("kube-apiserver-kubelet-client", None))
                .unwrap(),
        };
        let mut options = Options::new("test", "192.0.2.1".parse().unwrap(), secrets);
        set(&mut options);
        let server = ApiServer::new(options.clone(), store.clone(), &tasks).unwrap();
        server.ready().wait_for(|ready| *ready).await.unwrap();
        Cluster { server, store, authority, tasks, options, _folder: folder }
    }

    /// The administrator.
    pub(crate) fn admin(&self) -> Caller {
        self.user("admin", &["system:masters"])
    }

    pub(crate) fn user(&self, name: &str, groups: &[&str]) -> Caller {
        Caller(self.server.in_process(UserInfo::new(name, groups)))
    }

    /// The administrator, at another server on the same store.
    pub(crate) async fn another(&self) -> Caller {
        self.another_on(Arc::new(self.store.clone())).await
    }

    /// The administrator, at another server on what stands for the same store.
    pub(crate) async fn another_on(&self, backend: Arc<dyn Backend>) -> Caller {
        let options = Options { name: "other".to_owned(), ..self.options.clone() };
        let server = ApiServer::on_backend(options, backend, &self.tasks).unwrap();
        server.ready().wait_for(|ready| *ready).await.unwrap();
        Caller(server.in_process(UserInfo::new("admin", &["system:masters"])))
    }

    /// Serves a free port.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let request = CertificateRequest::serving(
            "kube-apiserver",
            vec!["localhost".to_owned()],
            vec![local],
            Usage::Server,
        );
        let identity = self.authority.issue(&request).unwrap();
        let roots = Roots { pem: self.authority.certificate_pem.clone() };
        let alpn: [&[u8]; 2] = [b"h2", b"http/1.1"];
        let config =
            tls::server_config(&identity, &roots, ClientCertificates::Optional, &alpn).unwrap();
        let listener = tokio::net::TcpListener::bind((local, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        self.server.serve(listener, config, &self.tasks);
        address
    }

    pub(crate) async fn stop(self) {
        self.tasks.stop().await;
        self.store.shutdown().await.unwrap();
    }
}

async fn open_store(folder: &tempfile::TempDir, tasks: &Tasks) -> Store {
    let authority = Authority::generate("kontiki-store").unwrap();
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let request =
        CertificateRequest::serving("test", vec!["localhost".to_owned()], vec![local], Usage::Peer);
    let options = kontiki_raft::Options {
        data_dir: folder.path().join("store"),
        name: "test".to_owned(),
        listen: SocketAddr::new(local, 0),
        peer_address: "127.0.0.1:0".to_owned(),
        api_address: "127.0.0.1:0".to_owned(),
        client_address: String::new(),
        tls: PeerTls {
            identity: authority.issue(&request).unwrap(),
            roots: Roots { pem: authority.certificate_pem.clone() },
        },
        timing: Timing::default(),
        tuning: kontiki_raft::Tuning::default(),
        start: Start::Bootstrap,
    };
    Store::open(options, tasks).await.unwrap()
}

impl Caller {
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Body> {
        let mut service = self.0.clone();
        ServiceExt::<Request<Full<Bytes>>>::ready(&mut service).await.unwrap();
        service.call(request).await.unwrap()
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        uri: &str,
        media_type: &str,
        body: impl Into<Bytes>,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", media_type)
            .body(Full::new(body.into()))
            .unwrap();
        let response = self.send(request).await;
        let code = response.status();
        let revision = response
            .headers()
            .get("kontiki-revision")
            .map_or(0, |value| value.to_str().unwrap().parse().unwrap());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { code, value, revision }
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.call(Method::GET, uri, "application/json", "").await
    }

    pub(crate) async fn create(&self, uri: &str, object: &Value) -> Answer {
        self.call(Method::POST, uri, "application/json", object.to_string()).await
    }

    pub(crate) async fn update(&self, uri: &str, object: &Value) -> Answer {
        self.call(Method::PUT, uri, "application/json", object.to_string()).await
    }

    pub(crate) async fn merge(&self, uri: &str, patch: &Value) -> Answer {
        let media_type = "application/merge-patch+json";
        self.call(Method::PATCH, uri, media_type, patch.to_string()).await
    }

    pub(crate) async fn delete(&self, uri: &str) -> Answer {
        self.call(Method::DELETE, uri, "application/json", "").await
    }

    /// Opens a watch; its lines come one by one.
    pub(crate) async fn watch(&self, uri: &str) -> Lines {
        let request = Request::get(uri).body(Full::new(Bytes::new())).unwrap();
        self.watch_request(request).await
    }

    pub(crate) async fn watch_request(&self, request: Request<Full<Bytes>>) -> Lines {
        let response = self.send(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        Lines { body: response.into_body(), buffer: Vec::new() }
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!(self.code.is_success(), "{}: {}", self.code, self.value);
        self.value
    }

    /// `CODE REASON: MESSAGE`.
    pub(crate) fn refusal(&self) -> String {
        let text = |field: &str| self.value[field].as_str().unwrap_or_default();
        format!("{} {}: {}", self.code.as_u16(), text("reason"), text("message"))
    }
}

/// The lines of a watch.
pub(crate) struct Lines {
    body: Body,
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.buffer.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// The next line as `TYPE NAME @REVISION`, bookmarks without name.
    pub(crate) async fn event(&mut self) -> String {
        let waited = std::time::Duration::from_secs(20);
        let line = tokio::time::timeout(waited, self.next()).await.expect("an event in time");
        let Some(line) = line else { return "end".to_owned() };
        let meta = &line["object"]["metadata"];
        let name = meta["name"].as_str().unwrap_or("-");
        let revision = meta["resourceVersion"].as_str().unwrap_or_default();
        format!("{} {name} @{revision}", line["type"].as_str().unwrap())
    }
}

pub(crate) fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "b"}})
}

pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
