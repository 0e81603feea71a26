//! The controllers against an API server in memory: real informers, queues and writes.

use std::time::Duration;

use kontiki_base::{
    Fence,
    tasks::{TaskKind, Tasks},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Service;
use crate::{
    Options,
    testing::{api::FakeApi, key, objects::Objects},
    world::{Key, Kind},
};

const PATIENCE: Duration = Duration::from_secs(30);

struct Cluster {
    api: FakeApi,
    tasks: Tasks,
}

impl Cluster {
    fn new() -> Cluster {
        let (api, tasks) = (FakeApi::new(), Tasks::new());
        api.apply("namespace kube-system");
        api.apply("namespace default");
        api.apply("node n1 ready");
        api.apply("lease n1");
        let kubelet = api.clone().kubelet("n1");
        let shutdown = tasks.shutdown();
        tasks.spawn_infallible(TaskKind::logged("kubelet"), async move {
            tokio::select! { biased;
                () = shutdown.cancelled() => {}
                () = kubelet => {}
            }
        });
        Cluster { api, tasks }
    }

    /// Starts a member's controllers; they act while the sender says so.
    fn member(&self, options: Options) -> watch::Sender<Option<Fence>> {
        let (sender, receiver) = watch::channel(None);
        let service = Service::new(options, self.api.client(), receiver);
        let tasks = self.tasks.clone();
        self.tasks.spawn_infallible(TaskKind::logged("controllers"), service.run(tasks));
        sender
    }

    fn lead(&self, member: &watch::Sender<Option<Fence>>, term: u64) {
        let fence = Fence { term, member: term };
        self.api.set_leader(fence);
        member.send_replace(Some(fence));
    }

    async fn until(&self, what: &str, holds: impl Fn(&Objects) -> bool) {
        if tokio::time::timeout(PATIENCE, self.api.until(holds)).await.is_err() {
            let state = self.api.with(|objects| {
                let names = |kind| {
                    let all = objects.list(kind, "");
                    all.iter().map(|o| o["metadata"]["name"].to_string()).collect::<Vec<_>>()
                };
                format!("pods {:?} sets {:?}", names(Kind::Pod), names(Kind::ReplicaSet))
            });
            panic!("not seen: {what}; {state}");
        }
    }

    async fn end(self) {
        self.tasks.stop().await;
    }
}

fn ready_pods(objects: &Objects) -> usize {
    let pods = objects.list(Kind::Pod, "default");
    pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count()
}

fn complete(objects: &Objects, replicas: usize) -> bool {
    let Some(deployment) = objects.get(Kind::Deployment, &key("web")) else { return false };
    let status = &deployment["status"];
    let all = json!(replicas);
    status["updatedReplicas"] == all
        && status["availableReplicas"] == all
        && status["replicas"] == all
        && status["observedGeneration"] == deployment["metadata"]["generation"]
}

fn set_image(api: &FakeApi, image: &str) {
    let patch = |template: Value| json!({"spec": {"template": template}});
    let template = json!({"spec": {"containers": [{"name": "web", "image": image}]}});
    api.with(|objects| {
        objects.patch(Kind::Deployment, &key("web"), &patch(template)).expect("it is there")
    });
}

#[tokio::test]
async fn a_deployment_runs_rolls_and_goes_with_all_it_owns() {
    let cluster = Cluster::new();
    let member = cluster.member(Options { root_ca: "PEM".to_owned(), ..Options::default() });
    cluster.lead(&member, 1);
    cluster.api.apply("service web selector=app:web ports=http:80:8080");
    cluster.api.apply("deployment web replicas=3 surge=1 unavailable=0");
    cluster.until("three pods", |objects| complete(objects, 3)).await;
    cluster
        .until("three endpoints", |objects| {
            let slices = objects.list(Kind::EndpointSlice, "default");
            let endpoints = slices.iter().filter_map(|slice| slice["endpoints"].as_array());
            endpoints.map(Vec::len).sum::<usize>() == 3
        })
        .await;
    cluster
        .until("what every namespace has", |objects| {
            objects.get(Kind::ServiceAccount, &key("default")).is_some()
                && objects.get(Kind::ConfigMap, &key("kube-root-ca.crt")).is_some()
                && objects.get(Kind::Node, &Key::new("", "n1")).unwrap()["spec"]["podCIDR"]
                    == "10.42.0.0/24"
        })
        .await;
    set_image(&cluster.api, "web:B");
    cluster
        .until("the second version", |objects| {
            let pods = objects.list(Kind::Pod, "default");
            complete(objects, 3)
                && pods.len() == 3
                && pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == "web:B")
        })
        .await;
    cluster.api.with(|objects| objects.remove(Kind::Deployment, &key("web")));
    cluster
        .until("nothing left", |objects| {
            objects.list(Kind::ReplicaSet, "").is_empty() && objects.list(Kind::Pod, "").is_empty()
        })
        .await;
    let events = cluster.api.events();
    assert!(events.iter().any(|reason| reason == "ScalingReplicaSet"), "{events:?}");
    cluster.end().await;
}

