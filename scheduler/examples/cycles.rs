//! How many pods per second cycles place, without any API: for editing while profiling.
//!
//! `cargo run --release -p kontiki-scheduler --example cycles -- [NODES] [PODS]`

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use kontiki_api::{Object, k8s_openapi::api::core::v1::Node, slim::Pod};
use kontiki_scheduler::{
    cluster::Cluster,
    cycle::{CycleInput, schedule},
    node::NodeOffer,
    pod::PodInfo,
};
use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok());
    let nodes = numbers.next().unwrap_or(5_000);
    let pods = numbers.next().unwrap_or(10_000);
    for shape in ["plain", "owned", "spread", "anti-affinity", "affinity"] {
        let seconds = place_all(nodes, pods, shape);
        let rate = f64::from(u32::try_from(pods).unwrap_or(u32::MAX)) / seconds;
        writeln!(std::io::stdout(), "{nodes} nodes, {pods} pods, {shape}: {rate:.0} pods/s")?;
    }
    Ok(())
}

fn place_all(nodes: usize, pods: usize, shape: &str) -> f64 {
    let mut cluster = Cluster::default();
    for index in 0..nodes {
        let name = format!("node-{index:05}");
        let object = json!({
            "metadata": {
                "name": name,
                "labels": {
                    "kubernetes.io/hostname": name,
                    "topology.kubernetes.io/zone": format!("zone-{}", index % 3),
                },
            },
            "status": { "allocatable": { "cpu": "32", "memory": "128Gi", "pods": "110" } },
        });
        let node = Node::from_value(object).expect("a node");
        cluster.set_node(&name, Arc::new(NodeOffer::new(&node)));
    }
    let waiting: Vec<Arc<PodInfo>> = (0..pods).map(|index| Arc::new(pod(index, shape))).collect();
    let began = Instant::now();
    let mut start = 0;
    for pod in waiting {
        cluster.snapshot.prepare(&pod);
        let tie_break = u64::try_from(start).expect("an index fits");
        let input = CycleInput { start, tie_break, ..CycleInput::default() };
        let output = schedule(&pod, &cluster.snapshot, input);
        start = (start + output.evaluated) % nodes;
        cluster.assume(pod, output.decision.expect("there is room"), Duration::ZERO);
        cluster.take_changes();
    }
    began.elapsed().as_secs_f64()
}

fn pod(index: usize, shape: &str) -> PodInfo {
    let group = format!("group-{}", index / 100);
    let selector = json!({ "matchLabels": { "app": group } });
    let term = |key: &str| json!([{ "topologyKey": key, "labelSelector": selector }]);
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let mut spec = json!({
        "containers": [{
            "name": "c",
            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
        }],
    });
    let mut owners: Vec<Value> = Vec::new();
    match shape {
        "owned" => owners.push(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": group, "uid": group,
            "controller": true,
        })),
        "spread" => {
            spec["topologySpreadConstraints"] = json!([{
                "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector,
            }]);
        }
        "anti-affinity" => {
            spec["affinity"]["podAntiAffinity"][required] = term("kubernetes.io/hostname");
        }
        "affinity" => {
            spec["affinity"]["podAffinity"][required] = term("topology.kubernetes.io/zone");
        }
        _ => {}
    }
    let object = json!({
        "metadata": {
            "name": format!("pod-{index}"), "namespace": "default", "uid": index.to_string(),
            "labels": { "app": group }, "ownerReferences": owners,
        },
        "spec": spec,
    });
    PodInfo::new(&Pod::from_value(object).expect("a pod"))
}
