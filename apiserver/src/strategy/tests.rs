use kontiki_api::{Catalogue, schema::Schema};
use serde_json::{Value, json};

use super::*;

mod kinds;
mod pods;
mod services;
mod walk;

/// Decodes, defaults and validates; tells the errors in one line.
fn check(kind: &str, object: Value, expected: &str) {
    let errors = errors(kind, object);
    assert_eq!(errors, expected, "{kind}");
}

fn errors(kind: &str, object: Value) -> String {
    let (strategy, object) = prepared(kind, object);
    let errors = strategy.validate(&object);
    if errors.is_empty() { String::new() } else { errors.aggregate() }
}

fn prepared(kind: &str, object: Value) -> (&'static dyn Strategy, Value) {
    let catalogue = Catalogue::builtin();
    let row = catalogue.find(kind).expect("a known kind");
    let expected =
        crate::schema::Expected { group: &row.group, version: &row.version, kind: &row.kind };
    let mut object = crate::schema::conform_stored(expected, object).expect("it conforms");
    let strategy = of(&row.group, &row.resource);
    strategy.set_defaults(&mut object);
    (strategy, object)
}

fn check_update(kind: &str, old: Value, new: Value, expected: &str) {
    let (_, old) = prepared(kind, old);
    let (strategy, new) = prepared(kind, new);
    let errors = strategy.validate_update(&new, &old);
    let line = if errors.is_empty() { String::new() } else { errors.aggregate() };
    assert_eq!(line.lines().next().unwrap_or_default(), expected, "{kind}");
}

fn pod(spec: &Value) -> Value {
    json!({"metadata": {"name": "a", "namespace": "n"}, "spec": spec})
}

fn deployment(spec: &Value) -> Value {
    let mut all = json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "a", "image": "web:1"}]},
        },
    });
    kontiki_api::patch::merge(&mut all, spec);
    json!({"metadata": {"name": "a", "namespace": "n"}, "spec": all})
}

#[test]
fn every_row_of_the_catalogue_has_a_strategy_and_a_type_and_columns() {
    for row in Catalogue::builtin().rows() {
        assert!(find(&row.group, &row.resource).is_some(), "no strategy for {}", row.resource);
        let schema = Schema::builtin().kind(&row.group, &row.version, &row.kind);
        assert!(schema.is_some(), "no type for {}", row.kind);
        assert!(
            crate::printers::find(&row.group, &row.resource).is_some(),
            "no columns for {}",
            row.resource
        );
    }
    let versions = Catalogue::builtin();
    let stored =
        versions.rows().iter().filter(|row| row.version != "v1" || row.group != "autoscaling");
    assert_eq!(STRATEGIES.len(), stored.count());
}

