//! One line of a world as an object.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::now;
use crate::world::Kind;

/// A time so many seconds ago.
pub(crate) fn age(seconds: i64) -> Value {
    let time = now().checked_sub(SignedDuration::from_secs(seconds)).expect("a valid time");
    json!(time.to_string())
}

/// The attributes of a line.
struct Attributes<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Attributes<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }
    fn flag(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    fn number(&self, name: &str) -> Option<i64> {
        self.text(name).and_then(|text| text.parse().ok())
    }
    fn list(&self, name: &str) -> Vec<&'a str> {
        self.text(name).map(|text| text.split(',').collect()).unwrap_or_default()
    }
    fn pairs(&self, name: &str) -> Option<Value> {
        self.text(name).map(|text| {
            let pairs = text.split(',').filter_map(|pair| pair.split_once(':'));
            Value::Object(pairs.map(|(k, v)| (k.to_owned(), json!(v))).collect())
        })
    }
}

/// The kind and object that a line describes.
///
/// Kinds without words of their own are called by their names, and described by JSON behind.
pub(super) fn line(line: &str) -> (Kind, Value) {
    let (line, body) = match line.find('{') {
        Some(at) => line.split_at(at),
        None => (line, "{}"),
    };
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    let mut words = line.split_whitespace();
    let kind = words.next().expect("a kind");
    let name = words.next().expect("a name");
    let attributes =
        Attributes(words.map(|word| word.split_once('=').unwrap_or((word, "true"))).collect());
    let (kind, mut object) = match kind {
        "deployment" => (Kind::Deployment, deployment(name, &attributes)),
        "replicaset" => (Kind::ReplicaSet, replica_set(name, &attributes)),
        "pod" => (Kind::Pod, pod(name, &attributes)),
        "node" => (Kind::Node, node(&attributes)),
        "lease" => (Kind::Lease, lease(&attributes)),
        "namespace" => (Kind::Namespace, json!({"spec": {"finalizers": ["kubernetes"]}})),
        "service" => (Kind::Service, service(&attributes)),
        "slice" => (Kind::EndpointSlice, slice(&attributes)),
        "secret" => (Kind::Secret, json!({})),
        "serviceaccount" => (Kind::ServiceAccount, json!({})),
        "configmap" => (Kind::ConfigMap, json!({"data": attributes.pairs("data")})),
        other => {
            let kind = Kind::ALL.iter().find(|kind| format!("{kind:?}") == other);
            (*kind.unwrap_or_else(|| panic!("unknown kind {other:?} in {line:?}")), json!({}))
        }
    };
    merge(&mut object, &body);
    metadata(kind, name, &attributes, &mut object);
    (kind, object)
}

fn merge(object: &mut Value, body: &Value) {
    match (object, body) {
        (Value::Object(object), Value::Object(body)) => {
            for (name, value) in body {
                merge(object.entry(name.as_str()).or_insert(Value::Null), value);
            }
        }
        (object, body) => *object = body.clone(),
    }
}

fn metadata(kind: Kind, name: &str, attributes: &Attributes<'_>, object: &mut Value) {
    let metadata = &mut object["metadata"];
    metadata["name"] = json!(name);
    metadata["uid"] = json!(attributes.text("uid").unwrap_or(&format!("{kind:?}/{name}")));
    if kind.namespaced() {
        let default = if kind == Kind::Lease { "kube-node-lease" } else { "default" };
        metadata["namespace"] = json!(attributes.text("namespace").unwrap_or(default));
    }
    metadata["creationTimestamp"] = age(attributes.number("age").unwrap_or(1000));
    metadata["generation"] = json!(attributes.number("generation").unwrap_or(1));
    if let Some(labels) = attributes.pairs("labels") {
        metadata["labels"] = labels;
    }
    if attributes.flag("deleting") {
        metadata["deletionTimestamp"] = age(1);
    }
    let finalizers = attributes.list("finalizers");
    if !finalizers.is_empty() {
        metadata["finalizers"] = json!(finalizers);
    }
    let owners: Vec<Value> =
        attributes.list("owner").into_iter().map(|text| owner(kind, text)).collect();
    if !owners.is_empty() {
        metadata["ownerReferences"] = json!(owners);
    }
}

/// `web`, or `Kind/name`, with `!` behind if it blocks the owner's deletion.
fn owner(kind: Kind, text: &str) -> Value {
    let blocks = text.ends_with('!');
    let text = text.trim_end_matches('!');
    let default = if kind == Kind::ReplicaSet { "Deployment" } else { "ReplicaSet" };
    let (owner_kind, name) = text.split_once('/').unwrap_or((default, text));
    let api_version = match owner_kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => "apps/v1",
        "Job" => "batch/v1",
        "Widget" => "example.com/v1",
        _ => "v1",
    };
    json!({
        "apiVersion": api_version, "kind": owner_kind, "name": name,
        "uid": format!("{owner_kind}/{name}"), "controller": true, "blockOwnerDeletion": blocks,
    })
}

