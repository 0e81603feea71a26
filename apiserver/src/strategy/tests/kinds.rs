//! Tables of the kinds that are declared: what is valid, what is refused and in which words, and
//! what may not change.

use super::*;
use crate::registry::Context;

fn workload(spec: &Value, restart: &str) -> Value {
    let mut all = json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "a", "image": "web:1"}], "restartPolicy": restart},
        },
    });
    kontiki_api::patch::merge(&mut all, spec);
    json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}, "spec": all})
}

fn job(spec: &Value) -> Value {
    let mut object = workload(spec, "Never");
    object["spec"]["selector"] = Value::Null;
    let (strategy, mut object) = prepared("jobs", object);
    let user = crate::user::UserInfo::new("u", &[]);
    let context = Context { now: jiff::Timestamp::UNIX_EPOCH, user: &user };
    strategy.prepare_for_create(&mut object, &context);
    object
}

fn cron_job(spec: &Value) -> Value {
    let mut all = json!({
        "schedule": "*/5 * * * *",
        "jobTemplate": {"spec": {"template": {"spec": {
            "containers": [{"name": "a", "image": "x"}], "restartPolicy": "OnFailure",
        }}}},
    });
    kontiki_api::patch::merge(&mut all, spec);
    json!({"metadata": {"name": "a", "namespace": "n"}, "spec": all})
}

fn claim(spec: &Value) -> Value {
    let mut all = json!({
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    });
    kontiki_api::patch::merge(&mut all, spec);
    json!({"metadata": {"name": "a", "namespace": "n"}, "spec": all})
}

fn volume(spec: &Value) -> Value {
    let mut all = json!({
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/data"},
    });
    kontiki_api::patch::merge(&mut all, spec);
    json!({"metadata": {"name": "a"}, "spec": all})
}

fn ingress(spec: &Value) -> Value {
    json!({"metadata": {"name": "a", "namespace": "n"}, "spec": spec})
}