/// The least that is valid, of the kinds that have a file of their own; the others are `kinds`'.
fn minimal_objects() -> Vec<(&'static str, Value)> {
    vec![
        ("pods", pod(&json!({"containers": [{"name": "a", "image": "web"}]}))),
        ("deployments", deployment(&json!({}))),
        ("replicasets", deployment(&json!({}))),
        ("services", json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}})),
        ("configmaps", json!({"metadata": {"name": "a"}, "data": {"k": "v"}})),
        ("secrets", json!({"metadata": {"name": "a"}, "stringData": {"k": "v"}})),
        ("namespaces", json!({"metadata": {"name": "a"}})),
        ("nodes", json!({"metadata": {"name": "a"}, "spec": {"podCIDR": "10.42.0.0/24"}})),
        ("serviceaccounts", json!({"metadata": {"name": "a"}})),
        ("leases", json!({"metadata": {"name": "a"}, "spec": {"leaseDurationSeconds": 15}})),
        (
            "endpointslices",
            json!({"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": [], "ports": [{"port": 80}]}),
        ),
        (
            "events",
            json!({"metadata": {"name": "a", "namespace": "n"}, "involvedObject": {"namespace": "n"}}),
        ),
        (
            "roles",
            json!({"metadata": {"name": "a"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
        (
            "clusterroles",
            json!({"metadata": {"name": "a"}, "rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]}),
        ),
        (
            "rolebindings",
            json!({"metadata": {"name": "a"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}),
        ),
        (
            "clusterrolebindings",
            json!({"metadata": {"name": "a"}, "roleRef": {"kind": "ClusterRole", "name": "r"}}),
        ),
    ]
}

#[test]
fn defaults_are_idempotent_and_minimal_objects_are_valid() {
    let objects = minimal_objects();
    // Nobody stores CustomResourceDefinitions, Bindings and ComponentStatuses.
    let others = kinds::minimal();
    assert_eq!(objects.len() + others.len() + 3, STRATEGIES.len());
    for (kind, object) in objects.into_iter().chain(others) {
        let (strategy, once) = prepared(kind, object);
        let mut twice = once.clone();
        strategy.set_defaults(&mut twice);
        assert_eq!(once, twice, "{kind}");
        let errors = strategy.validate(&once);
        assert!(errors.is_empty(), "{kind}: {}", errors.aggregate());
    }
}

#[test]
fn pods_get_upstreams_defaults() {
    let spec = json!({
        "containers": [{
            "name": "a", "image": "web:1",
            "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}},
            "readinessProbe": {"httpGet": {"port": 80}},
        }],
        "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "m"}}],
        "serviceAccountName": "robot",
    });
    let (_, pod) = prepared("pods", pod(&spec));
    assert_eq!(
        pod["spec"],
        json!({
            "containers": [{
                "image": "web:1",
                "imagePullPolicy": "IfNotPresent",
                "name": "a",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "readinessProbe": {
                    "failureThreshold": 3,
                    "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "timeoutSeconds": 1,
                },
                "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": true,
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "serviceAccount": "robot",
            "serviceAccountName": "robot",
            "terminationGracePeriodSeconds": 30,
            "volumes": [
                {"emptyDir": {}, "name": "v"},
                {"configMap": {"defaultMode": 420, "name": "m"}, "name": "c"},
            ],
        })
    );
}

#[test]
fn broken_pods_are_told_everything_at_once() {
    check("pods", pod(&json!({})), "spec.containers: Required value");
    check(
        "pods",
        pod(&json!({
            "restartPolicy": "Sometimes",
            "containers": [
                {"name": "A", "ports": [{"containerPort": 70000, "protocol": "tcp"}]},
                {"name": "b", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
                {"name": "b", "image": "x", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}},
            ],
        })),
        "[spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'), \
         spec.containers[0].image: Required value, \
         spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive, \
         spec.containers[0].ports[0].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\", \
         spec.containers[1].volumeMounts[0].name: Not found: \"v\", \
         spec.containers[2].name: Duplicate value: \"b\", \
         spec.containers[2].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1, \
         spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"]",
    );
    let probe = json!({"httpGet": {"port": 80}, "exec": {"command": ["x"]}, "successThreshold": 2});
    check(
        "pods",
        pod(&json!({"containers": [{"name": "a", "image": "x", "livenessProbe": probe}]})),
        "[spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type, \
         spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1]",
    );
}

#[test]
fn ports_in_the_hosts_network_are_the_hosts() {
    let spec = |host_port: u16| {
        let port = json!({"containerPort": 80, "hostPort": host_port});
        json!({"hostNetwork": true, "containers": [{"name": "a", "image": "x", "ports": [port]}]})
    };
    let (_, object) = prepared("pods", pod(&spec(0)));
    assert_eq!(object["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
    check("pods", pod(&spec(0)), "");
    check(
        "pods",
        pod(&spec(81)),
        "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
    );
}

#[test]
fn a_running_pod_hardly_changes() {
    let old = pod(&json!({"containers": [{"name": "a", "image": "x:1"}]}));
    let image = pod(&json!({"containers": [{"name": "a", "image": "x:2"}]}));
    check_update("pods", old.clone(), image, "");
    let mut command = old.clone();
    command["spec"]["containers"][0]["command"] = json!(["sh"]);
    check_update(
        "pods",
        old.clone(),
        command,
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
    );
    let two =
        pod(&json!({"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]}));
    check_update(
        "pods",
        old,
        two,
        "spec.containers: Forbidden: pod updates may not add or remove containers",
    );
}

#[test]
fn deployments_say_what_is_wrong() {
    check(
        "deployments",
        deployment(&json!({"replicas": -1})),
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    );
    check(
        "deployments",
        deployment(&json!({"selector": {"matchLabels": {"app": "db"}}})),
        "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
    );
    check(
        "deployments",
        deployment(
            &json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}}),
        ),
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
    );
    check(
        "deployments",
        deployment(&json!({"template": {"spec": {"restartPolicy": "Never"}}})),
        "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
    );
    let mut other = deployment(&json!({}));
    other["spec"]["selector"]["matchLabels"] = json!({"tier": "x"});
    other["spec"]["template"]["metadata"]["labels"] = json!({"tier": "x"});
    check_update(
        "deployments",
        deployment(&json!({})),
        other,
        "spec.selector: Invalid value: {\"matchLabels\":{\"tier\":\"x\"}}: field is immutable",
    );
}

#[test]
fn the_other_kinds_say_what_is_wrong() {
    let named = |rest: Value| {
        let mut object = json!({"metadata": {"name": "a", "namespace": "n"}});
        kontiki_api::patch::merge(&mut object, &rest);
        object
    };
    let cases = [
        (
            "configmaps",
            json!({"data": {"a b": ""}}),
            "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        ),
        (
            "secrets",
            json!({"type": "kubernetes.io/tls"}),
            "[data[tls.crt]: Required value, data[tls.key]: Required value]",
        ),
        (
            "leases",
            json!({"spec": {"leaseDurationSeconds": 0}}),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "events",
            json!({"involvedObject": {"namespace": "m"}}),
            "involvedObject.namespace: Invalid value: \"m\": does not match event.namespace",
        ),
        (
            "nodes",
            json!({"spec": {"taints": [{"key": "a", "effect": "Never"}]}}),
            "spec.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ),
        (
            "nodes",
            json!({"spec": {"podCIDR": "10.9.0.0/24", "podCIDRs": ["10.8.0.0/24"]}}),
            "spec.podCIDR: Invalid value: \"10.9.0.0/24\": must be the same as the first of podCIDRs, 10.8.0.0/24",
        ),
        (
            "roles",
            json!({"rules": [{"verbs": []}]}),
            "[rules[0].verbs: Required value: verbs must contain at least one value, rules[0].apiGroups: Required value: resource rules must supply at least one api group, rules[0].resources: Required value: resource rules must supply at least one resource]",
        ),
        (
            "roles",
            json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
            "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
        ),
        (
            "rolebindings",
            json!({"roleRef": {"kind": "Cook", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "s"}]}),
            "[roleRef.kind: Unsupported value: \"Cook\": supported values: \"Role\", \"ClusterRole\", subjects[0].namespace: Required value]",
        ),
        (
            "endpointslices",
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["::1"]}, {"addresses": []}]}),
            "[endpoints[0].addresses[0]: Invalid value: \"::1\": must be an IPv4 address, endpoints[1].addresses: Required value: must contain at least 1 address]",
        ),
    ];
    for (kind, rest, expected) in cases {
        check(kind, named(rest), expected);
    }
}

#[test]
fn frozen_content_and_fixed_references() {
    let map = |data: &str, immutable: bool| json!({"metadata": {"name": "a"}, "data": {"k": data}, "immutable": immutable});
    let frozen = "data: Forbidden: field is immutable when `immutable` is set";
    check_update("configmaps", map("a", true), map("b", true), frozen);
    check_update("configmaps", map("a", false), map("b", false), "");
    let binding =
        |role: &str| json!({"metadata": {"name": "a"}, "roleRef": {"kind": "Role", "name": role}});
    check_update(
        "rolebindings",
        binding("r"),
        binding("s"),
        "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"s\"}: cannot change roleRef",
    );
    let (_, secret) = prepared("secrets", json!({"stringData": {"b": "x"}, "data": {"a": "eA=="}}));
    assert_eq!(secret["data"], json!({"a": "eA==", "b": "eA=="}));
    assert_eq!((&secret["type"], secret.get("stringData")), (&json!("Opaque"), None));
}

#[test]
fn pods_are_deleted_gracefully_where_they_run() {
    use crate::registry::Grace;

    let strategy = of("", "pods");
    let running = json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
    assert_eq!(strategy.graceful_deletion(&running, None), Grace::Period(30));
    assert_eq!(strategy.graceful_deletion(&running, Some(5)), Grace::Period(5));
    assert_eq!(strategy.graceful_deletion(&running, Some(0)), Grace::Immediate);
    let pending = json!({"spec": {"terminationGracePeriodSeconds": 30}});
    assert_eq!(strategy.graceful_deletion(&pending, None), Grace::Immediate);
}