fn template(version: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": format!("web:{version}")}]},
    })
}

fn percent_or_number(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number))
}

fn deployment(name: &str, attributes: &Attributes<'_>) -> Value {
    let mut rolling = Map::new();
    for (short, long) in [("surge", "maxSurge"), ("unavailable", "maxUnavailable")] {
        if let Some(text) = attributes.text(short) {
            rolling.insert(long.to_owned(), percent_or_number(text));
        }
    }
    let strategy = match attributes.text("strategy") {
        Some(other) => json!({"type": other}),
        None => json!({"type": "RollingUpdate", "rollingUpdate": rolling}),
    };
    let mut object = json!({"spec": {
        "replicas": attributes.number("replicas").unwrap_or(1),
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(attributes.text("template").unwrap_or("A")),
        "strategy": strategy,
        "paused": attributes.flag("paused"),
        "progressDeadlineSeconds": attributes.number("deadline").unwrap_or(600),
        "revisionHistoryLimit": attributes.number("history").unwrap_or(10),
        "minReadySeconds": attributes.number("minready").unwrap_or(0),
    }});
    if let Some(revision) = attributes.text("revision") {
        object["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": revision});
    }
    if let Some(counts) = attributes.text("status") {
        let counts: Vec<i64> = counts.split('/').filter_map(|text| text.parse().ok()).collect();
        object["status"] = json!({
            "observedGeneration": 1, "replicas": counts[0], "updatedReplicas": counts[1],
            "readyReplicas": counts[2], "availableReplicas": counts[3],
            "unavailableReplicas": counts[0] - counts[3], "terminatingReplicas": 0,
        });
    }
    let mut conditions = Vec::new();
    if let Some(available) = attributes.text("available") {
        let (reason, message) = if available == "True" {
            ("MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        conditions.push(json!({"type": "Available", "status": available, "reason": reason,
            "message": message, "lastTransitionTime": age(1), "lastUpdateTime": age(1)}));
    }
    if let Some((reason, seconds)) =
        attributes.text("progressing").and_then(|text| text.split_once('@'))
    {
        let seconds = seconds.parse().expect("seconds");
        let message = match reason {
            "NewReplicaSetAvailable" => {
                let new = attributes.text("for").unwrap_or(name);
                format!("ReplicaSet \"{new}\" has successfully progressed.")
            }
            _ => "as before".to_owned(),
        };
        conditions.push(json!({"type": "Progressing", "status": "True", "reason": reason,
            "message": message, "lastTransitionTime": age(seconds),
            "lastUpdateTime": age(seconds)}));
    }
    if !conditions.is_empty() {
        object["status"]["conditions"] = json!(conditions);
    }
    object
}

fn replica_set(name: &str, attributes: &Attributes<'_>) -> Value {
    let replicas = attributes.number("replicas").unwrap_or(0);
    let pods = attributes.number("pods").unwrap_or(replicas);
    let ready = attributes.number("ready").unwrap_or(pods);
    let available = attributes.number("available").unwrap_or(ready);
    let hash = name.rsplit_once('-').map_or(name, |(_, hash)| hash);
    let mut pod_template = template(attributes.text("template").unwrap_or("A"));
    pod_template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    let mut annotations = Map::new();
    for (short, long) in [
        ("revision", "deployment.kubernetes.io/revision"),
        ("desired", "deployment.kubernetes.io/desired-replicas"),
        ("max", "deployment.kubernetes.io/max-replicas"),
    ] {
        if let Some(text) = attributes.text(short) {
            annotations.insert(long.to_owned(), json!(text));
        }
    }
    let min_ready = attributes.number("minready").unwrap_or(0);
    let mut object = json!({
        "spec": {
            "replicas": replicas, "minReadySeconds": min_ready, "template": pod_template,
            "selector": {"matchLabels": {"app": "web", "pod-template-hash": hash}},
        },
        "status": {
            "replicas": pods, "fullyLabeledReplicas": pods, "readyReplicas": ready,
            "availableReplicas": available, "terminatingReplicas": 0, "observedGeneration": 1,
        },
    });
    object["metadata"]["labels"] = json!({"app": "web", "pod-template-hash": hash});
    if !annotations.is_empty() {
        object["metadata"]["annotations"] = json!(annotations);
    }
    object
}