fn scaler(spec: &Value) -> Value {
    let mut all = json!({"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3});
    kontiki_api::patch::merge(&mut all, spec);
    json!({"apiVersion": "autoscaling/v2", "metadata": {"name": "a", "namespace": "n"}, "spec": all})
}

fn named(rest: &Value) -> Value {
    let mut object = json!({"metadata": {"name": "a", "namespace": "n"}});
    kontiki_api::patch::merge(&mut object, rest);
    object
}

/// "-----BEGIN CERTIFICATE REQUEST-----" in base64.
const PEM: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";

/// A smallest valid object of each kind.
pub(super) fn minimal() -> Vec<(&'static str, Value)> {
    let mut all = workloads();
    all.extend(storage());
    all.extend(others());
    all
}

fn workloads() -> Vec<(&'static str, Value)> {
    vec![
        ("daemonsets", workload(&json!({}), "Always")),
        ("statefulsets", workload(&json!({"volumeClaimTemplates": [claim(&json!({}))]}), "Always")),
        ("replicationcontrollers", {
            let mut object = workload(&json!({}), "Always");
            object["spec"]["selector"] = Value::Null;
            object
        }),
        (
            "podtemplates",
            named(&json!({"template": {"spec": {"containers": [{"name": "a", "image": "x"}]}}})),
        ),
        ("controllerrevisions", named(&json!({"data": {"x": 1}, "revision": 1}))),
        ("jobs", job(&json!({}))),
        ("cronjobs", cron_job(&json!({}))),
        ("poddisruptionbudgets", named(&json!({"spec": {"minAvailable": "50%", "selector": {}}}))),
    ]
}

fn storage() -> Vec<(&'static str, Value)> {
    vec![
        ("persistentvolumes", volume(&json!({}))),
        ("persistentvolumeclaims", claim(&json!({}))),
        ("storageclasses", named(&json!({"provisioner": "example.com/disk"}))),
        ("csidrivers", named(&json!({"spec": {}}))),
        ("csinodes", named(&json!({"spec": {"drivers": [{"name": "d", "nodeID": "i"}]}}))),
        ("csistoragecapacities", named(&json!({"storageClassName": "c", "capacity": "1Gi"}))),
        (
            "volumeattachments",
            named(
                &json!({"spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "p"}}}),
            ),
        ),
        (
            "volumeattributesclasses",
            named(&json!({"driverName": "d", "parameters": {"iops": "1"}})),
        ),
    ]
}

fn others() -> Vec<(&'static str, Value)> {
    let rule = json!({"subjects": [{"kind": "User", "user": {"name": "u"}}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
    vec![
        (
            "endpoints",
            named(
                &json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
            ),
        ),
        (
            "ingresses",
            ingress(&json!({"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}})),
        ),
        ("ingressclasses", named(&json!({"spec": {"controller": "example.com/one"}}))),
        (
            "networkpolicies",
            named(
                &json!({"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}}),
            ),
        ),
        (
            "ipaddresses",
            json!({"metadata": {"name": "10.43.0.7"}, "spec": {"parentRef": {"resource": "services", "name": "s"}}}),
        ),
        ("servicecidrs", json!({"metadata": {"name": "a"}, "spec": {"cidrs": ["10.43.0.0/16"]}})),
        ("horizontalpodautoscalers", scaler(&json!({"behavior": {}}))),
        (
            "limitranges",
            named(&json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}})),
        ),
        ("resourcequotas", named(&json!({"spec": {"hard": {"pods": "10"}}}))),
        ("priorityclasses", named(&json!({"value": 10}))),
        ("runtimeclasses", named(&json!({"handler": "runsc"}))),
        (
            "certificatesigningrequests",
            named(
                &json!({"spec": {"request": PEM, "signerName": "example.com/x", "usages": ["client auth"]}}),
            ),
        ),
        (
            "flowschemas",
            named(&json!({"spec": {"priorityLevelConfiguration": {"name": "x"}, "rules": [rule]}})),
        ),
        (
            "prioritylevelconfigurations",
            named(
                &json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}}),
            ),
        ),
        (
            "events.events.k8s.io",
            named(&json!({
                "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c/d", "reportingInstance": "i",
                "action": "a", "reason": "r", "type": "Normal", "regarding": {"namespace": "n"},
            })),
        ),
    ]
}

#[test]
fn workloads_say_what_is_wrong() {
    check(
        "daemonsets",
        workload(&json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}), "Always"),
        "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
    );
    check(
        "statefulsets",
        workload(&json!({"podManagementPolicy": "Any", "replicas": -1}), "Never"),
        "[spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel', \
         spec.replicas: Invalid value: -1: must be greater than or equal to 0, \
         spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"]",
    );
    check_update(
        "statefulsets",
        workload(&json!({}), "Always"),
        workload(&json!({"serviceName": "other"}), "Always"),
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
    );
    check_update(
        "statefulsets",
        workload(&json!({}), "Always"),
        workload(&json!({"replicas": 5, "minReadySeconds": 3}), "Always"),
        "",
    );
    let mut other = workload(&json!({}), "Always");
    other["spec"]["selector"]["matchLabels"] = json!({"tier": "x"});
    other["spec"]["template"]["metadata"]["labels"] = json!({"tier": "x"});
    check_update(
        "daemonsets",
        workload(&json!({}), "Always"),
        other,
        "spec.selector: Invalid value: {\"matchLabels\":{\"tier\":\"x\"}}: field is immutable",
    );
    check(
        "poddisruptionbudgets",
        named(&json!({"spec": {"minAvailable": "101%", "maxUnavailable": 1}})),
        "[spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":\"101%\"}: minAvailable and maxUnavailable cannot be both set, \
         spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%]",
    );
}

#[test]
fn jobs_select_their_own_pods_and_hardly_change() {
    let created = job(&json!({}));
    assert_eq!(
        created["spec"]["selector"],
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}})
    );
    let labels = &created["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["job-name"], "a");
    assert_eq!(labels["batch.kubernetes.io/controller-uid"], "u");
    assert_eq!(
        (&created["spec"]["completions"], &created["spec"]["backoffLimit"]),
        (&json!(1), &json!(6))
    );
    let mut always = job(&json!({}));
    always["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
    check(
        "jobs",
        always,
        "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
    );
    check(
        "jobs",
        job(&json!({"completionMode": "Indexed", "parallelism": 2})),
        "spec.completions: Required value: when completion mode is Indexed",
    );
    check_update(
        "jobs",
        job(&json!({"completions": 1})),
        job(&json!({"completions": 2})),
        "spec.completions: Invalid value: 2: field is immutable",
    );
    check_update("jobs", job(&json!({})), job(&json!({"parallelism": 3, "completions": 1})), "");
    let indexed = |pods: u8| {
        job(&json!({"completionMode": "Indexed", "parallelism": pods, "completions": pods}))
    };
    check_update("jobs", indexed(2), indexed(4), "");
    let image = |job: Value, key: &str| {
        let mut job = job;
        job["spec"]["template"]["spec"]["nodeSelector"] = json!({key: "x"});
        job
    };
    let suspended = job(&json!({"suspend": true}));
    check_update("jobs", suspended.clone(), image(suspended, "k"), "");
    let (_, running) = prepared("jobs", job(&json!({})));
    let (strategy, moved) = prepared("jobs", image(running.clone(), "k"));
    assert!(strategy.validate_update(&moved, &running).aggregate().contains("field is immutable"));
}

#[test]
fn cron_jobs_say_what_is_wrong() {
    check(
        "cronjobs",
        cron_job(
            &json!({"schedule": "* * * *", "concurrencyPolicy": "Maybe", "timeZone": "Moon/Base"}),
        ),
        "[spec.schedule: Invalid value: \"* * * *\": expected exactly 5 fields, found 4: [* * * *], \
         spec.timeZone: Invalid value: \"Moon/Base\": unknown time zone Moon/Base, \
         spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\"]",
    );
    let name = "x".repeat(53);
    assert_eq!(
        of("batch", "cronjobs").validate_name(&name, false),
        ["must be no more than 52 characters"]
    );
}

#[test]
fn storage_says_what_is_wrong_and_what_may_not_change() {
    check(
        "persistentvolumeclaims",
        json!({"metadata": {"name": "a"}, "spec": {"accessModes": ["Any"]}}),
        "[spec.accessModes: Unsupported value: \"Any\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\", \
         spec.resources.requests[storage]: Required value]",
    );
    check_update(
        "persistentvolumeclaims",
        claim(&json!({})),
        claim(&json!({"accessModes": ["ReadWriteMany"]})),
        "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
    );
    check_update(
        "persistentvolumeclaims",
        claim(&json!({})),
        claim(&json!({"volumeName": "v"})),
        "",
    );
    let mut bound = claim(&json!({"volumeName": "v"}));
    bound["status"] = json!({"phase": "Bound"});
    let larger = claim(&json!({"volumeName": "v", "resources": {"requests": {"storage": "2Gi"}}}));
    check_update("persistentvolumeclaims", bound, larger, "");
    check(
        "persistentvolumes",
        json!({"metadata": {"name": "a"}, "spec": {"capacity": {"storage": "1Gi"}}}),
        "[spec.accessModes: Required value, spec: Required value: must specify a volume type]",
    );
    check_update(
        "persistentvolumes",
        volume(&json!({})),
        volume(&json!({"hostPath": {"path": "/other"}})),
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
    );
    check_update(
        "storageclasses",
        named(&json!({"provisioner": "d", "parameters": {"a": "b"}})),
        named(&json!({"provisioner": "d", "parameters": {"a": "c"}})),
        "parameters: Forbidden: updates to parameters are forbidden.",
    );
}

#[test]
fn networking_says_what_is_wrong() {
    check(
        "ingresses",
        ingress(&json!({"rules": [{"host": "1.2.3.4", "http": {"paths": [
            {"path": "x", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {}}}},
        ]}}]})),
        "[spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address, \
         spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path, \
         spec.rules[0].http.paths[0].backend.service.port: Required value: port name or number is required]",
    );
    check(
        "networkpolicies",
        named(&json!({"spec": {"ingress": [{"ports": [{"endPort": 5}], "from": [{}]}]}})),
        "[spec.ingress[0].ports[0].endPort: Invalid value: 5: may not be specified when `port` is not specified, \
         spec.ingress[0].from[0]: Required value: must specify a peer]",
    );
    check(
        "endpoints",
        named(&json!({"subsets": [{"addresses": [{"ip": "127.0.0.1"}]}, {}]})),
        "[subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128), \
         subsets[1]: Required value: must specify `addresses` or `notReadyAddresses`]",
    );
    assert_eq!(of("networking.k8s.io", "ipaddresses").validate_name("10.0.0.01", false).len(), 1);
}

