//! Pods find nodes: why not yet, where at last, and whoever leads. The nodes exist only as
//! objects.

use anyhow::{Context, Result, ensure};
use kontiki_api::{
    Object,
    k8s_openapi::{
        api::{
            coordination::v1::Lease,
            core::v1::{Node, Pod},
        },
        jiff::Timestamp,
    },
};
use kontiki_client::{Client, ListOptions, ObjectKey, Patch};
use kontiki_tests::{cluster::Cluster, eventually, server::Server};
use serde_json::json;

/// Adds a node that is ready, or changes its room; each call is a heartbeat.
async fn node(client: &Client, name: &str, cpu: &str) -> Result<()> {
    let now = Timestamp::now().to_string();
    let renewal = json!({ "spec": {
        "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now,
    } });
    if client.find::<Node>("", name).await?.is_none() {
        let mut lease = renewal.clone();
        lease["metadata"] = json!({ "name": name, "namespace": "kube-node-lease" });
        client.create(&Lease::from_value(lease)?).await?;
        client.create(&Node::from_value(json!({ "metadata": { "name": name } }))?).await?;
    }
    let lease = ObjectKey::new("kube-node-lease", name);
    client.patch::<Lease>(&lease, Patch::Merge(renewal)).await?;
    let status = json!({ "status": {
        "allocatable": { "cpu": cpu, "memory": "64Gi", "pods": "500" },
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
    } });
    client.patch_status::<Node>(&ObjectKey::new("", name), Patch::Strategic(status)).await?;
    Ok(())
}

fn pod(name: &str, cpu: &str) -> Result<Pod> {
    Ok(Pod::from_value(json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "containers": [{
            "name": "c", "image": "example.invalid/web:1",
            "resources": { "requests": { "cpu": cpu } },
        }] },
    }))?)
}

async fn node_of(client: &Client, pod: &str) -> Result<String> {
    eventually("a node for the pod", || async {
        let pod: Pod = client.get("default", pod).await?;
        pod.spec.and_then(|spec| spec.node_name).context("it has none")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_room_is_explained_and_takes_the_first_room_there_is() -> Result<()> {
    let mut server = Server::new("one")?;
    server.start_ready().await?;
    let client = server.client()?;
    node(&client, "small", "1").await?;
    eventually("the account that pods run as", || client.create_pod("big", "2")).await?;
    eventually("an explanation", || async {
        let text = server.kontiki(&["describe", "pod", "big"])?.success()?;
        ensure!(text.contains("FailedScheduling"), "{text}");
        ensure!(text.contains("0/1 nodes are available: 1 Insufficient cpu."), "{text}");
        Ok(())
    })
    .await?;
    node(&client, "small", "4").await?;
    assert_eq!(node_of(&client, "big").await?, "small");
    eventually("the good news", || async {
        let text = server.kontiki(&["describe", "pod", "big"])?.success()?;
        ensure!(text.contains("Successfully assigned default/big to small"), "{text}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_placed_once_each_while_the_leader_dies() -> Result<()> {
    const PODS: usize = 60;
    let mut cluster = Cluster::start().await?;
    let leader = cluster.leader(0).await?;
    let client = cluster.servers[(leader + 1) % 3].client()?;
    // Room for exactly as many.
    for name in ["a", "b"] {
        node(&client, name, "3").await?;
    }
    for index in 0..PODS {
        if index == PODS / 2 {
            cluster.servers[leader].kill()?;
        }
        let name = format!("pod-{index}");
        eventually("a write", || client.create_pod(&name, "100m")).await?;
    }
    eventually("a node for every pod", || async {
        for name in ["a", "b"] {
            node(&client, name, "3").await?;
        }
        let options = ListOptions::namespace("default");
        let pods = client.list::<Pod>(&options).await?.items;
        let on = |name: &str| {
            let node =
                |p: &&Pod| p.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(name);
            pods.iter().filter(node).count()
        };
        ensure!((on("a"), on("b")) == (PODS / 2, PODS / 2), "{} and {}", on("a"), on("b"));
        Ok(())
    })
    .await
}

trait CreatePod {
    /// Creates a pod, unless an earlier attempt did.
    fn create_pod(&self, name: &str, cpu: &str) -> impl Future<Output = Result<()>>;
}

impl CreatePod for Client {
    async fn create_pod(&self, name: &str, cpu: &str) -> Result<()> {
        match self.create(&pod(name, cpu)?).await {
            Err(error) if !error.is_already_exists() => Err(error.into()),
            _ => Ok(()),
        }
    }
}