#[tokio::test]
async fn lost_requests_and_answers_make_no_duplicates() {
    let cluster = Cluster::new();
    cluster.api.lose(3, 4);
    let member = cluster.member(Options::default());
    cluster.lead(&member, 1);
    cluster.api.apply("deployment web replicas=8 surge=0 unavailable=1");
    cluster.until("eight pods", |objects| complete(objects, 8)).await;
    let created = cluster.api.with(|objects| {
        let pods = objects.log.iter().filter(|happened| happened.kind == Kind::Pod);
        pods.filter(|happened| happened.what == "ADDED").count()
    });
    assert_eq!(created, 8, "no pod was created twice");
    cluster.end().await;
}

#[tokio::test]
async fn a_new_leader_goes_on_where_the_old_one_stopped() {
    let cluster = Cluster::new();
    let first = cluster.member(Options::default());
    let second = cluster.member(Options::default());
    cluster.lead(&first, 1);
    cluster.api.apply("deployment web replicas=5 surge=1 unavailable=0");
    cluster.until("some pods", |objects| ready_pods(objects) > 0).await;
    // The first does not learn that it was deposed until later: its writes are refused.
    cluster.lead(&second, 2);
    cluster.until("five pods", |objects| complete(objects, 5)).await;
    first.send_replace(None);
    set_image(&cluster.api, "web:B");
    cluster.until("the second version", |objects| complete(objects, 5)).await;
    cluster
        .until("the Lease of the second", |objects| {
            let lease = Key::new("kube-system", "kube-controller-manager");
            let lease = objects.get(Kind::Lease, &lease);
            lease.is_some_and(|lease| lease["spec"]["holderIdentity"] == "kontiki-0000000000000002")
        })
        .await;
    cluster.end().await;
}

#[tokio::test]
async fn a_refused_creation_is_told_and_tried_again() {
    let cluster = Cluster::new();
    cluster.api.refuse_pods(true);
    let member = cluster.member(Options::default());
    cluster.lead(&member, 1);
    cluster.api.apply("deployment web replicas=2");
    cluster
        .until("the failure in the Deployment's status", |objects| {
            let deployment = objects.get(Kind::Deployment, &key("web"));
            let conditions = deployment.and_then(|d| d["status"]["conditions"].as_array());
            conditions
                .into_iter()
                .flatten()
                .any(|one| one["type"] == "ReplicaFailure" && one["message"] == "exceeded quota")
        })
        .await;
    cluster.api.refuse_pods(false);
    cluster.until("two pods", |objects| complete(objects, 2)).await;
    cluster
        .until("no failure", |objects| {
            let deployment = objects.get(Kind::Deployment, &key("web")).expect("it is there");
            let conditions = deployment["status"]["conditions"].as_array();
            conditions.into_iter().flatten().all(|one| one["type"] != "ReplicaFailure")
        })
        .await;
    cluster.end().await;
}

#[tokio::test]
async fn a_namespace_goes_with_everything_in_it() {
    let cluster = Cluster::new();
    let member = cluster.member(Options { root_ca: "PEM".to_owned(), ..Options::default() });
    cluster.lead(&member, 1);
    cluster.api.apply("deployment web replicas=2");
    cluster.api.apply("secret s");
    cluster.until("two pods", |objects| complete(objects, 2)).await;
    cluster
        .api
        .with(|objects| {
            let now = jiff::Timestamp::now();
            objects.delete(Kind::Namespace, &Key::new("", "default"), &json!({}), now)
        })
        .expect("it is there");
    cluster
        .until("nothing left", |objects| {
            objects.get(Kind::Namespace, &Key::new("", "default")).is_none()
                && [Kind::Pod, Kind::ReplicaSet, Kind::Deployment, Kind::Secret, Kind::ConfigMap]
                    .iter()
                    .all(|kind| objects.list(*kind, "default").is_empty())
        })
        .await;
    cluster.end().await;
}

#[tokio::test]
async fn the_pods_of_a_silent_node_are_replaced_on_another() {
    let cluster = Cluster::new();
    let options = Options {
        node_monitor_grace_period: Duration::from_millis(500),
        node_monitor_period: Duration::from_millis(100),
        ..Options::default()
    };
    cluster.api.apply("node dead ready");
    cluster.api.apply("lease dead");
    cluster.api.apply("replicaset web-a replicas=1 pods=1");
    cluster.api.apply(
        "pod web-a-1 owner=web-a node=dead ready tolerates=node.kubernetes.io/unreachable:0",
    );
    let member = cluster.member(options);
    cluster.lead(&member, 1);
    let renewals = cluster.api.clone();
    let renew = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let time = jiff::Timestamp::now().to_string();
            let patch = json!({"spec": {"renewTime": time}});
            let lease = Key::new("kube-node-lease", "n1");
            renewals.with(|objects| objects.patch(Kind::Lease, &lease, &patch)).expect("a lease");
        }
    };
    let replaced = cluster.until("a pod on the other node", |objects| {
        let pods = objects.list(Kind::Pod, "default");
        pods.iter().any(|pod| pod["spec"]["nodeName"] == "n1")
    });
    tokio::select! {
        () = renew => {}
        () = replaced => {}
    }
    cluster.api.with(|objects| {
        let pod = objects.get(Kind::Pod, &key("web-a-1")).expect("nobody ends it there");
        assert_eq!(pod["status"]["conditions"][0]["status"], "False");
        assert!(pod["metadata"]["deletionTimestamp"].is_string());
        let node = objects.get(Kind::Node, &Key::new("", "n1")).expect("the other node");
        assert!(node["spec"]["taints"].is_null());
    });
    cluster.end().await;
}
