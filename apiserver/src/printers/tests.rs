use serde_json::json;

use super::*;

const NOW: &str = "2026-01-02T03:10:00Z";

const META: &str = "meta.k8s.io/v1";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// The cells of an object, joined as a line.
fn check(resource: (&str, &str), object: &Value, expected: &str) {
    let printer = find(resource.0, resource.1).expect("a printer");
    let cells = (printer.cells)(object, now());
    assert_eq!(cells.len(), printer.columns.len());
    let words: Vec<String> = cells
        .iter()
        .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
        .collect();
    assert_eq!(words.join(" | "), expected);
}

fn pod(status: &Value) -> Value {
    json!({
        "metadata": {"name": "web", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"nodeName": "n1", "containers": [{"name": "a"}, {"name": "b"}]},
        "status": status,
    })
}

fn status_of(pod: &Value) -> String {
    (pod::PRINTER.cells)(pod, now())[2].as_str().expect("text").to_owned()
}

#[test]
fn a_running_pod() {
    let status = json!({
        "phase": "Running",
        "podIPs": [{"ip": "10.42.0.5"}],
        "containerStatuses": [
            {"ready": true, "restartCount": 0, "state": {"running": {}}},
            {"ready": true, "restartCount": 3, "state": {"running": {}},
             "lastState": {"terminated": {"finishedAt": "2026-01-02T03:07:00Z"}}},
        ],
    });
    check(
        ("", "pods"),
        &pod(&status),
        "web | 2/2 | Running | 3 (3m ago) | 5m55s | 10.42.0.5 | n1 | <none> | <none>",
    );
}

#[test]
fn the_status_of_a_pod_is_its_most_telling_word() {
    let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason}}});
    let cases = [
        (json!({"phase": "Pending"}), "Pending"),
        (json!({"phase": "Failed", "reason": "Evicted"}), "Evicted"),
        (
            json!({"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff")]}),
            "CrashLoopBackOff",
        ),
        (
            json!({"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]}),
            "ContainerCreating",
        ),
        (
            json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]}),
            "Completed",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 2}}}]}),
            "ExitCode:2",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"signal": 9, "exitCode": 137}}}]}),
            "Signal:9",
        ),
        (
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
            "SchedulingGated",
        ),
    ];
    for (status, expected) in cases {
        assert_eq!(status_of(&pod(&status)), expected);
    }
    let mut deleted = pod(&json!({"phase": "Running"}));
    deleted["metadata"]["deletionTimestamp"] = NOW.into();
    assert_eq!(status_of(&deleted), "Terminating");
    deleted["status"]["reason"] = "NodeLost".into();
    assert_eq!(status_of(&deleted), "Unknown");
}

#[test]
fn init_containers_show_how_far_they_are() {
    let mut pod = pod(&json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "one", "state": {"terminated": {"exitCode": 0}}},
        {"name": "two", "state": {"waiting": {"reason": "PodInitializing"}}},
    ]}));
    pod["spec"]["initContainers"] = json!([{"name": "one"}, {"name": "two"}]);
    assert_eq!(status_of(&pod), "Init:1/2");
    pod["status"]["initContainerStatuses"][1]["state"] =
        json!({"terminated": {"exitCode": 1, "reason": "Error"}});
    assert_eq!(status_of(&pod), "Init:Error");
    pod["status"]["initContainerStatuses"][1]["state"] =
        json!({"waiting": {"reason": "CrashLoopBackOff"}});
    assert_eq!(status_of(&pod), "Init:CrashLoopBackOff");
}

