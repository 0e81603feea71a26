#![expect(
    clippy::needless_pass_by_value,
    reason = "tables of literals read better without borrows"
)]

use super::*;

fn range(limit: Value) -> Value {
    json!({"spec": {"limits": [limit]}})
}

fn pod(requests: Value, limits: Value) -> Value {
    json!({"metadata": {}, "spec": {"containers": [
        {"name": "c", "resources": {"requests": requests, "limits": limits}},
    ]}})
}

#[track_caller]
fn check(object: &Value, limit: Value, expected: &[&str]) {
    let is_pod = object["spec"]["containers"].is_array();
    assert_eq!(judge(object, &range(limit), is_pod), expected);
}

#[test]
fn containers_get_what_they_do_not_name() {
    let limit = json!({
        "type": "Container", "default": {"cpu": "500m", "memory": "1Gi"},
        "defaultRequest": {"cpu": "100m"},
    });
    let mut object = pod(json!({}), json!({"cpu": "2"}));
    object["spec"]["initContainers"] = json!([{"name": "i"}]);
    set_defaults(&mut object, &range(limit.clone()));
    let resources = &object["spec"]["containers"][0]["resources"];
    assert_eq!(
        *resources,
        json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "2", "memory": "1Gi"}})
    );
    assert_eq!(
        meta::annotation(&object, ANNOTATION),
        Some(
            "LimitRanger plugin set: cpu request for init container i; cpu, memory limit for \
             init container i; cpu request for container c; memory limit for container c"
        )
    );
    let before = object.clone();
    set_defaults(&mut object, &range(limit));
    assert_eq!(object, before, "a second time changes nothing");
}

#[test]
fn a_container_keeps_between_least_and_most() {
    let least = json!({"type": "Container", "min": {"cpu": "100m"}});
    let most = json!({"type": "Container", "max": {"memory": "1Gi"}});
    check(&pod(json!({"cpu": "100m"}), json!({})), least.clone(), &[]);
    check(
        &pod(json!({"cpu": "50m"}), json!({})),
        least.clone(),
        &["minimum cpu usage per Container is 100m, but request is 50m"],
    );
    check(
        &pod(json!({}), json!({})),
        least,
        &["minimum cpu usage per Container is 100m.  No request is specified"],
    );
    check(
        &pod(json!({}), json!({"memory": "2Gi"})),
        most.clone(),
        &["maximum memory usage per Container is 1Gi, but limit is 2Gi"],
    );
    check(
        &pod(json!({"memory": "2Gi"}), json!({"memory": "1Gi"})),
        most.clone(),
        &["maximum memory usage per Container is 1Gi, but request is 2Gi"],
    );
    check(
        &pod(json!({}), json!({})),
        most,
        &["maximum memory usage per Container is 1Gi.  No limit is specified"],
    );
}

#[test]
fn limit_and_request_stay_together() {
    let ratio = json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}});
    check(&pod(json!({"cpu": "1"}), json!({"cpu": "2"})), ratio.clone(), &[]);
    check(
        &pod(json!({"cpu": "1"}), json!({"cpu": "3"})),
        ratio.clone(),
        &["cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"],
    );
    check(
        &pod(json!({}), json!({"cpu": "3"})),
        ratio,
        &["cpu max limit to request ratio per Container is 2, but no request is specified or \
           request is 0"],
    );
}

#[test]
fn a_pod_is_what_its_containers_are_together() {
    let limit = json!({"type": "Pod", "max": {"cpu": "2"}});
    let mut object = pod(json!({"cpu": "1"}), json!({"cpu": "1"}));
    object["spec"]["initContainers"] = json!([
        {"name": "side", "restartPolicy": "Always", "resources": {"limits": {"cpu": "1"}}},
    ]);
    check(&object, limit.clone(), &[]);
    let heavy = json!({"name": "heavy", "resources": {"limits": {"cpu": "1500m"}}});
    object["spec"]["initContainers"].as_array_mut().unwrap().push(heavy);
    check(&object, limit, &["maximum cpu usage per Pod is 2, but limit is 2500m"]);
}

#[test]
fn a_claim_asks_for_neither_too_little_nor_too_much() {
    let limit = json!({
        "type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"},
    });
    let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    check(&claim("1Gi"), limit.clone(), &[]);
    check(
        &claim("3Gi"),
        limit.clone(),
        &["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"],
    );
    check(
        &claim("1Mi"),
        limit,
        &["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"],
    );
}
