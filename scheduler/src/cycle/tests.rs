//! Cycles as text: a cluster and a pod in, every node's answer and the decision out.

use std::sync::Arc;

use expect_test::{Expect, expect};
use kontiki_api::{Object, k8s_openapi::api::core::v1::Node, slim::Pod};
use serde_json::{Value, json};

use super::*;
use crate::node::NodeOffer;

/// One line per object: `node NAME {overrides}`, `pod NAME on NODE {spec}`, and at last
/// `schedule {spec}`. `cpu` and `memory` are short for a container's requests, `app` for a label,
/// `owner` for a controller.
fn check(world: &str, expected: &Expect) {
    let mut cluster = Snapshot::default();
    let mut answer = String::new();
    for line in world.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, json) = line.split_at(line.find('{').unwrap_or(line.len()));
        let spec: Value = serde_json::from_str(if json.is_empty() { "{}" } else { json })
            .unwrap_or_else(|e| panic!("{line}: {e}"));
        match head.split_whitespace().collect::<Vec<_>>()[..] {
            ["node", name] => {
                cluster.set_node(name, node(name, &spec));
            }
            ["namespace", name] => {
                let labels = serde_json::from_value(spec).expect("labels");
                cluster.set_namespace(name, Some(labels));
            }
            ["pod", name, "on", node] => cluster.place(Arc::new(pod(name, spec)), node),
            ["schedule"] => answer = explain(&pod("new", spec), &mut cluster),
            _ => panic!("unknown line {line}"),
        }
    }
    expected.assert_eq(&answer);
}

fn node(name: &str, spec: &Value) -> Arc<NodeOffer> {
    let mut labels = spec["labels"].as_object().cloned().unwrap_or_default();
    labels.insert("kubernetes.io/hostname".to_owned(), json!(name));
    let field = |key: &str, default: Value| spec.get(key).cloned().unwrap_or(default);
    let object = json!({
        "metadata": { "name": name, "labels": labels },
        "spec": { "taints": field("taints", json!([])), "unschedulable": spec["cordoned"] },
        "status": {
            "allocatable": {
                "cpu": field("cpu", json!("4")),
                "memory": field("memory", json!("8Gi")),
                "pods": field("pods", json!("110")),
            },
            "images": field("images", json!([])),
        },
    });
    Arc::new(NodeOffer::new(&Node::from_value(object).expect("a node")))
}

fn pod(name: &str, mut spec: Value) -> PodInfo {
    let fields = spec.as_object_mut().expect("a spec is an object");
    let mut requests = json!({});
    for resource in ["cpu", "memory"] {
        if let Some(amount) = fields.remove(resource) {
            requests[resource] = amount;
        }
    }
    let app = fields.remove("app").unwrap_or_else(|| json!("none"));
    let owner = fields.remove("owner");
    let namespace = fields.remove("namespace").unwrap_or_else(|| json!("default"));
    let ports = fields.remove("ports").unwrap_or_else(|| json!([]));
    let image = fields.remove("image").unwrap_or_default();
    let container = json!({
        "name": "c", "image": image, "ports": ports, "resources": { "requests": requests },
    });
    fields.entry("containers").or_insert_with(|| json!([container]));
    let owners: Vec<Value> = owner
        .into_iter()
        .map(|uid| {
            json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid, "uid": uid,
                "controller": true,
            })
        })
        .collect();
    let object = json!({
        "metadata": {
            "name": name, "namespace": namespace, "uid": name, "labels": { "app": app },
            "ownerReferences": owners,
        },
        "spec": spec,
    });
    PodInfo::new(&Pod::from_value(object).expect("a pod"))
}

/// Every node's first refusal, or its total; then the decision.
fn explain(pod: &PodInfo, cluster: &mut Snapshot) -> String {
    cluster.prepare(pod);
    let filters = Filters::new(pod, cluster).unwrap_or_else(|e| panic!("rejected: {e}"));
    let mut lines = Vec::new();
    let order = cluster.order().to_vec();
    let feasible: Vec<usize> =
        order.iter().copied().filter(|s| filters.refusal(cluster, *s).is_none()).collect();
    let totals = totals(pod, cluster, &feasible);
    for slot in order {
        let name = cluster.node(slot).name.clone();
        let text = match filters.refusal(cluster, slot) {
            None => {
                let index = feasible.iter().position(|s| *s == slot).expect("it is feasible");
                totals[index].to_string()
            }
            Some((plugin, Verdict::Unschedulable(why))) => format!("{plugin}: {why:?}"),
            Some((plugin, Verdict::UnschedulableAndUnresolvable(why))) => {
                format!("{plugin} for good: {why:?}")
            }
            Some((_, Verdict::Fits)) => unreachable!("a refusal is not a fit"),
        };
        lines.push(format!("{name} {}", text.replace("Reason(", "").replace("\")", "\"")));
    }
    let output = schedule(pod, cluster, CycleInput::default());
    lines.push(match output.decision {
        Ok(slot) => format!("=> {}", cluster.node(slot).name),
        Err(error) => format!("=> {error}"),
    });
    lines.join("\n")
}