#[test]
fn autoscalers_are_checked_alike_in_both_versions() {
    let (_, with_defaults) = prepared("horizontalpodautoscalers", scaler(&json!({})));
    assert_eq!(with_defaults["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    let later = scaler(&json!({"minReplicas": 5}));
    let expected =
        "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`";
    check("horizontalpodautoscalers", later.clone(), expected);
    let strategy = of("autoscaling", "horizontalpodautoscalers");
    let mut earlier = later;
    earlier["apiVersion"] = json!("autoscaling/v1");
    earlier["kind"] = json!("HorizontalPodAutoscaler");
    strategy.set_defaults(&mut earlier);
    assert_eq!(strategy.validate(&earlier).aggregate(), expected);
    check(
        "horizontalpodautoscalers",
        scaler(
            &json!({"metrics": [{"type": "Pods", "resource": {"name": "cpu", "target": {"type": "Value"}}}]}),
        ),
        "[spec.metrics[0].pods: Required value: must populate information for the given metric source, \
         spec.metrics[0].resource: Forbidden: must populate the given metric source only]",
    );
}

#[test]
fn limits_and_priorities_say_what_is_wrong() {
    let (_, range) = prepared(
        "limitranges",
        named(&json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}})),
    );
    assert_eq!(range["spec"]["limits"][0]["defaultRequest"], json!({"cpu": "2"}));
    check(
        "limitranges",
        named(
            &json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]}}),
        ),
        "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
    );
    check(
        "resourcequotas",
        named(
            &json!({"spec": {"hard": {"pods": "1.5"}, "scopes": ["Terminating", "NotTerminating"]}}),
        ),
        "[spec.hard[pods]: Invalid value: \"1500m\": must be an integer, \
         spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting scopes]",
    );
    check(
        "priorityclasses",
        named(&json!({"value": 2_000_000_000})),
        "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
    );
    check_update(
        "priorityclasses",
        named(&json!({"value": 1})),
        named(&json!({"value": 2})),
        "value: Forbidden: may not be changed in an update.",
    );
}

