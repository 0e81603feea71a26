//! One node under test: its folders, its kubelet, its containerd.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use kontiki_base::{
    pki::{Authority, CertificateRequest, Usage},
    tasks::{TaskKind, Tasks},
    tls::{self, Identity, Roots},
};
use kontiki_kubelet::{
    Options, Service,
    probes::{http, target::HttpTarget},
    runtime::{Runtime, containerd::Containerd},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::fake_api::FakeApi;

pub(crate) struct TestNode {
    pub(crate) api: FakeApi,
    dir: PathBuf,
    options: Options,
    roots: Roots,
    admin: Identity,
    tasks: Tasks,
    agent: Option<tokio::task::JoinHandle<()>>,
    /// Keeps other tests away from the pod range.
    _range: TcpListener,
}

/// Whether this machine can run containers; says why not.
fn can_run() -> bool {
    let is_root = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t")));
    let installed = ["/usr/bin/containerd", "/usr/sbin/runc", "/usr/lib/cni/ptp"];
    let missing: Vec<&str> =
        installed.into_iter().filter(|path| !Path::new(path).exists()).collect();
    if is_root && missing.is_empty() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "root: {is_root}, missing: {missing:?}");
    eprintln!("skipped: needs root (is root: {is_root}) and {missing:?}");
    false
}

impl TestNode {
    pub(crate) async fn start(name: &str) -> Option<TestNode> {
        if !can_run() {
            return None;
        }
        let _ = kontiki_base::telemetry::init("info,kontiki_kubelet=debug", Default::default());
        let pid = std::process::id();
        let dir = PathBuf::from(format!("/tmp/kubelet-{name}-{pid}"));
        std::fs::create_dir_all(&dir).unwrap();
        let authority = Authority::generate("test").unwrap();
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let serving = authority
            .issue(&CertificateRequest::serving(name, vec![], vec![local], Usage::Server))
            .unwrap();
        let admin = authority
            .issue(&CertificateRequest::client(
                "kube-apiserver-kubelet-client",
                Some("system:masters"),
            ))
            .unwrap();
        let roots = Roots { pem: authority.certificate_pem };
        let mut options = Options::new(name, vec![local], dir.clone(), serving, roots.clone());
        options.cgroup_root = format!("/kubelet-{name}-{pid}/kubepods");
        options.listen = free_port();
        options.lease_renew_interval = Duration::from_secs(1);
        options.status_update_interval = Duration::from_secs(1);
        options.log_size_max = 10_000;
        options.cluster_dns = vec!["10.43.0.10".parse().unwrap()];
        let (third, range) = pod_range();
        let api = FakeApi::new(&format!("10.251.{third}.0/24"));
        let mut node = TestNode {
            api,
            dir,
            options,
            roots,
            admin,
            tasks: Tasks::new(),
            agent: None,
            _range: range,
        };
        node.start_agent().await;
        Some(node)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) async fn start_agent(&mut self) {
        self.tasks = Tasks::new();
        let service = Service::new(self.options.clone(), self.api.client());
        let tasks = self.tasks.clone();
        let runner = Tasks::new();
        self.agent = Some(
            runner.spawn(TaskKind::vital("kubelet"), async move { service.run(&tasks).await }),
        );
        let name = self.options.node_name.clone();
        self.api
            .wait("the node to be ready", |api| {
                let node = api.get(&format!("/api/v1/nodes/{name}"))?;
                condition(&node, "Ready").then_some(())
            })
            .await;
    }

    pub(crate) async fn stop_agent(&mut self) {
        self.tasks.stop().await;
        if let Some(agent) = self.agent.take() {
            agent.await.unwrap();
        }
    }

    fn containerd(&self) -> Containerd {
        let paths = self.options.paths();
        Containerd::new(
            &self.options.containerd_program,
            paths.containerd(),
            &self.options.cni_bin_dir,
            paths.cni_conf(),
        )
    }

    pub(crate) async fn kill_containerd(&self) {
        let running = self.containerd().running().await.unwrap().unwrap();
        let pid = running.pid().to_string();
        std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
        running.ended().await;
    }

    pub(crate) async fn stop(mut self) {
        self.stop_agent().await;
        if let Some(running) = self.containerd().running().await.unwrap() {
            running.stop().await.unwrap();
        }
        std::fs::remove_dir_all(&self.dir).unwrap();
        let root = self.options.cgroup_root.trim_end_matches("/kubepods").to_owned();
        kontiki_kubelet::node::leftovers::remove_cgroup(&root).await;
    }

    fn runtime(&self) -> Runtime {
        Runtime::new(&self.containerd().socket())
    }

    pub(crate) async fn sandboxes(&self) -> usize {
        self.runtime().sandboxes(None).await.map_or(0, |sandboxes| sandboxes.len())
    }