#[test]
fn the_other_kinds() {
    let meta = json!({"name": "a", "creationTimestamp": "2026-01-02T03:09:00Z"});
    check(
        ("apps", "deployments"),
        &json!({"metadata": meta, "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}},
            "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}}),
        "a | 2/3 | 3 | 2 | 60s | c | i:1 | app=web",
    );
    check(
        ("", "services"),
        &json!({"metadata": meta, "spec": {"type": "NodePort", "clusterIP": "10.43.0.9",
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
            "selector": {"app": "web"}}}),
        "a | NodePort | 10.43.0.9 | <none> | 80:30080/TCP,53/UDP | 60s | app=web",
    );
    check(
        ("", "nodes"),
        &json!({"metadata": {"name": "n", "creationTimestamp": NOW, "labels": {"node-role.kubernetes.io/control-plane": ""}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "False"}], "nodeInfo": {"kubeletVersion": "v1.36.0"},
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}),
        "n | NotReady,SchedulingDisabled | control-plane | 0s | v1.36.0 | 10.0.0.1 | <none> | <unknown> | <unknown> | <unknown>",
    );
    check(
        ("discovery.k8s.io", "endpointslices"),
        &json!({"metadata": meta, "addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["1.1.1.1"]}, {"addresses": ["1.1.1.2"]}, {"addresses": ["1.1.1.3"]}, {"addresses": ["1.1.1.4"]}]}),
        "a | IPv4 | 80 | 1.1.1.1,1.1.1.2,1.1.1.3 + 1 more... | 60s",
    );
    check(
        ("", "events"),
        &json!({"metadata": {"name": "e"}, "type": "Warning", "reason": "FailedScheduling", "message": "no room\n",
            "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "scheduler"},
            "count": 2, "firstTimestamp": "2026-01-02T03:00:00Z", "lastTimestamp": "2026-01-02T03:09:30Z"}),
        "30s | Warning | FailedScheduling | pod/p |  | scheduler | no room | 10m | 2 | e",
    );
    check(
        ("rbac.authorization.k8s.io", "rolebindings"),
        &json!({"metadata": meta, "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}),
        "a | Role/r | 60s | u |  | n/s",
    );
}

#[test]
fn tables_carry_what_was_asked_for() {
    let catalogue = kontiki_api::Catalogue::builtin();
    let row = catalogue.find("ns").expect("built in");
    let objects = [
        json!({"metadata": {"name": "a", "creationTimestamp": NOW}, "status": {"phase": "Active"}}),
    ];
    let printed =
        of(&row.group, &row.resource).table(&objects, IncludeObject::Metadata, now(), META);
    assert_eq!(printed["columnDefinitions"][0]["format"], "name");
    assert_eq!(printed["rows"][0]["cells"], json!(["a", "Active", "0s"]));
    assert_eq!(printed["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let printed = of(&row.group, &row.resource).table(&objects, IncludeObject::None, now(), META);
    assert_eq!(printed["rows"][0].get("object"), None);
    assert_eq!(of("x", "y").columns.len(), 2);
}

#[test]
fn workloads_and_storage_print_as_upstream_does() {
    let meta = json!({"name": "a", "creationTimestamp": "2026-01-02T03:09:00Z"});
    let template = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    check(
        ("batch", "jobs"),
        &json!({"metadata": meta, "spec": {"completions": 3, "template": template},
            "status": {"succeeded": 3, "startTime": "2026-01-02T03:00:00Z", "completionTime": "2026-01-02T03:02:30Z",
                "conditions": [{"type": "Complete", "status": "True"}]}}),
        "a | Complete | 3/3 | 2m30s | 60s | c | i | <none>",
    );
    check(
        ("batch", "jobs"),
        &json!({"metadata": meta, "spec": {"parallelism": 4, "template": template}}),
        "a | Running | 0/1 of 4 |  | 60s | c | i | <none>",
    );
    check(
        ("batch", "cronjobs"),
        &json!({"metadata": meta, "spec": {"schedule": "@daily", "suspend": true, "jobTemplate": {"spec": {"template": template}}},
            "status": {"active": [{}], "lastScheduleTime": "2026-01-02T03:05:00Z"}}),
        "a | @daily | <none> | True | 1 | 5m | 60s | c | i | <none>",
    );
    check(
        ("policy", "poddisruptionbudgets"),
        &json!({"metadata": meta, "spec": {"maxUnavailable": "25%"}, "status": {"disruptionsAllowed": 2}}),
        "a | N/A | 25% | 2 | 60s",
    );
    check(
        ("autoscaling", "horizontalpodautoscalers"),
        &json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": meta,
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 4, "targetCPUUtilizationPercentage": 80},
            "status": {"currentReplicas": 2, "currentCPUUtilizationPercentage": 35}}),
        "a | Deployment/d | cpu: 35%/80% | 1 | 4 | 2 | 60s",
    );
    check(
        ("", "persistentvolumes"),
        &json!({"metadata": meta, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "n", "name": "c"}, "storageClassName": "s", "volumeMode": "Block"},
            "status": {"phase": "Bound"}}),
        "a | 1Gi | RWO,RWX | Retain | Bound | n/c | s | <unset> |  | 60s | Block",
    );
    check(
        ("networking.k8s.io", "ingresses"),
        &json!({"metadata": meta, "spec": {"rules": [{"host": "a"}, {"host": "b"}, {"host": "c"}, {"host": "d"}], "tls": [{}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}}),
        "a | <none> | a,b,c + 1 more... | 10.0.0.1 | 80, 443 | 60s",
    );
    check(
        ("", "resourcequotas"),
        &json!({"metadata": meta, "status": {"hard": {"pods": "10", "limits.cpu": "2"}, "used": {"pods": "3", "limits.cpu": "1"}}}),
        "a | pods: 3/10 | limits.cpu: 1/2 | 60s",
    );
    check(
        ("certificates.k8s.io", "certificatesigningrequests"),
        &json!({"metadata": meta, "spec": {"signerName": "s/x", "username": "jane", "expirationSeconds": 3600},
            "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="}}),
        "a | 60s | s/x | jane | 60m | Approved,Issued",
    );
}

#[test]
fn a_scale_is_wanted_and_available() {
    let scale = json!({
        "metadata": {"name": "web", "creationTimestamp": "2026-01-02T03:09:00Z"},
        "spec": {"replicas": 3},
        "status": {"replicas": 2},
    });
    let table = SCALE.table(&[scale], IncludeObject::None, now(), META);
    assert_eq!(table["rows"][0]["cells"], json!(["web", 3, 2, "60s"]));
    let names: Vec<_> = table["columnDefinitions"].as_array().expect("columns").iter().collect();
    assert_eq!(names[1]["name"], "Desired");
}
