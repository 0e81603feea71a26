//! Kinds that are more than their rows: served in two versions, decided through endpoints of their
//! own, guarded by others.

use serde_json::{Value, json};

use crate::support::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployments_revision_is_written_with_its_status() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "d"}},
        "template": {
            "metadata": {"labels": {"a": "d"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    }});
    admin.create(deployments, &deployment).await.ok();
    let written = json!({
        "metadata": {"annotations": {"r": "1"}, "labels": {"l": "1"}},
        "status": {"observedGeneration": 1},
        "spec": {"replicas": 7},
    });
    let found = admin.merge(&format!("{deployments}/d/status"), &written).await.ok();
    let metadata = &found["metadata"];
    assert_eq!((&metadata["annotations"]["r"], &metadata["generation"]), (&json!("1"), &json!(1)));
    assert!(metadata["labels"].is_null(), "{metadata}");
    assert_eq!(found["spec"]["replicas"], 1);
    assert_eq!(found["status"]["observedGeneration"], 1);
    let annotated = json!({"metadata": {"annotations": {"r": "2"}}});
    let found = admin.merge(&format!("{deployments}/d"), &annotated).await.ok();
    assert_eq!(found["metadata"]["generation"], 2);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autoscalers_are_one_object_in_two_versions() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let mut watch =
        admin.watch(&format!("{v2}?watch=1&resourceVersion=0&allowWatchBookmarks=false")).await;
    let object = json!({
        "metadata": {"name": "h"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "maxReplicas": 3, "targetCPUUtilizationPercentage": 60,
        },
    });
    let created = admin.create(v1, &object).await.ok();
    assert_eq!(created["apiVersion"], "autoscaling/v1");
    assert_eq!(created["spec"]["targetCPUUtilizationPercentage"], 60);
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"]["apiVersion"], "autoscaling/v2");
    let later = admin.get(&format!("{v2}/h")).await.ok();
    assert_eq!(later["metadata"]["uid"], created["metadata"]["uid"]);
    assert_eq!(later["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    assert_eq!(later["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 60);

    let behavior = json!({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}});
    admin.merge(&format!("{v2}/h"), &behavior).await.ok();
    let most = json!({"spec": {"maxReplicas": 7}});
    let changed = admin.merge(&format!("{v1}/h"), &most).await.ok();
    assert_eq!(changed["spec"]["maxReplicas"], 7);
    let later = admin.get(&format!("{v2}/h")).await.ok();
    assert_eq!(later["spec"]["behavior"]["scaleDown"]["selectPolicy"], "Disabled");
    assert_eq!(later["spec"]["maxReplicas"], 7);
    let lists = [(v1, "autoscaling/v1"), (v2, "autoscaling/v2")];
    for (path, version) in lists {
        let list = admin.get(path).await.ok();
        assert_eq!(
            (&list["apiVersion"], &list["items"][0]["metadata"]["name"]),
            (&json!(version), &json!("h"))
        );
    }
    admin.delete(&format!("{v1}/h")).await.ok();
    assert_eq!(admin.get(&format!("{v2}/h")).await.code, 404);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_one_object_in_two_groups() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let core = "/api/v1/namespaces/default/events";
    let later = "/apis/events.k8s.io/v1/namespaces/default/events";
    let object = json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/c", "reportingInstance": "i", "action": "Run",
        "reason": "Ran", "type": "Normal", "note": "it ran",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    });
    admin.create(later, &object).await.ok();
    let old = admin.get(&format!("{core}/e")).await.ok();
    assert_eq!((&old["message"], &old["involvedObject"]["name"]), (&json!("it ran"), &json!("p")));
    assert_eq!(old["reportingComponent"], "example.com/c");
    let found =
        admin.get(&format!("{later}?fieldSelector=regarding.name%3Dp,reason%3DRan")).await.ok();
    assert_eq!(found["items"][0]["note"], "it ran");
    let refused = admin.create(later, &json!({"metadata": {"name": "f"}})).await;
    assert!(refused.refusal().contains("eventTime: Required value"), "{}", refused.refusal());
    cluster.stop().await;
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "x"}]},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_take_what_the_budget_allows_and_no_more() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let pods = "/api/v1/namespaces/default/pods";
    let account = json!({"metadata": {"name": "default"}});
    admin.create("/api/v1/namespaces/default/serviceaccounts", &account).await.ok();
    let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    for name in ["a", "b"] {
        admin.create(pods, &pod(name)).await.ok();
        admin.merge(&format!("{pods}/{name}/status"), &running).await.ok();
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "metadata": {"name": "one"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    admin.create(budgets, &budget).await.ok();
    let evict = |name: &str| {
        let eviction =
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        let (admin, path) = (cluster.admin(), format!("{pods}/{name}/eviction"));
        async move { admin.create(&path, &eviction).await }
    };
    let early = evict("a").await;
    assert_eq!(early.code, 429);
    assert_eq!(
        early.value["details"]["causes"][0]["message"],
        "The disruption budget one is still being processed by the server."
    );
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1,
        "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    admin.merge(&format!("{budgets}/one/status"), &status).await.ok();
    assert_eq!(evict("a").await.code, 201);
    let after = admin.get(&format!("{budgets}/one")).await.ok();
    assert_eq!(after["status"]["disruptionsAllowed"], 0);
    assert!(after["status"]["disruptedPods"]["a"].is_string());
    let refused = evict("b").await;
    assert_eq!(refused.code, 429);
    assert_eq!(refused.value["details"]["causes"][0]["reason"], "DisruptionBudget");
    let pod = admin.get(&format!("{pods}/b")).await.ok();
    assert_eq!(pod["metadata"].get("deletionTimestamp"), None);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_cluster_begins_with_is_there() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let class =
        admin.get("/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical").await.ok();
    assert_eq!(class["value"], 2_000_001_000);
    let range = admin.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await.ok();
    assert_eq!(range["status"]["conditions"][0]["type"], "Ready");
    let flow = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let schemas = admin.get(&format!("{flow}/flowschemas")).await.ok();
    assert_eq!(schemas["items"].as_array().unwrap().len(), 13);
    let levels = admin.get(&format!("{flow}/prioritylevelconfigurations")).await.ok();
    assert_eq!(levels["items"].as_array().unwrap().len(), 8);
    let group = admin.get("/apis/autoscaling").await.ok();
    assert_eq!(group["preferredVersion"]["version"], "v2");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replication_controllers_scale_and_jobs_know_themselves() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "a", "image": "x"}]},
    });
    let controllers = "/api/v1/namespaces/default/replicationcontrollers";
    let object = json!({"metadata": {"name": "rc"}, "spec": {"template": template}});
    admin.create(controllers, &object).await.ok();
    let scale = admin
        .merge(&format!("{controllers}/rc/scale"), &json!({"spec": {"replicas": 4}}))
        .await
        .ok();
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!(4), &json!("app=web"))
    );
    let one = format!("{controllers}/rc/scale");
    let refused = async |path: &str, scale: Value| admin.update(path, &scale).await.refusal();
    let named = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    assert_eq!(
        refused(&one, named("other", json!({"replicas": 1}))).await,
        "400 BadRequest: the name of the object (other) does not match the name on the URL (rc)"
    );
    assert_eq!(
        refused(&format!("{one}?fieldValidation=Strict"), named("rc", json!({"replica": 1}))).await,
        "400 BadRequest: Scale in version \"v1\" cannot be handled as a Scale: strict decoding \
         error: unknown field \"spec.replica\""
    );
    assert_eq!(
        refused(&one, named("rc", json!({"replicas": "1"}))).await,
        "400 BadRequest: Scale in version \"v1\" cannot be handled as a Scale: json: cannot \
         unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32"
    );
    let wrong = admin.merge(&one, &json!({"spec": {"replicas": "1"}})).await.refusal();
    assert!(wrong.starts_with("422 Invalid: "), "{wrong}");
    assert!(wrong.ends_with("ScaleSpec.spec.replicas of type int32"), "{wrong}");
    let none = admin.update(&one, &named("rc", json!({}))).await.ok();
    assert_eq!((&none["spec"], &none["status"]["replicas"]), (&json!({}), &json!(0)));
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let mut job = json!({"metadata": {"name": "j"}, "spec": {"template": template}});
    job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    let created = admin.create(jobs, &job).await.ok();
    assert_eq!(
        created["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"],
        created["metadata"]["uid"]
    );
    let status = json!({"status": {"succeeded": 1}});
    admin.merge(&format!("{jobs}/j/status"), &status).await.ok();
    let found = admin.get(&format!("{jobs}?fieldSelector=status.successful%3D1")).await.ok();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bindings_name_their_pod_and_components_say_how_they_are() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let account = json!({"metadata": {"name": "default"}});
    admin.create("/api/v1/namespaces/default/serviceaccounts", &account).await.ok();
    let pods = "/api/v1/namespaces/default/pods";
    let waiting =
        json!({"metadata": {"name": "w"}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    admin.create(pods, &waiting).await.ok();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "w"},
        "target": {"kind": "Node", "name": "n1"},
    });
    let bound = admin.create("/api/v1/namespaces/default/bindings", &binding).await;
    assert_eq!(bound.code, 201);
    assert_eq!(admin.get(&format!("{pods}/w")).await.ok()["spec"]["nodeName"], "n1");
    let list = admin.get("/api/v1/componentstatuses").await.ok();
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["controller-manager", "etcd-0", "scheduler"]);
    let store = admin.get("/api/v1/componentstatuses/etcd-0").await.ok();
    assert_eq!(store["conditions"][0]["message"], "ok");
    let look = json!({"spec": {"ephemeralContainers": [{"name": "look", "image": "busybox"}]}});
    let looked = admin.merge(&format!("{pods}/w/ephemeralcontainers"), &look).await.ok();
    assert_eq!(looked["spec"]["ephemeralContainers"][0]["name"], "look");
    cluster.stop().await;
}
