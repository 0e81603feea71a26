//! A kubelet on a real containerd, against an API server in memory.

#![expect(clippy::unwrap_used, reason = "a test may panic anywhere")]
#![expect(clippy::print_stderr, reason = "what a failed or skipped test has to say")]

mod fake_api;
mod harness;

use std::time::Duration;

use harness::{TestNode, phase, pod, pod_ip, ready, restarts};
use serde_json::{Value, json};

/// A pod that uses most of what a kubelet offers.
fn everything() -> Value {
    json!({
        "terminationGracePeriodSeconds": 10,
        "volumes": [
            { "name": "texts", "configMap": { "name": "texts" } },
            { "name": "scratch", "emptyDir": { "medium": "Memory" } },
            { "name": "token", "projected": { "sources": [
                { "serviceAccountToken": { "path": "token" } },
                { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } }] } }] } },
        ],
        "initContainers": [{
            "name": "init", "image": "kontiki.dev/demo-web:v1",
            "command": ["/bin/demo-web", "touch", "/scratch/made"],
            "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }],
        }],
        "containers": [{
            "name": "web", "image": "kontiki.dev/demo-web:v1",
            "env": [
                { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                { "name": "SECRET_WORD", "valueFrom": { "secretKeyRef": { "name": "word", "key": "w" } } },
                { "name": "DRAIN_SECONDS", "value": "0.5" },
            ],
            "resources": { "requests": { "cpu": "50m", "memory": "16Mi" }, "limits": { "memory": "64Mi" } },
            "volumeMounts": [
                { "name": "texts", "mountPath": "/etc/demo-web" },
                { "name": "scratch", "mountPath": "/scratch" },
                { "name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true },
            ],
            "readinessProbe": { "httpGet": { "path": "/readyz", "port": 8080 }, "periodSeconds": 1 },
            "livenessProbe": { "exec": { "command": ["/bin/demo-web", "cat", "/scratch/made"] }, "periodSeconds": 1 },
        }],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_lives_and_dies() {
    let Some(node) = TestNode::start("life").await else { return };
    let api = node.api.clone();
    api.put(
        "/api/v1/namespaces/shop/configmaps",
        json!({ "metadata": { "name": "texts" }, "data": { "message": "hello" } }),
    );
    api.put(
        "/api/v1/namespaces/shop/secrets",
        json!({ "metadata": { "name": "word" }, "data": { "w": "c2VzYW1l" } }),
    );
    let path = pod(&node, "shop", "web", everything());
    let running = api.wait("the pod to be ready", |api| ready(api, &path)).await;
    assert_eq!(phase(&running), "Running");
    assert_eq!(running["status"]["qosClass"], "Burstable");
    assert_eq!(
        running["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"],
        "Completed"
    );
    let ip = pod_ip(&running);
    assert_eq!(node.http(&ip, "/").await, "web v1\n");
    assert_eq!(node.http(&ip, "/config").await, "hello");
    assert_eq!(node.http(&ip, "/secret").await, "a secret of 6 letters\n");
    let uid = running["metadata"]["uid"].as_str().unwrap();
    let token = node.dir().join(format!("pods/{uid}/volumes/kubernetes.io~projected/token/token"));
    assert_eq!(std::fs::read_to_string(token).unwrap(), "TOKEN");

    // A changed ConfigMap reaches the volume.
    api.put(
        "/api/v1/namespaces/shop/configmaps",
        json!({ "metadata": { "name": "texts" }, "data": { "message": "changed" } }),
    );
    node.eventually("the volume to change", async || node.http(&ip, "/config").await == "changed")
        .await;

    // Logs, through the server.
    let log = node.logs("shop/web/web?tailLines=1000").await;
    assert!(log.starts_with("web v1 serves on port 8080\n"), "{log}");

    let asks = |path: &'static str, token: &'static str| node.code_without_certificate(path, token);
    assert_eq!(asks("metrics", "good").await, "200");
    assert_eq!(asks("pods", "good").await, "403");
    assert_eq!(asks("metrics", "bad").await, "401");
    let stats = node.get("stats/summary").await;
    assert!(stats.contains("\"workingSetBytes\""), "{stats}");

    // A crash is restarted, and remembered.
    node.http(&ip, "/exit/3").await;
    let again =
        api.wait("the restart", |api| ready(api, &path).filter(|pod| restarts(pod) == 1)).await;
    let last = &again["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((last["exitCode"].as_i64(), last["reason"].as_str()), (Some(3), Some("Error")));
    assert!(node.logs("shop/web/web?previous=true").await.contains("serves on port"));

    // Deleted: drained, then gone from the API, the runtime, the disk and the kernel.
    api.delete_gracefully(&path, 10);
    api.wait("the pod to be gone", |api| api.get(&path).is_none().then_some(())).await;
    node.assert_nothing_left().await;
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert!(node.has_event(reason), "no {reason} event");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_run_says_why() {
    let Some(node) = TestNode::start("why").await else { return };
    let api = node.api.clone();
    let container = |name: &str, image: &str, more: Value| {
        let mut container = json!({ "name": name, "image": image });
        for (key, value) in more.as_object().unwrap() {
            container[key] = value.clone();
        }
        json!({ "containers": [container], "terminationGracePeriodSeconds": 0 })
    };
    let demo = "kontiki.dev/demo-web:v1";
    let cases = [
        (
            "never",
            container("c", "kontiki.dev/none:v1", json!({ "imagePullPolicy": "Never" })),
            "ErrImageNeverPull",
        ),
        ("name", container("c", "No Such Name", json!({})), "InvalidImageName"),
        (
            "config",
            container("c", demo, json!({ "envFrom": [{ "configMapRef": { "name": "none" } }] })),
            "CreateContainerConfigError",
        ),
        (
            "crash",
            container("c", demo, json!({ "command": ["/bin/demo-web", "exit", "7"] })),
            "CrashLoopBackOff",
        ),
        (
            "absent",
            container("c", demo, json!({ "command": ["/no/such/file"] })),
            "RunContainerError",
        ),
        ("pull", container("c", "127.0.0.1:9/none:v1", json!({})), "ImagePullBackOff"),
    ];
    let mut paths = Vec::new();
    for (name, spec, reason) in cases {
        paths.push((pod(&node, "default", name, spec), reason));
    }
    for (path, reason) in &paths {
        api.wait(reason, |api| {
            let pod = api.get(path)?;
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            (waiting["reason"] == *reason).then_some(())
        })
        .await;
    }
    for (path, _) in &paths {
        api.delete_gracefully(path, 0);
    }
    for (path, _) in &paths {
        api.wait("the pod to be gone", |api| api.get(path).is_none().then_some(())).await;
    }
    node.assert_nothing_left().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_restart_touches_no_container() {
    let Some(mut node) = TestNode::start("again").await else { return };
    let api = node.api.clone();
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{ "name": "web", "image": "kontiki.dev/demo-web:v2", "env": [{ "name": "DRAIN_SECONDS", "value": "0" }] }],
    });
    let stays = pod(&node, "default", "stays", spec.clone());
    let goes = pod(&node, "default", "goes", spec.clone());
    let before = api.wait("a pod", |api| ready(api, &stays)).await;
    api.wait("a pod", |api| ready(api, &goes)).await;
    let id = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();

    node.stop_agent().await;
    api.remove(&goes);
    node.start_agent().await;
    // The pod that nobody wants any more goes; the other is the same as before.
    node.eventually("the leftover to go", async || node.sandboxes().await == 1).await;
    let late = pod(&node, "default", "late", spec);
    api.wait("a new pod", |api| ready(api, &late)).await;
    let after = api.get(&stays).unwrap();
    assert_eq!(id(&before), id(&after));
    assert_eq!(restarts(&after), 0);

    // containerd dies: it is started again, and containers did not notice.
    node.kill_containerd().await;
    let later = pod(
        &node,
        "default",
        "later",
        json!({
            "containers": [{ "name": "web", "image": "kontiki.dev/demo-web:v1" }],
            "terminationGracePeriodSeconds": 0,
        }),
    );
    api.wait("a pod on the new containerd", |api| ready(api, &later)).await;
    assert_eq!(restarts(&api.get(&stays).unwrap()), 0);
    for path in [&stays, &late, &later] {
        api.delete_gracefully(path, 0);
        api.wait("the pod to be gone", |api| api.get(path).is_none().then_some(())).await;
    }
    tokio::time::timeout(Duration::from_secs(60), node.assert_nothing_left()).await.unwrap();
    node.stop().await;
}

/// A pod that runs one command and is not restarted; `more` goes to the pod or its container.
#[expect(clippy::needless_pass_by_value, reason = "json! makes a value where it stands")]
fn run(command: &[&str], more: Value) -> Value {
    let words = std::iter::once("/bin/demo-web").chain(command.iter().copied());
    let mut spec = json!({
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "c", "image": "kontiki.dev/demo-web:v1", "command": words.collect::<Vec<_>>(),
        }],
    });
    for (key, value) in more.as_object().unwrap() {
        match key.as_str() {
            "restartPolicy" | "activeDeadlineSeconds" => spec[key] = value.clone(),
            _ => spec["containers"][0][key] = value.clone(),
        }
    }
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_end_as_their_policies_say() {
    let Some(node) = TestNode::start("ends").await else { return };
    let api = node.api.clone();
    let memory = json!({ "limits": { "memory": "24Mi" } });
    let words = "/dev/termination-log";
    let cases = [
        ("done", run(&["exit", "0"], json!({})), "Succeeded", "Completed", ""),
        ("failed", run(&["exit", "4"], json!({})), "Failed", "Error", ""),
        (
            "retried",
            run(&["exit", "0"], json!({ "restartPolicy": "OnFailure" })),
            "Succeeded",
            "Completed",
            "",
        ),
        ("hog", run(&["hog", "200"], json!({ "resources": memory })), "Failed", "OOMKilled", ""),
        (
            "late",
            run(&["sleep", "600"], json!({ "activeDeadlineSeconds": 2 })),
            "Failed",
            "Completed",
            "",
        ),
        (
            "words",
            run(
                &["cat", "/absent"],
                json!({ "terminationMessagePolicy": "FallbackToLogsOnError", "terminationMessagePath": words }),
            ),
            "Failed",
            "Error",
            "demo-web: /absent: No such file or directory (os error 2)\n",
        ),
    ];
    let paths: Vec<String> =
        cases.iter().map(|(name, spec, ..)| pod(&node, "default", name, spec.clone())).collect();
    for (path, (name, _, phase_wanted, reason, message)) in paths.iter().zip(&cases) {
        let ended = api
            .wait(name, |api| {
                let pod = api.get(path)?;
                let terminated = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
                (phase(&pod) == *phase_wanted && terminated["reason"] == *reason).then_some(pod)
            })
            .await;
        let terminated = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(terminated["message"].as_str().unwrap_or_default(), *message, "{name}");
        assert_eq!(restarts(&ended), 0, "{name}");
    }
    let late = api.get(&paths[4]).unwrap();
    assert_eq!(late["status"]["reason"], "DeadlineExceeded");
    for path in &paths {
        api.delete_gracefully(path, 0);
        api.wait("the pod to be gone", |api| api.get(path).is_none().then_some(())).await;
    }
    node.assert_nothing_left().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_probes_and_logs_work_together() {
    let Some(node) = TestNode::start("hooks").await else { return };
    let api = node.api.clone();
    let folder = node.dir().join("shared");
    std::fs::create_dir_all(&folder).unwrap();
    let path = pod(
        &node,
        "default",
        "web",
        json!({
            "terminationGracePeriodSeconds": 20,
            "volumes": [{ "name": "shared", "hostPath": { "path": folder, "type": "Directory" } }],
            "securityContext": { "runAsUser": 0, "fsGroup": 0 },
            "initContainers": [{
                "name": "sidecar", "image": "kontiki.dev/demo-web:v2", "restartPolicy": "Always",
                "env": [{ "name": "PORT", "value": "8081" }, { "name": "DRAIN_SECONDS", "value": "0" }],
                "startupProbe": { "tcpSocket": { "port": 8081 }, "periodSeconds": 1 },
            }],
            "containers": [{
                "name": "web", "image": "kontiki.dev/demo-web:v1",
                "env": [{ "name": "DRAIN_SECONDS", "value": "0" }],
                "securityContext": {
                    "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                },
                "volumeMounts": [{ "name": "shared", "mountPath": "/shared", "subPath": "of/web" }],
                "lifecycle": {
                    "postStart": { "exec": { "command": ["/bin/demo-web", "touch", "/shared/started"] } },
                    "preStop": { "exec": { "command": ["/bin/demo-web", "touch", "/shared/stopping"] } },
                },
                "startupProbe": { "exec": { "command": ["/bin/demo-web", "cat", "/shared/started"] }, "periodSeconds": 1 },
                "readinessProbe": { "tcpSocket": { "port": 8080 }, "periodSeconds": 1 },
            }],
        }),
    );
    let running = api.wait("the pod to be ready", |api| ready(api, &path)).await;
    let ip = pod_ip(&running);
    assert!(folder.join("of/web/started").exists());

    // The log is rotated under a reader that follows it.
    let following = node.follow("default/web/web?follow=true").await;
    for _ in 0..150 {
        node.http(&ip, "/a/path/that/makes/its/line/in/the/log/long/enough/to/fill/it/quickly")
            .await;
    }
    let logs = node.pod_log_folder("default", "web", &running);
    node.eventually("the rotation", async || {
        std::fs::read_dir(logs.join("web")).is_ok_and(|files| files.count() > 1)
    })
    .await;
    node.http(&ip, "/after/the/rotation").await;
    let mut text = following;
    node.read_until(&mut text, "/after/the/rotation").await;

    api.delete_gracefully(&path, 20);
    api.wait("the pod to be gone", |api| api.get(&path).is_none().then_some(())).await;
    assert!(folder.join("of/web/stopping").exists());
    assert!(folder.exists(), "a hostPath is the host's");
    node.assert_nothing_left().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_ends_waits_for_nothing() {
    let Some(node) = TestNode::start("hurry").await else { return };
    let api = node.api.clone();
    // A registry that takes connections and never answers.
    let registry = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let image = format!("{}/none:v1", registry.local_addr().unwrap());
    let pulls =
        pod(&node, "default", "pulls", json!({ "containers": [{ "name": "c", "image": image }] }));
    let stubborn = json!({
        "terminationGracePeriodSeconds": 600,
        "containers": [{
            "name": "c", "image": "kontiki.dev/demo-web:v1",
            "env": [{ "name": "DRAIN_SECONDS", "value": "600" }],
        }],
    });
    let stubborn = pod(&node, "default", "stubborn", stubborn);
    api.wait("a running pod", |api| ready(api, &stubborn)).await;
    api.wait("the pull", |api| {
        api.list("/events/").iter().any(|event| event["reason"] == "Pulling").then_some(())
    })
    .await;
    api.delete_gracefully(&pulls, 30);
    api.wait("the pulling pod to be gone", |api| api.get(&pulls).is_none().then_some(())).await;

    // Whoever loses patience later is heard.
    api.delete_gracefully(&stubborn, 600);
    api.wait("the stop", |api| {
        api.list("/events/").iter().any(|event| event["reason"] == "Killing").then_some(())
    })
    .await;
    api.delete_gracefully(&stubborn, 1);
    api.wait("the stubborn pod to be gone", |api| api.get(&stubborn).is_none().then_some(())).await;
    node.assert_nothing_left().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_control_plane_crashes_are_still_repaired() {
    let Some(node) = TestNode::start("alone").await else { return };
    let api = node.api.clone();
    let texts = json!({ "metadata": { "name": "texts" }, "data": { "message": "hello" } });
    api.put("/api/v1/namespaces/default/configmaps", texts);
    let spec = json!({
        "terminationGracePeriodSeconds": 0,
        "volumes": [{ "name": "texts", "configMap": { "name": "texts" } }],
        "containers": [{
            "name": "web", "image": "kontiki.dev/demo-web:v1",
            "envFrom": [{ "configMapRef": { "name": "texts" } }],
            "volumeMounts": [{ "name": "texts", "mountPath": "/etc/demo-web" }],
        }],
    });
    let path = pod(&node, "default", "web", spec);
    let ip = pod_ip(&api.wait("the pod", |api| ready(api, &path)).await);
    node.eventually("the server", async || node.http(&ip, "/config").await == "hello").await;
    api.set_down(true);
    node.http(&ip, "/exit/9").await;
    node.eventually("the restart", async || node.http(&ip, "/config").await == "hello").await;
    let unheard = api.get(&path).unwrap();
    assert_eq!(restarts(&unheard), 0);
    api.set_down(false);
    api.wait("the report", |api| ready(api, &path).filter(|pod| restarts(pod) == 1)).await;
    api.delete_gracefully(&path, 0);
    api.wait("the pod to be gone", |api| api.get(&path).is_none().then_some(())).await;
    node.stop().await;
}