    pub(crate) async fn assert_nothing_left(&self) {
        assert_eq!(self.sandboxes().await, 0, "sandboxes");
        assert_eq!(self.runtime().containers(None).await.unwrap(), [], "containers");
        let pods: Vec<_> = std::fs::read_dir(self.dir.join("pods")).unwrap().collect();
        assert!(pods.is_empty(), "pod folders: {pods:?}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let below = format!("{}/pods/", self.dir.display());
        assert!(!mounts.contains(&below), "mounts below {below}");
        let cgroup = format!("/sys/fs/cgroup/memory{}", self.options.cgroup_root);
        for parent in ["", "/burstable", "/besteffort"] {
            let Ok(entries) = std::fs::read_dir(format!("{cgroup}{parent}")) else { continue };
            let pods: Vec<_> = entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .filter(|name| name.starts_with("pod"))
                .collect();
            assert!(pods.is_empty(), "cgroups {pods:?}");
        }
    }

    pub(crate) fn has_event(&self, reason: &str) -> bool {
        self.api.list("/events/").iter().any(|event| event["reason"] == reason)
    }

    /// GET from a pod; what it answers, or why not.
    pub(crate) async fn http(&self, ip: &str, path: &str) -> String {
        let target = HttpTarget {
            tls: false,
            address: format!("{ip}:8080"),
            path: path.to_owned(),
            headers: Vec::new(),
        };
        http::probe(&target, Duration::from_secs(5)).await.unwrap_or_else(|problem| problem)
    }

    /// A log from the kubelet's server.
    pub(crate) async fn logs(&self, what: &str) -> String {
        self.get(&format!("containerLogs/{what}")).await
    }

    /// Anything from the kubelet's server.
    pub(crate) async fn get(&self, path: &str) -> String {
        let mut stream = self.open(path).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        unchunk(body)
    }

    /// A connection on which a log arrives.
    pub(crate) async fn follow(&self, what: &str) -> TlsStream<TcpStream> {
        self.open(&format!("containerLogs/{what}")).await
    }

    /// The code of the answer to somebody without a certificate.
    pub(crate) async fn code_without_certificate(&self, path: &str, token: &str) -> String {
        let mut stream = self.connect(None).await;
        let request = format!(
            "GET /{path} HTTP/1.1\r\nhost: node\r\nauthorization: Bearer {token}\r\n\
             connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    async fn open(&self, path: &str) -> TlsStream<TcpStream> {
        let mut stream = self.connect(Some(&self.admin)).await;
        let request = format!("GET /{path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn connect(&self, identity: Option<&Identity>) -> TlsStream<TcpStream> {
        let config = tls::client_config(&self.roots, identity, &[]).unwrap();
        let stream = TcpStream::connect(self.options.listen).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        connector.connect(name, stream).await.unwrap()
    }

    /// Reads until a text has arrived.
    pub(crate) async fn read_until(&self, stream: &mut TlsStream<TcpStream>, wanted: &str) {
        let reading = async {
            let (mut text, mut buffer) = (String::new(), [0u8; 4096]);
            while !text.contains(wanted) {
                let length = stream.read(&mut buffer).await.unwrap();
                assert!(length > 0, "the log ended without {wanted}");
                text.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reading).await.unwrap();
    }

    pub(crate) fn pod_log_folder(&self, namespace: &str, name: &str, pod: &Value) -> PathBuf {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        self.options.paths().pod_logs(namespace, name, uid)
    }

    /// Waits for something that no event announces.
    pub(crate) async fn eventually(&self, what: &str, check: impl AsyncFn() -> bool) {
        for _ in 0..300 {
            if check().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("waited too long for {what}");
    }
}

/// A test that failed leaves no process, mount or folder behind either.
impl Drop for TestNode {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // Or containerd would be started again.
        self.tasks.shutdown().cancel();
        let dir = self.dir.display();
        let cgroup = self.options.cgroup_root.trim_end_matches("/kubepods");
        let script = format!(
            "for p in /proc/[0-9]*; do \
               if tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q '^[^ ]*containerd.* {dir}/'; then \
                 kill -9 ${{p#/proc/}}; fi; done; \
             find /sys/fs/cgroup/*{cgroup} -name cgroup.procs -exec cat {{}} + 2>/dev/null | \
               sort -u | xargs -r kill -9; sleep 1; \
             grep ' {dir}' /proc/self/mounts | cut -d' ' -f2 | sort -r | xargs -r umount -l; \
             rm -rf '{dir}'; \
             find /sys/fs/cgroup/*{cgroup} -depth -type d -exec rmdir {{}} + 2>/dev/null",
        );
        let _ = std::process::Command::new("sh").args(["-c", &script]).status();
    }
}

fn unchunk(body: &str) -> String {
    let mut out = String::new();
    let mut rest = body;
    if !body.contains("\r\n") {
        return body.to_owned();
    }
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else { return body.to_owned() };
        if size == 0 {
            break;
        }
        out.push_str(&tail[..size]);
        rest = tail[size..].trim_start_matches("\r\n");
    }
    out
}

/// A range of pod addresses that no other test on this machine uses while the listener lives.
fn pod_range() -> (u16, TcpListener) {
    let taken = |third: u16| Some((third, TcpListener::bind(("127.0.0.1", 41_000 + third)).ok()?));
    (0..256).find_map(taken).unwrap()
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Creates a pod bound to the node; answers its path.
pub(crate) fn pod(node: &TestNode, namespace: &str, name: &str, mut spec: Value) -> String {
    spec["nodeName"] = json!(node.options.node_name);
    let collection = format!("/api/v1/namespaces/{namespace}/pods");
    node.api.put(
        &collection,
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "generation": 1 },
            "spec": spec,
            "status": { "phase": "Pending" },
        }),
    );
    format!("{collection}/{name}")
}

fn condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|list| list.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

/// The pod at a path, if it is ready.
pub(crate) fn ready(api: &FakeApi, path: &str) -> Option<Value> {
    api.get(path).filter(|pod| condition(pod, "Ready"))
}

pub(crate) fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or_default()
}

pub(crate) fn pod_ip(pod: &Value) -> String {
    pod["status"]["podIP"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn restarts(pod: &Value) -> i64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or_default()
}
