//! What is let in, over the whole pipeline.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{Caller, Cluster};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn label(admin: &Caller, labels: Value) {
    admin.merge("/api/v1/namespaces/default", &json!({"metadata": {"labels": labels}})).await.ok();
    // A read waits for the cache, where admission looks.
    admin.get("/api/v1/namespaces/default").await.ok();
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i"}]},
    })
}

/// A namespace's own account, which pods wait for.
async fn account(admin: &Caller) {
    let account = json!({"metadata": {"name": "default"}});
    admin.create("/api/v1/namespaces/default/serviceaccounts", &account).await.ok();
}

#[tokio::test]
async fn a_namespace_says_how_its_pods_must_be() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    account(&admin).await;
    let invalid = admin
        .merge(
            "/api/v1/namespaces/default",
            &json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "x"}}}),
        )
        .await;
    assert_eq!(
        invalid.refusal(),
        "422 Invalid: Namespace \"default\" is invalid: \
         metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be one \
         of privileged, baseline, restricted"
    );
    label(&admin, json!({"pod-security.kubernetes.io/enforce": "baseline"})).await;
    assert_eq!(
        admin.create(PODS, &pod("a")).await.refusal(),
        "403 Forbidden: pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host \
         namespaces (hostNetwork=true)"
    );
    let template = json!({
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]},
        },
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri("/apis/apps/v1/namespaces/default/deployments")
        .header("content-type", "application/json")
        .body(Full::new(template.to_string().into()))
        .unwrap();
    let response = admin.send(request).await;
    assert_eq!(response.status().as_u16(), 201);
    assert_eq!(
        response.headers()["warning"],
        "299 - \"would violate PodSecurity \\\"baseline:latest\\\": host namespaces \
         (hostNetwork=true)\""
    );
    cluster.stop().await;
}

#[tokio::test]
async fn a_limit_range_fills_in_and_refuses() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    account(&admin).await;
    let range = json!({
        "metadata": {"name": "l"},
        "spec": {"limits": [
            {"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "1"}},
        ]},
    });
    let ranges = "/api/v1/namespaces/default/limitranges";
    admin.create(ranges, &range).await.ok();
    // A read waits for the cache, where admission looks.
    admin.get(ranges).await.ok();
    let got = admin.create(PODS, &pod("a")).await.ok();
    let resources = &got["spec"]["containers"][0]["resources"];
    assert_eq!(*resources, json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}}));
    let mut greedy = pod("b");
    greedy["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}});
    assert_eq!(
        admin.create(PODS, &greedy).await.refusal(),
        "403 Forbidden: pods \"b\" is forbidden: maximum cpu usage per Container is 1, but limit \
         is 2"
    );
    cluster.stop().await;
}

#[tokio::test]
async fn pods_have_the_priority_of_their_class_or_of_the_default_one() {
    const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    account(&admin).await;
    let pod = |name: &str, class: &str| {
        let mut pod = pod(name);
        pod["spec"]["priorityClassName"] = class.into();
        pod
    };
    let priority = |answer: &Value| {
        let spec = &answer["spec"];
        format!("{} {} {}", spec["priorityClassName"], spec["priority"], spec["preemptionPolicy"])
    };
    assert_eq!(
        admin.create(PODS, &pod("a", "no")).await.refusal(),
        "403 Forbidden: pods \"a\" is forbidden: no PriorityClass with name no was found"
    );
    let none = admin.create(PODS, &pod("none", "")).await.ok();
    assert_eq!(priority(&none), "null 0 \"PreemptLowerPriority\"");
    let class = |name: &str, default: bool| json!({"metadata": {"name": name}, "value": 5, "globalDefault": default, "preemptionPolicy": "Never"});
    admin.create(CLASSES, &class("quiet", true)).await.ok();
    // A read waits for the cache, where admission looks.
    admin.get(&format!("{CLASSES}/quiet")).await.ok();
    let named = admin.create(PODS, &pod("named", "system-node-critical")).await.ok();
    assert_eq!(priority(&named), "\"system-node-critical\" 2000001000 \"PreemptLowerPriority\"");
    let default = admin.create(PODS, &pod("default", "")).await.ok();
    assert_eq!(priority(&default), "\"quiet\" 5 \"Never\"");
    assert_eq!(
        admin.create(CLASSES, &class("loud", true)).await.refusal(),
        "403 Forbidden: priorityclasses.scheduling.k8s.io \"loud\" is forbidden: PriorityClass \
         quiet is already marked as default. Only one default can exist"
    );
    cluster.stop().await;
}

#[tokio::test]
async fn claims_and_volumes_are_protected_from_the_start() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let claim = json!({
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let path = "/api/v1/namespaces/default/persistentvolumeclaims";
    let created = admin.create(path, &claim).await.ok();
    assert_eq!(created["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    cluster.stop().await;
}
