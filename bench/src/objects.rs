//! The objects that the generators create.

use serde_json::{Value, json};

/// A label on everything that is created, so that leftovers can be found.
pub const LABEL: &str = "kontiki-bench";

/// A namespace.
pub fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "labels": { LABEL: name } },
    })
}

/// A ConfigMap with a value of `bytes` bytes.
pub fn config_map(run: &str, name: &str, bytes: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": run, "labels": { LABEL: run } },
        "data": { "value": "x".repeat(bytes) },
    })
}

/// A pod as real ones look (about 3 kB once stored) for a scheduler of that name.
pub fn pod(run: &str, name: &str, scheduler: &str, cpu: &str, memory: &str) -> Value {
    let app = name.rsplit_once('-').map_or(name, |(app, _)| app);
    let environment: Vec<Value> = (0..8)
        .map(
            |i| json!({ "name": format!("SETTING_{i}"), "value": format!("value-of-setting-{i}") }),
        )
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": run,
            "labels": { LABEL: run, "app": app, "tier": "backend" },
            "annotations": { "example.com/description": "made to measure ".repeat(8) },
        },
        "spec": {
            "schedulerName": scheduler,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "web", "image": "registry.example/team/web:1.2.3", "env": environment,
                "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
                "resources": {
                    "requests": { "cpu": cpu, "memory": memory },
                    "limits": { "memory": memory },
                },
                "readinessProbe": {
                    "httpGet": { "path": "/ready", "port": 8080 }, "periodSeconds": 5,
                },
            }],
        },
    })
}

/// A node without a machine, spread over three zones.
pub fn node(run: &str, index: usize) -> Value {
    let name = node_name(run, index);
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                LABEL: run, "kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": format!("zone-{}", index % 3),
            },
        },
    })
}

/// The name of a node.
pub fn node_name(run: &str, index: usize) -> String {
    format!("{run}-node-{index:05}")
}

/// What a kubelet would report of a node.
pub fn node_status(now: &str) -> Value {
    let amounts =
        json!({ "cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "1Ti" });
    json!({
        "status": {
            "capacity": amounts, "allocatable": amounts,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
        },
    })
}

/// The heartbeat of a node.
pub fn lease(name: &str, now: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": name, "namespace": "kube-node-lease" },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now },
    })
}
