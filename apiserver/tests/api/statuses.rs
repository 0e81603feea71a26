//! What can be written with a status, of every kind that has one: labels, annotations and finalizers
//! too, as upstream's conformance tests do.

use serde_json::{Value, json};

use crate::support::{Caller, Cluster};

/// Collections and the least that is valid of kinds whose status is their controllers' business.
fn with_status() -> Vec<(&'static str, Value)> {
    let template = json!({
        "metadata": {"labels": {"a": "d"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = "Never".into();
    let workload = json!({"selector": {"matchLabels": {"a": "d"}}, "template": template});
    vec![
        ("/api/v1/namespaces", json!({})),
        ("/api/v1/nodes", json!({})),
        (
            "/api/v1/persistentvolumes",
            json!({
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                "hostPath": {"path": "/x"},
            }),
        ),
        (
            "/api/v1/namespaces/default/persistentvolumeclaims",
            json!({
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            }),
        ),
        (
            "/api/v1/namespaces/default/pods",
            json!({"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}),
        ),
        ("/api/v1/namespaces/default/replicationcontrollers", json!({"template": template})),
        ("/api/v1/namespaces/default/resourcequotas", json!({"hard": {"secrets": "9"}})),
        ("/api/v1/namespaces/default/services", json!({"ports": [{"port": 80}]})),
        ("/apis/apps/v1/namespaces/default/daemonsets", workload.clone()),
        ("/apis/apps/v1/namespaces/default/replicasets", workload.clone()),
        ("/apis/apps/v1/namespaces/default/statefulsets", workload),
        (
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            json!({"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3}),
        ),
        (
            "/apis/batch/v1/namespaces/default/cronjobs",
            json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": once}}}),
        ),
        ("/apis/batch/v1/namespaces/default/jobs", json!({"template": once})),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
            json!({"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}),
        ),
        (
            "/apis/certificates.k8s.io/v1/certificatesigningrequests",
            json!({
                // BEGIN CERTIFICATE REQUEST, and nothing else.
                "request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K",
                "signerName": "example.com/s", "usages": ["client auth"],
            }),
        ),
        ("/apis/networking.k8s.io/v1/servicecidrs", json!({"cidrs": ["10.96.0.0/24"]})),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            json!({"selector": {"matchLabels": {"a": "d"}}, "minAvailable": 1}),
        ),
        // Of these nothing but the status is written with it.
        (
            "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
            json!({"priorityLevelConfiguration": {"name": "p"}}),
        ),
        (
            "/apis/storage.k8s.io/v1/volumeattachments",
            json!({"attacher": "a.io", "nodeName": "n", "source": {"persistentVolumeName": "v"}}),
        ),
    ]
}

/// Writes labels, an annotation, a finalizer and a change of the spec with the status, by a patch
/// and by an update; tells what came of the metadata.
async fn written_with_status(admin: &Caller, collection: &str, spec: &Value) -> String {
    let object = json!({"metadata": {"name": "x", "labels": {"l": "1"}}, "spec": spec});
    let created = admin.create(collection, &object).await.ok();
    let status = format!("{collection}/x/status");
    let patch = json!({
        "metadata": {"annotations": {"patchedstatus": "true"}, "labels": {"l": "2"}},
        "spec": null,
    });
    let patched = admin.merge(&status, &patch).await.ok();
    assert_eq!(patched["spec"], created["spec"], "{collection}");
    let generation = &created["metadata"]["generation"];
    assert_eq!(&patched["metadata"]["generation"], generation, "{collection}");
    let mut update = patched.clone();
    update["metadata"]["annotations"]["updated"] = "1".into();
    update["metadata"]["finalizers"] = json!(["example.com/f"]);
    let updated = admin.update(&status, &update).await.ok();
    assert_eq!(updated, admin.get(&format!("{collection}/x")).await.ok(), "{collection}");
    let meta = &updated["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let annotations = &meta["annotations"];
    format!(
        "l={} {} {} {}",
        text(&meta["labels"]["l"]),
        text(&annotations["patchedstatus"]),
        text(&annotations["updated"]),
        text(&meta["finalizers"][0]),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_can_be_written_with_a_status() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let account = json!({"metadata": {"name": "default"}});
    admin.create("/api/v1/namespaces/default/serviceaccounts", &account).await.ok();
    for (collection, spec) in with_status() {
        let alone = collection.contains("flowcontrol") || collection.contains("volumeattachments");
        let expected = if alone { "l=1 - - -" } else { "l=2 true 1 example.com/f" };
        let seen = written_with_status(&admin, collection, &spec).await;
        assert_eq!(seen, expected, "{collection}");
    }
    // A pod's owners are not the kubelet's business; neither is what it did not say.
    let pod = "/api/v1/namespaces/default/pods/x/status";
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]);
    let patch = json!({"metadata": {"ownerReferences": owner}, "status": {"qosClass": null}});
    let found = admin.merge(pod, &patch).await.ok();
    assert!(found["metadata"].get("ownerReferences").is_none(), "{found}");
    assert_eq!(found["status"]["qosClass"], "BestEffort");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_services_conditions_may_have_no_time() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let mut service = admin.create(services, &service).await.ok();
    service["status"]["conditions"] = json!([{
        "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from a test",
        "lastTransitionTime": null,
    }]);
    let found = admin.update(&format!("{services}/s/status"), &service).await.ok();
    // Whoever decodes the whole Service can.
    assert_eq!(found["status"]["conditions"][0]["lastTransitionTime"], "0001-01-01T00:00:00Z");
    let labelled = json!({"metadata": {"labels": {"test-service": "patched"}}});
    admin.merge(&format!("{services}/s"), &labelled).await.ok();
    cluster.stop().await;
}