#[test]
fn requests_for_certificates_are_decided_apart_from_being_signed() {
    let strategy = of("certificates.k8s.io", "certificatesigningrequests");
    let user = crate::user::UserInfo::new("jane", &["dev"]);
    let context = Context { now: jiff::Timestamp::UNIX_EPOCH, user: &user };
    let (_, mut request) = prepared(
        "certificatesigningrequests",
        named(
            &json!({"spec": {"request": PEM, "signerName": "example.com/x", "usages": ["client auth"], "username": "root"}}),
        ),
    );
    strategy.prepare_for_create(&mut request, &context);
    assert_eq!(request["spec"]["username"], "jane");
    assert_eq!(request["spec"]["groups"], json!(["dev", "system:authenticated"]));
    let approved = json!([{"type": "Approved", "status": "True"}]);
    let mut by_status = request.clone();
    by_status["status"]["conditions"] = approved.clone();
    strategy.prepare_for_part("status", &mut by_status, &request, &context);
    assert_eq!(by_status["status"].get("conditions"), None);
    let mut decided = request.clone();
    decided["status"] = json!({"conditions": approved, "certificate": "forged"});
    strategy.prepare_for_part("approval", &mut decided, &request, &context);
    assert_eq!(decided["status"].get("certificate"), None);
    assert_eq!(decided["status"]["conditions"][0]["lastUpdateTime"], "1970-01-01T00:00:00Z");
    let errors = strategy.validate_part_update("approval", &request, &decided);
    assert!(errors.aggregate().contains("updates may not remove a condition"));
}

#[test]
fn pods_get_containers_to_look_inside_and_other_sizes_through_their_own_endpoints() {
    let strategy = of("", "pods");
    let user = crate::user::UserInfo::new("jane", &[]);
    let context = Context { now: jiff::Timestamp::UNIX_EPOCH, user: &user };
    let (_, old) = prepared("pods", pod(&json!({"containers": [{"name": "a", "image": "x:1"}]})));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("y");
    new["spec"]["ephemeralContainers"] = json!([{"name": "look", "image": "busybox", "ports": [{"containerPort": 1}], "targetContainerName": "b"}]);
    strategy.prepare_for_part("ephemeralcontainers", &mut new, &old, &context);
    assert_eq!(new["spec"]["containers"][0]["image"], "x:1");
    let errors = strategy.validate_part_update("ephemeralcontainers", &new, &old);
    assert_eq!(
        errors.aggregate(),
        "[spec.ephemeralContainers[0].targetContainerName: Not found: \"b\", \
         spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container]"
    );
    let errors = strategy.validate_part_update("ephemeralcontainers", &old, &new);
    assert!(
        errors.aggregate().contains("existing ephemeral containers \"look\" may not be removed")
    );

    let sized = |cpu: &str| {
        pod(
            &json!({"containers": [{"name": "a", "image": "x", "resources": {"requests": {"cpu": cpu}}}]}),
        )
    };
    let (_, mut old) = prepared("pods", sized("1"));
    old["status"] = json!({"qosClass": "Burstable"});
    let (_, mut new) = prepared("pods", sized("2"));
    strategy.prepare_for_part("resize", &mut new, &old, &context);
    assert_eq!(new["spec"]["containers"][0]["resources"]["requests"]["cpu"], "2");
    assert!(strategy.validate_part_update("resize", &new, &old).is_empty());
    let mut none = new.clone();
    none["spec"]["containers"][0]["resources"] = json!({});
    let errors = strategy.validate_part_update("resize", &none, &old);
    assert!(errors.aggregate().contains("resource requests cannot be removed"));
}