#[test]
fn the_emptier_node_is_better() {
    check(
        r#"
        node a
        node b
        pod one on a {"cpu": "2", "memory": "4Gi"}
        schedule {"cpu": "1", "memory": "2Gi"}
        "#,
        &expect![[r#"
            a 75
            b 125
            => b"#]],
    );
}

#[test]
fn every_lacking_resource_is_named() {
    check(
        r#"
        node small {"cpu": "1", "memory": "1Gi"}
        node full
        node crowded {"pods": "1"}
        pod one on full {"cpu": "3", "memory": "7Gi"}
        pod two on crowded
        schedule {"cpu": "2", "memory": "2Gi"}
        "#,
        &expect![[r#"
            small NodeResourcesFit for good: ["Insufficient cpu", "Insufficient memory"]
            full NodeResourcesFit: ["Insufficient cpu", "Insufficient memory"]
            crowded NodeResourcesFit: ["Too many pods"]
            => 0/3 nodes are available: 1 Too many pods, 2 Insufficient cpu, 2 Insufficient memory."#]],
    );
}

#[test]
fn taints_and_cordons_repel_and_tolerations_bear() {
    check(
        r#"
        node clean {"cpu": "1"}
        node cordoned {"cordoned": true}
        node tainted {"taints": [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]}
        node lost {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}
        node mild {"taints": [{"key": "slow", "effect": "PreferNoSchedule"}]}
        schedule {"cpu": "2", "tolerations": [{"key": "dedicated", "operator": "Exists"}]}
        "#,
        &expect![[r#"
            clean NodeResourcesFit for good: ["Insufficient cpu"]
            cordoned NodeUnschedulable for good: ["node(s) were unschedulable"]
            tainted 398
            lost TaintToleration for good: ["node(s) had untolerated taint {node.kubernetes.io/unreachable: }"]
            mild 98
            => tainted"#]],
    );
}

#[test]
fn selector_and_affinity_choose_nodes() {
    check(
        r#"
        node ssd-a {"labels": {"disk": "ssd", "zone": "a"}}
        node ssd-b {"labels": {"disk": "ssd", "zone": "b"}}
        node hdd {"labels": {"disk": "hdd", "zone": "a"}}
        schedule {"nodeSelector": {"disk": "ssd"}, "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}}]}}}
        "#,
        &expect![[r#"
            ssd-a 97
            ssd-b 297
            hdd NodeAffinity for good: ["node(s) didn't match Pod's node affinity/selector"]
            => ssd-b"#]],
    );
}

#[test]
fn a_pod_that_names_its_node_is_tried_there_only() {
    check(
        r#"
        node a {"cpu": "1"}
        node b
        node c
        schedule {"cpu": "2", "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}}}}
        "#,
        &expect![[r#"
            a NodeResourcesFit for good: ["Insufficient cpu"]
            b NodeAffinity for good: ["node(s) didn't match Pod's node affinity/selector"]
            c NodeAffinity for good: ["node(s) didn't match Pod's node affinity/selector"]
            => 0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."#]],
    );
}

#[test]
fn host_ports_belong_to_one_pod() {
    check(
        r#"
        node a
        node b
        pod one on a {"ports": [{"containerPort": 80, "hostPort": 80}]}
        pod two on b {"ports": [{"containerPort": 80, "hostPort": 80, "protocol": "UDP"}]}
        schedule {"ports": [{"containerPort": 8080, "hostPort": 80, "hostIP": "10.0.0.1"}]}
        "#,
        &expect![[r#"
            a NodePorts: ["node(s) didn't have free ports for the requested pod ports"]
            b 95
            => b"#]],
    );
}

#[test]
fn pods_of_one_controller_spread_by_default() {
    check(
        r#"
        node a
        node b
        pod web-1 on a {"owner": "web", "cpu": "100m", "memory": "200Mi"}
        pod other on b {"cpu": "100m", "memory": "200Mi"}
        schedule {"owner": "web", "cpu": "100m", "memory": "200Mi"}
        "#,
        &expect![[r#"
            a 276
            b 344
            => b"#]],
    );
}

#[test]
fn a_spread_condition_bounds_the_skew() {
    check(
        r#"
        node a {"labels": {"zone": "1"}}
        node b {"labels": {"zone": "1"}}
        node c {"labels": {"zone": "2"}}
        node d
        pod one on a {"app": "web"}
        pod two on b {"app": "web"}
        pod three on c {"app": "web"}
        schedule {"app": "web", "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}
        "#,
        &expect![[r#"
            a PodTopologySpread: ["node(s) didn't match pod topology spread constraints"]
            b PodTopologySpread: ["node(s) didn't match pod topology spread constraints"]
            c 95
            d PodTopologySpread for good: ["node(s) didn't match pod topology spread constraints (missing required label)"]
            => c"#]],
    );
}

#[test]
fn pods_keep_apart_in_both_directions() {
    check(
        r#"
        node a {"labels": {"zone": "1"}}
        node b {"labels": {"zone": "1"}}
        node c {"labels": {"zone": "2"}}
        node d {"labels": {"zone": "3"}}
        pod hermit on a {"app": "db", "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]}}}
        pod cache on c {"app": "cache"}
        schedule {"app": "web", "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "cache"}}}]}}}
        "#,
        &expect![[r#"
            a InterPodAffinity: ["node(s) didn't satisfy existing pods anti-affinity rules"]
            b InterPodAffinity: ["node(s) didn't satisfy existing pods anti-affinity rules"]
            c InterPodAffinity: ["node(s) didn't match pod anti-affinity rules"]
            d 97
            => d"#]],
    );
}

#[test]
fn pods_come_together_and_the_first_may_start_anywhere() {
    let affinity = r#"{"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}]}}"#;
    check(
        &format!(
            r#"
            node a
            node b
            pod one on b {{"app": "web"}}
            schedule {{"app": "web", "affinity": {affinity}}}
            "#
        ),
        &expect![[r#"
            a InterPodAffinity for good: ["node(s) didn't match pod affinity rules"]
            b 95
            => b"#]],
    );
    check(
        &format!(
            r#"
            node a
            schedule {{"app": "web", "affinity": {affinity}}}
            "#
        ),
        &expect![[r#"
            a 97
            => a"#]],
    );
    check(
        &format!(
            r#"
            node a
            schedule {{"app": "other", "affinity": {affinity}}}
            "#
        ),
        &expect![[r#"
            a InterPodAffinity for good: ["node(s) didn't match pod affinity rules"]
            => 0/1 nodes are available: 1 node(s) didn't match pod affinity rules."#]],
    );
}

#[test]
fn affinity_looks_into_namespaces_by_label() {
    check(
        r#"
        namespace team {"team": "x"}
        node a
        node b
        pod one on b {"namespace": "team", "app": "web"}
        pod two on a {"namespace": "else", "app": "web"}
        schedule {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}, "namespaceSelector": {"matchLabels": {"team": "x"}}}]}}}
        "#,
        &expect![[r#"
            a InterPodAffinity for good: ["node(s) didn't match pod affinity rules"]
            b 95
            => b"#]],
    );
}

#[test]
fn images_that_are_there_draw_pods() {
    check(
        r#"
        node a
        node b {"images": [{"names": ["registry/big:latest"], "sizeBytes": 1000000000}]}
        schedule {"image": "registry/big"}
        "#,
        &expect![[r#"
            a 97
            b 143
            => b"#]],
    );
}

#[test]
fn without_nodes_the_message_says_so() {
    check("schedule {}", &expect!["=> no nodes available to schedule pods"]);
}

#[test]
fn large_clusters_are_sampled_and_searched_in_turn() {
    let mut cluster = Snapshot::default();
    for index in 0..1000 {
        cluster.set_node(&format!("n{index:04}"), node("n", &json!({})));
    }
    let pod = pod("new", json!({"cpu": "1"}));
    cluster.prepare(&pod);
    let output = schedule(&pod, &cluster, CycleInput { start: 900, ..CycleInput::default() });
    assert_eq!((output.evaluated, output.feasible), (420, 420));
    let wanted = [(50, 50), (100, 100), (1000, 420), (5000, 500), (10_000, 500)];
    for (nodes, enough) in wanted {
        assert_eq!(feasible_wanted(nodes, None), enough, "{nodes} nodes");
    }
}
