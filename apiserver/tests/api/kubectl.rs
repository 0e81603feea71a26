//! Real `kubectl`s, of every version that is installed, against a real socket.

mod kinds;
mod ownership;

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use kontiki_base::pki::CertificateRequest;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::support::Cluster;

/// Where `kubectl`s are found: the path, and where the Cloud SDK keeps one per version.
fn kubectls() -> Vec<PathBuf> {
    let sdk = std::fs::read_dir("/usr/lib/google-cloud-sdk/bin").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = sdk
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kubectl"))
        })
        .collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path).map(|folder| folder.join("kubectl")));
    found.retain(|path| path.is_file());
    found.sort();
    found.dedup_by_key(|path| std::fs::canonicalize(path).ok());
    found
}

struct Kubectl<'a> {
    program: &'a Path,
    folder: &'a Path,
    /// Each has its own, so that they can work at the same time.
    namespace: String,
}

impl Kubectl<'_> {
    async fn run(&self, arguments: &str, input: &str) -> Output {
        let mut child = Command::new(self.program)
            .arg("--kubeconfig")
            .arg(self.folder.join("kubeconfig"))
            .arg("--cache-dir")
            .arg(self.folder.join("cache"))
            .arg("--namespace")
            .arg(&self.namespace)
            .args(arguments.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        child.wait_with_output().await.unwrap()
    }

    /// Runs what must succeed; answers with its output.
    async fn ok(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input).await;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let program = self.program.display();
        assert!(output.status.success(), "{program} {arguments}: {out}{err}");
        out.into_owned()
    }

    /// Runs what must fail; answers with what it complains about.
    async fn refused(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input).await;
        assert!(!output.status.success(), "{} {arguments}", self.program.display());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: 'web:1', ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_installed_kubectl_works() {
    let programs = kubectls();
    if programs.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "CI must have a kubectl");
        println!("skipped: there is no kubectl on this machine");
        return;
    }
    let cluster = Cluster::start().await;
    let address = cluster.listen().await;
    let folder = tempfile::tempdir().unwrap();
    write_kubeconfig(&cluster, folder.path(), address.port());
    let all = programs.iter().enumerate().map(|(number, program)| {
        let namespace = format!("kubectl-{number}");
        let (admin, folder) = (cluster.admin(), folder.path());
        async move {
            let object = serde_json::json!({"metadata": {"name": namespace}});
            admin.create("/api/v1/namespaces", &object).await.ok();
            let kubectl = Kubectl { program, folder, namespace };
            drive(&kubectl).await;
            kinds::drive(&kubectl).await;
        }
    });
    futures::future::join_all(all).await;
    cluster.stop().await;
}

fn write_kubeconfig(cluster: &Cluster, folder: &Path, port: u16) {
    let request = CertificateRequest::client("admin", Some("system:masters"));
    let admin = cluster.authority.issue(&request).unwrap();
    let at = folder.display();
    std::fs::write(folder.join("ca.crt"), &cluster.authority.certificate_pem).unwrap();
    std::fs::write(folder.join("admin.crt"), &admin.chain_pem).unwrap();
    std::fs::write(folder.join("admin.key"), &admin.key_pem).unwrap();
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: t,
           clusters: [{{name: t, cluster: {{server: 'https://127.0.0.1:{port}',
             certificate-authority: {at}/ca.crt}}}}],
           users: [{{name: t, user: {{client-certificate: {at}/admin.crt,
             client-key: {at}/admin.key}}}}],
           contexts: [{{name: t, context: {{cluster: t, user: t}}}}]}}"
    );
    std::fs::write(folder.join("kubeconfig"), text).unwrap();
}

/// What people do with `kubectl` all day.
async fn drive(kubectl: &Kubectl<'_>) {
    assert!(kubectl.ok("api-resources", "").await.contains("deployments"));
    assert!(kubectl.ok("explain deployment.spec.replicas", "").await.contains("<integer>"));
    let applied = kubectl.ok("apply -f -", DEPLOYMENT).await;
    assert!(applied.contains("deployment.apps/web created"), "{applied}");
    let applied = kubectl.ok("apply -f -", DEPLOYMENT).await;
    assert!(applied.contains("deployment.apps/web unchanged"), "{applied}");
    let wrong = DEPLOYMENT.replace("replicas:", "replica:");
    let refused = kubectl.refused("apply -f -", &wrong).await;
    assert!(refused.contains("unknown field \"spec.replica\""), "{refused}");
    let table = kubectl.ok("get deployments -o wide", "").await;
    assert!(table.starts_with("NAME") && table.contains("web:1"), "{table}");
    kubectl.ok("scale deployment web --replicas=5", "").await;
    let replicas = kubectl.ok("get deployment web -o jsonpath={.spec.replicas}", "").await;
    assert_eq!(replicas, "5");
    kubectl.ok("set image deployment/web web=web:2", "").await;
    kubectl.ok("label deployment web tier=front", "").await;
    kubectl.ok("annotate service web note=x", "").await;
    let patch =
        r#"patch deployment web --type=json -p [{"op":"remove","path":"/metadata/labels/tier"}]"#;
    kubectl.ok(patch, "").await;
    let described = kubectl.ok("describe deployment web", "").await;
    assert!(described.contains("web:2") && described.contains("5 desired"), "{described}");
    assert!(kubectl.ok("auth can-i delete pods", "").await.starts_with("yes"));
    assert!(!kubectl.run("auth can-i delete pods --as eve", "").await.status.success());
    kubectl.ok("create configmap c --from-literal=a=b", "").await;
    kubectl.ok("create serviceaccount bot", "").await;
    assert!(kubectl.ok("get configmap c -o yaml", "").await.contains("a: b"));
    assert!(kubectl.refused("get configmap nope", "").await.contains("\"nope\" not found"));
    assert!(kubectl.refused("get nopes", "").await.contains("doesn't have a resource type"));
    ownership::drive(kubectl).await;
    kubectl.ok("delete -f -", DEPLOYMENT).await;
    kubectl.ok("delete configmap/c serviceaccount/bot", "").await;
}
