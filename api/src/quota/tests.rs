use serde_json::json;

use super::*;

const PODS: Counted<'static> = Counted { group: "", resource: "pods" };

fn quota(hard: &Value, used: &Value) -> Value {
    json!({
        "metadata": {"name": "q"}, "spec": {"hard": hard},
        "status": {"hard": hard, "used": used},
    })
}

fn pod(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

/// What a charge comes to: the new usage, `-`, or why it is refused.
fn outcome(quota: &Value, kind: Counted<'_>, new: &Value, old: Option<&Value>) -> String {
    match settle(quota, kind, Some(new), old, Timestamp::UNIX_EPOCH) {
        Ok(None) => "-".to_owned(),
        Ok(Some(used)) => write(&used).to_string(),
        Err(why) => why,
    }
}

#[test]
fn an_object_fits_or_is_refused_in_upstreams_words() {
    let full = quota(
        &json!({"pods": "2", "requests.cpu": "1"}),
        &json!({"pods": "1", "requests.cpu": "600m"}),
    );
    assert_eq!(outcome(&full, PODS, &pod("400m"), None), r#"{"pods":"2","requests.cpu":"1"}"#);
    assert_eq!(
        outcome(&full, PODS, &pod("500m"), None),
        "exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: \
         requests.cpu=1"
    );
    let bare = json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}});
    assert_eq!(
        outcome(&full, PODS, &bare, None),
        "failed quota: q: must specify requests.cpu for: a,b"
    );
    let fresh = quota(&json!({"pods": "2"}), &json!({}));
    assert_eq!(outcome(&fresh, PODS, &bare, None), "status unknown for quota: q, resources: pods");
    let other = Counted { group: "apps", resource: "deployments" };
    assert_eq!(outcome(&full, other, &json!({}), None), "-");
    let deployments =
        quota(&json!({"count/deployments.apps": "1"}), &json!({"count/deployments.apps": "1"}));
    assert_eq!(
        outcome(&deployments, other, &json!({}), None),
        "exceeded quota: q, requested: count/deployments.apps=1, used: \
         count/deployments.apps=1, limited: count/deployments.apps=1"
    );
}

#[test]
fn an_update_is_charged_for_what_it_adds() {
    let services = Counted { group: "", resource: "services" };
    let service = |kind: &str| json!({"spec": {"type": kind, "ports": [{"port": 1}, {"port": 2}]}});
    let limits = quota(
        &json!({"services": "5", "services.nodeports": "2"}),
        &json!({"services": "1", "services.nodeports": "0"}),
    );
    let (plain, exposed) = (service("ClusterIP"), service("NodePort"));
    assert_eq!(
        outcome(&limits, services, &exposed, Some(&plain)),
        r#"{"services":"1","services.nodeports":"2"}"#
    );
    assert_eq!(outcome(&limits, services, &plain, Some(&exposed)), "-");
    let ended = json!({"spec": pod("1")["spec"], "status": {"phase": "Succeeded"}});
    let full = quota(&json!({"cpu": "1"}), &json!({"cpu": "1"}));
    assert_eq!(outcome(&full, PODS, &ended, Some(&pod("1"))), r#"{"cpu":"0"}"#);
    assert_eq!(
        outcome(&full, PODS, &pod("2"), Some(&pod("1"))).split(',').next(),
        Some("exceeded quota: q")
    );
    let gone = settle(&full, PODS, None, Some(&pod("400m")), Timestamp::UNIX_EPOCH);
    assert_eq!(write(&gone.unwrap().unwrap()).to_string(), r#"{"cpu":"600m"}"#);
}

#[test]
fn a_pod_that_moves_into_a_scope_is_counted_and_not_refused() {
    let mut full = quota(&json!({"pods": "1"}), &json!({"pods": "1"}));
    full["spec"]["scopes"] = json!(["Terminating"]);
    let mut timed = pod("1");
    timed["spec"]["activeDeadlineSeconds"] = 5.into();
    assert_eq!(outcome(&full, PODS, &timed, Some(&pod("1"))), r#"{"pods":"2"}"#);
}

#[test]
fn scopes_tell_pods_apart() {
    let scoped = |scopes: Value, selector: Value| json!({"spec": {"scopes": scopes, "scopeSelector": {"matchExpressions": selector}}});
    let bare = json!({"spec": {"containers": [{"name": "c"}]}});
    let mut timed = pod("1");
    timed["spec"]["activeDeadlineSeconds"] = 5.into();
    timed["spec"]["priorityClassName"] = "high".into();
    timed["spec"]["affinity"] = json!({"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["a"]}],
    }});
    let class = |operator: &str| json!([{"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]);
    for (quota, with_bare, with_timed) in [
        (scoped(json!([]), json!([])), true, true),
        (scoped(json!(["BestEffort"]), json!([])), true, false),
        (scoped(json!(["NotBestEffort", "Terminating"]), json!([])), false, true),
        (scoped(json!(["NotTerminating"]), json!([])), true, false),
        (scoped(json!(["CrossNamespacePodAffinity"]), json!([])), false, true),
        (scoped(json!([]), class("In")), false, true),
        (scoped(json!([]), class("NotIn")), true, false),
        (scoped(json!([]), class("Exists")), false, true),
        (scoped(json!([]), class("DoesNotExist")), true, false),
    ] {
        assert_eq!(in_scope(&quota, PODS, &bare), with_bare, "{quota}");
        assert_eq!(in_scope(&quota, PODS, &timed), with_timed, "{quota}");
    }
    let secrets = Counted { group: "", resource: "secrets" };
    assert!(!in_scope(&scoped(json!(["BestEffort"]), json!([])), secrets, &json!({})));
}

#[test]
fn everything_is_counted_from_nothing() {
    let claims = Counted { group: "", resource: "persistentvolumeclaims" };
    let quota = json!({"spec": {"hard": {
        "pods": "9", "limits.memory": "1", "requests.storage": "1", "secrets": "1",
        "fast.storageclass.storage.k8s.io/requests.storage": "1", "count/pods": "9",
        "requests.example.com/gpu": "4",
    }}});
    let pod = json!({"spec": {
        "containers": [{"resources": {"limits": {"memory": "1Gi"}, "requests": {"example.com/gpu": "2"}}}],
        "initContainers": [{"resources": {"limits": {"memory": "2Gi"}}}],
        "overhead": {"memory": "1Mi"},
    }});
    let ended = json!({"status": {"phase": "Failed"}});
    let claim = json!({"spec": {
        "storageClassName": "fast", "resources": {"requests": {"storage": "3Gi"}},
    }});
    let objects = [(PODS, &pod), (PODS, &ended), (claims, &claim)];
    let used = counted(&quota, objects.into_iter(), Timestamp::UNIX_EPOCH);
    assert_eq!(
        write(&used).to_string(),
        r#"{"count/pods":"2","fast.storageclass.storage.k8s.io/requests.storage":"3Gi","limits.memory":"2049Mi","pods":"1","requests.example.com/gpu":"2","requests.storage":"3Gi","secrets":"0"}"#
    );
}