fn pod(name: &str, attributes: &Attributes<'_>) -> Value {
    let mut ports = Vec::new();
    for (port, number) in attributes.list("ports").iter().filter_map(|text| text.split_once(':')) {
        ports.push(json!({"name": port, "containerPort": number.parse::<i64>().expect("a port")}));
    }
    let mut spec = json!({"containers": [{"name": "web", "image": "web:A", "ports": ports}]});
    if let Some(node) = attributes.text("node") {
        spec["nodeName"] = json!(node);
    }
    let tolerations: Vec<Value> = attributes
        .list("tolerates")
        .iter()
        .map(|text| match text.split_once(':') {
            Some((key, seconds)) => json!({"key": key, "operator": "Exists",
                "tolerationSeconds": seconds.parse::<i64>().expect("seconds")}),
            None => json!({"key": text, "operator": "Exists"}),
        })
        .collect();
    spec["tolerations"] = json!(tolerations);
    let mut status = json!({"phase": attributes.text("phase").unwrap_or("Running")});
    let ready_for = attributes.text("ready").map(|text| text.parse().unwrap_or(500));
    let ready = if ready_for.is_some() { "True" } else { "False" };
    status["conditions"] = json!([{"type": "Ready", "status": ready,
        "lastTransitionTime": age(ready_for.unwrap_or(500))}]);
    if let Some(ip) = attributes.text("ip") {
        status["podIP"] = json!(ip);
        status["podIPs"] = json!([{"ip": ip}]);
    }
    if let Some(restarts) = attributes.number("restarts") {
        status["containerStatuses"] = json!([{"name": "web", "image": "", "imageID": "",
            "ready": true, "restartCount": restarts}]);
    }
    let mut object = json!({"spec": spec, "status": status});
    if let Some(cost) = attributes.text("cost") {
        object["metadata"]["annotations"] =
            json!({"controller.kubernetes.io/pod-deletion-cost": cost});
    }
    let hash = attributes.text("owner").and_then(|owner| owner.rsplit_once('-'));
    object["metadata"]["labels"] = match hash {
        Some((app, hash)) => json!({"app": app, "pod-template-hash": hash}),
        None => json!({"app": name}),
    };
    object
}

fn node(attributes: &Attributes<'_>) -> Value {
    let mut object = json!({"spec": {}, "status": {}});
    if let Some(ready) = attributes.text("ready") {
        let conditions: Vec<Value> = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
            .iter()
            .map(|name| {
                let healthy = if *name == "Ready" { "True" } else { "False" };
                let status = if ready == "true" { healthy } else { ready };
                json!({"type": name, "status": status, "lastHeartbeatTime": age(300)})
            })
            .collect();
        object["status"]["conditions"] = json!(conditions);
    }
    if let Some(zone) = attributes.text("zone") {
        object["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": zone});
    }
    if let Some(cidr) = attributes.text("cidr") {
        object["spec"]["podCIDR"] = json!(cidr);
        object["spec"]["podCIDRs"] = json!([cidr]);
    }
    if attributes.flag("unschedulable") {
        object["spec"]["unschedulable"] = json!(true);
    }
    let taints: Vec<Value> = attributes
        .list("taints")
        .iter()
        .map(|text| {
            let (text, seconds) = text.split_once('@').unwrap_or((text, "0"));
            let (key, effect) = text.split_once(':').expect("key:effect");
            json!({"key": key, "effect": effect, "timeAdded": age(seconds.parse().expect("age"))})
        })
        .collect();
    if !taints.is_empty() {
        object["spec"]["taints"] = json!(taints);
    }
    object
}

fn lease(attributes: &Attributes<'_>) -> Value {
    let Value::String(time) = age(attributes.number("renewed").unwrap_or(0)) else {
        unreachable!("a time is a string")
    };
    let micro = time.replace('Z', ".000000Z");
    json!({"spec": {"holderIdentity": "node", "leaseDurationSeconds": 40, "renewTime": micro}})
}

/// `http:80:8080` for name, port and target port.
fn ports(attributes: &Attributes<'_>) -> Vec<Value> {
    let ports = attributes.list("ports");
    ports
        .iter()
        .map(|text| {
            let parts: Vec<&str> = text.split(':').collect();
            let target = parts.get(2).copied().unwrap_or(parts[1]);
            json!({"name": parts[0], "port": parts[1].parse::<i64>().expect("a port"),
                "protocol": "TCP", "targetPort": percent_or_number(target)})
        })
        .collect()
}

fn service(attributes: &Attributes<'_>) -> Value {
    let mut spec = json!({"ports": ports(attributes), "clusterIP": "10.43.0.7"});
    if let Some(selector) = attributes.pairs("selector") {
        spec["selector"] = selector;
    }
    if attributes.flag("headless") {
        spec["clusterIP"] = json!("None");
    }
    if attributes.flag("publish") {
        spec["publishNotReadyAddresses"] = json!(true);
    }
    json!({"spec": spec})
}

fn slice(attributes: &Attributes<'_>) -> Value {
    let endpoints: Vec<Value> = attributes
        .list("endpoints")
        .iter()
        .map(|pod| {
            json!({"addresses": [format!("10.42.0.{}", pod.len())],
                "targetRef": {"kind": "Pod", "name": pod, "uid": format!("Pod/{pod}")}})
        })
        .collect();
    let service = attributes.text("service").expect("a service");
    let mut object = json!({"addressType": "IPv4", "endpoints": endpoints, "ports": []});
    object["metadata"]["labels"] = json!({
        "kubernetes.io/service-name": service,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    });
    object
}
