//! The stories themselves.

use expect_test::expect;
use serde_json::json;

use super::{Story, config_map};

#[test]
fn a_creator_owns_what_it_set_but_not_who_the_object_is() {
    let mut story = Story::of("v1", "ConfigMap");
    story.update(
        "kubectl-create",
        json!({
            "metadata": {"labels": {"app": "web"}, "generateName": "x"},
            "data": {"a": "1", "b": "2"},
        }),
    );
    expect!["kubectl-create Update @1: .data .data.a .data.b .metadata.generateName .metadata.labels .metadata.labels.app"]
        .assert_eq(&story.owners());
}

#[test]
fn what_upstream_always_encodes_is_nobodys() {
    let mut story = Story::of("apps/v1", "Deployment");
    story.update(
        "kubectl-create",
        json!({
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "i", "resources": {}}]},
                },
            },
            "status": {"replicas": 1},
        }),
    );
    expect![[r#"kubectl-create Update @1: .spec.replicas .spec.selector .spec.strategy.rollingUpdate .spec.strategy.type .spec.strategy.rollingUpdate.maxSurge .spec.template.metadata.labels .spec.template.metadata.labels.app .spec.template.spec.containers[name="web"] .spec.template.spec.containers[name="web"].image .spec.template.spec.containers[name="web"].name .spec.template.spec.containers[name="web"].resources"#]]
        .assert_eq(&story.owners());
}

#[test]
fn an_update_takes_what_it_changes_and_only_that() {
    let mut story = Story::of("v1", "ConfigMap");
    story.update("one", config_map(json!({"a": "1", "b": "2", "c": "3"})));
    story.update("two", config_map(json!({"a": "1", "b": "9", "d": "4"})));
    expect![[r#"
        one Update @1: .data .data.a
        two Update @2: .data.b .data.d"#]]
    .assert_eq(&story.owners());
    // Nothing changes, nothing is told.
    let before = story.live.clone();
    story.update("three", config_map(json!({"a": "1", "b": "9", "d": "4"})));
    assert_eq!(story.live, before);
    // The same manager again: its set grows, its time moves.
    story.update("two", config_map(json!({"a": "0", "b": "9", "d": "4"})));
    expect![[r#"
        one Update @1: .data
        two Update @4: .data.a .data.b .data.d"#]]
    .assert_eq(&story.owners());
}

#[test]
fn status_belongs_to_who_writes_status() {
    let mut story = Story::of("v1", "Pod");
    let spec = json!({"nodeName": "n"});
    story.update("creator", json!({"spec": spec, "status": {"phase": "Running"}}));
    story.update_part(
        "kubelet",
        "status",
        json!({
            "spec": spec,
            "status": {"phase": "Failed", "conditions": [{"type": "Ready", "status": "False"}]},
        }),
    );
    expect![[r#"
        creator Update @1: .spec.nodeName
        kubelet Update/status @2: .status.conditions .status.phase .status.conditions[type="Ready"] .status.conditions[type="Ready"].status .status.conditions[type="Ready"].type"#]]
    .assert_eq(&story.owners());
}

#[test]
fn apply_creates_and_owns_the_leaves() {
    let mut story = Story::of("v1", "ConfigMap");
    story.apply("me", config_map(json!({"a": "1"})));
    expect!["me Apply @1: .data.a"].assert_eq(&story.owners());
    assert_eq!(story.object(), config_map(json!({"a": "1"})));
    let before = story.live.clone();
    story.apply("me", config_map(json!({"a": "1"})));
    assert_eq!(story.live, before, "an apply that changes nothing is none");
}

#[test]
fn apply_removes_what_it_no_longer_names() {
    let mut story = Story::of("v1", "ConfigMap");
    story.apply("me", config_map(json!({"a": "1", "b": "2"})));
    story.update("other", config_map(json!({"a": "1", "b": "2", "c": "3"})));
    story.apply("me", config_map(json!({"a": "1"})));
    assert_eq!(story.object(), config_map(json!({"a": "1", "c": "3"})));
    expect![[r#"
        me Apply @3: .data.a
        other Update @2: .data.c"#]]
    .assert_eq(&story.owners());
}

#[test]
fn what_another_applier_names_stays() {
    let mut story = Story::of("v1", "ConfigMap");
    story.apply("one", config_map(json!({"a": "1", "b": "2"})));
    story.apply("two", config_map(json!({"b": "2"})));
    expect![[r#"
        two Apply @-: .data.b
        one Apply @1: .data.a .data.b"#]]
    .assert_eq(&story.owners());
    story.apply("one", config_map(json!({"a": "1"})));
    assert_eq!(story.object(), config_map(json!({"a": "1", "b": "2"})));
    story.apply("two", json!({}));
    assert_eq!(story.object(), config_map(json!({"a": "1"})));
    expect!["one Apply @1: .data.a"].assert_eq(&story.owners());
}

#[test]
fn conflicts_name_managers_and_fields() {
    let mut story = Story::of("apps/v1", "Deployment");
    story.update("kubectl", json!({"spec": {"replicas": 3, "paused": true}}));
    story.update_part("hpa", "scale", json!({"spec": {"replicas": 5, "paused": true}}));
    expect![[r#"Apply failed with 1 conflict: conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas"#]]
        .assert_eq(&story.refusal("me", json!({"spec": {"replicas": 1}})));
    expect![[r#"
        Apply failed with 2 conflicts: conflicts with "hpa" with subresource "scale" using apps/v1:
        - .spec.replicas
        conflicts with "kubectl" using apps/v1:
        - .spec.paused"#]]
    .assert_eq(&story.refusal("me", json!({"spec": {"replicas": 1, "paused": false}})));
    story.force("me", json!({"spec": {"replicas": 1}}));
    expect![[r#"
        me Apply @5: .spec.replicas
        kubectl Update @1: .spec.paused"#]]
    .assert_eq(&story.owners());
    expect![[r#"Apply failed with 1 conflict: conflict with "me": .spec.replicas"#]]
        .assert_eq(&story.refusal("you", json!({"spec": {"replicas": 2}})));
}

#[test]
fn the_same_value_is_shared_and_no_conflict() {
    let mut story = Story::of("v1", "ConfigMap");
    story.update("one", config_map(json!({"a": "1"})));
    story.apply("two", config_map(json!({"a": "1"})));
    expect![[r#"
        two Apply @-: .data.a
        one Update @1: .data .data.a"#]]
    .assert_eq(&story.owners());
}

#[test]
fn what_nobody_was_known_to_own_was_before_the_first_apply() {
    let mut story = Story::of("v1", "ConfigMap");
    story.update("one", config_map(json!({"a": "1"})));
    let cleared = json!({"metadata": {"managedFields": [{}]}, "data": {"a": "1"}});
    story.update("one", cleared);
    expect![""].assert_eq(&story.owners());
    // Nobody is tracked until somebody applies.
    story.update("one", config_map(json!({"a": "1", "b": "2"})));
    expect![""].assert_eq(&story.owners());
    story.apply("me", config_map(json!({"c": "3"})));
    expect![[r#"
        me Apply @4: .data.c
        before-first-apply Update @4: .data .data.a .data.b"#]]
    .assert_eq(&story.owners());
}

#[test]
fn clients_that_know_nothing_of_managed_fields_leave_them() {
    let mut story = Story::of("v1", "ConfigMap");
    story.update("one", config_map(json!({"a": "1"})));
    let unknowing = json!({"metadata": {"managedFields": []}, "data": {"a": "1", "b": "1"}});
    story.update("two", unknowing);
    let garbage = json!({"metadata": {"managedFields": [{"manager": "x", "operation": "Fly"}]}, "data": {"a": "1", "b": "1"}});
    story.update("two", garbage);
    expect![[r#"
        one Update @1: .data .data.a
        two Update @2: .data.b"#]]
    .assert_eq(&story.owners());
    // One that does know may give fields away.
    let given = json!({
        "metadata": {"managedFields": [{
            "manager": "three", "operation": "Apply", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}},
        }]},
        "data": {"a": "1", "b": "1"},
    });
    story.update("two", given);
    expect!["three Apply @-: .data.a"].assert_eq(&story.owners());
}

#[test]
fn keyed_lists_merge_by_key_and_keep_the_order_of_the_configuration() {
    let mut story = Story::of("v1", "Pod");
    let containers = |names: &[&str]| -> serde_json::Value {
        names.iter().map(|name| json!({"name": name, "image": "i"})).collect()
    };
    story.apply("me", json!({"spec": {"containers": containers(&["a", "b"])}}));
    story.update("injector", json!({"spec": {"containers": containers(&["a", "side", "b"])}}));
    story.apply("me", json!({"spec": {"containers": containers(&["b", "a"])}}));
    let names = |story: &Story| -> Vec<String> {
        let object = story.object();
        let list = object["spec"]["containers"].as_array().cloned().unwrap_or_default();
        list.iter().map(|c| c["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(&story), ["side", "b", "a"]);
    story.apply("me", json!({"spec": {"containers": containers(&["a"])}}));
    assert_eq!(names(&story), ["side", "a"]);
}

#[test]
fn ports_have_a_protocol_even_if_nobody_says_so() {
    let mut story = Story::of("v1", "Service");
    story.apply("me", json!({"spec": {"ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}]}}));
    expect![[r#"me Apply @1: .spec.ports[port=80,protocol="TCP"] .spec.ports[port=80,protocol="UDP"] .spec.ports[port=80,protocol="TCP"].port .spec.ports[port=80,protocol="UDP"].port .spec.ports[port=80,protocol="UDP"].protocol"#]]
        .assert_eq(&story.owners());
    expect![[r#"failed to create typed patch object (/a; v1, Kind=Service): .spec.ports: duplicate entries for key [port=80,protocol="TCP"]"#]]
        .assert_eq(&story.refusal("me", json!({"spec": {"ports": [{"port": 80}, {"port": 80, "protocol": "TCP"}]}})));
}

#[test]
fn atomic_values_are_one_field() {
    let mut story = Story::of("apps/v1", "Deployment");
    story.apply("me", json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}));
    expect!["me Apply @1: .spec.selector"].assert_eq(&story.owners());
    let mut story = Story::of("v1", "Pod");
    let with =
        |args: serde_json::Value| json!({"spec": {"containers": [{"name": "a", "args": args}]}});
    story.update("one", with(json!(["x", "y"])));
    expect![[r#"Apply failed with 1 conflict: conflict with "one" using v1: .spec.containers[name="a"].args"#]]
        .assert_eq(&story.refusal("me", with(json!(["x"]))));
    story.force("me", with(json!(["x"])));
    assert_eq!(story.object(), with(json!(["x"])));
}

#[test]
fn sets_are_united() {
    let mut story = Story::of("v1", "ConfigMap");
    let with = |finalizers: &[&str]| json!({"metadata": {"finalizers": finalizers}});
    story.apply("one", with(&["a/x"]));
    story.apply("two", with(&["a/y"]));
    assert_eq!(story.object(), with(&["a/x", "a/y"]));
    expect![[r#"
        one Apply @1: .metadata.finalizers[="a/x"]
        two Apply @2: .metadata.finalizers[="a/y"]"#]]
    .assert_eq(&story.owners());
    story.apply("one", json!({}));
    assert_eq!(story.object(), with(&["a/y"]));
}

#[test]
fn mistakes_are_told_by_path() {
    let mut story = Story::of("apps/v1", "Deployment");
    expect!["failed to create typed patch object (/a; apps/v1, Kind=Deployment): .spec.replica: field not declared in schema"]
        .assert_eq(&story.refusal("me", json!({"spec": {"replica": 1}})));
    expect![[r#"
        failed to create typed patch object (/a; apps/v1, Kind=Deployment): errors:
          .spec.replicas: expected numeric (int or float), got string
          .spec.template.spec.containers: element 0: associative list with keys has an element that omits all key fields ["name"] (and doesn't have default values for any key fields)"#]]
    .assert_eq(&story.refusal("me", json!({"spec": {"replicas": "x", "template": {"spec": {"containers": [{"image": "i"}]}}}})));
    expect!["metadata.managedFields must be nil"]
        .assert_eq(&story.refusal("me", json!({"metadata": {"managedFields": []}})));
}

#[test]
fn the_oldest_updaters_become_one() {
    let mut story = Story::of("v1", "ConfigMap");
    let mut data = serde_json::Map::new();
    for number in 0..13 {
        data.insert(format!("k{number:02}"), "v".into());
        story.update(&format!("m{number:02}"), config_map(data.clone()));
    }
    let owners = story.owners();
    assert_eq!(owners.lines().count(), 10);
    assert!(
        owners.starts_with(
            "ancient-changes Update @4: .data .data.k00 .data.k01 .data.k02 .data.k03\n"
        ),
        "{owners}"
    );
}

#[test]
fn kubectl_may_go_on_with_what_it_applied_from_the_client() {
    let mut story = Story::of("v1", "ConfigMap");
    let annotation = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"1","b":"1"}}"#;
    let with = |data: serde_json::Value| {
        json!({
            "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": annotation}},
            "data": data,
        })
    };
    story.update("kubectl-client-side-apply", with(json!({"a": "1", "b": "1"})));
    story.update("other", with(json!({"a": "1", "b": "2"})));
    // Somebody else changed b since; a is still as it was applied.
    expect![[r#"Apply failed with 1 conflict: conflict with "other" using v1: .data.b"#]]
        .assert_eq(&story.refusal("kubectl", config_map(json!({"a": "3", "b": "3"}))));
    expect![[r#"Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.a"#]]
        .assert_eq(&story.refusal("me", config_map(json!({"a": "3"}))));
    story.apply("kubectl", config_map(json!({"a": "3"})));
    let object = story.object();
    assert_eq!(object["data"], json!({"a": "3", "b": "2"}));
    assert_eq!(
        object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"],
        "{\"data\":{\"a\":\"3\"},\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}}\n"
    );
}

#[test]
fn managers_of_other_versions_keep_their_fields() {
    let mut story = Story::of("autoscaling/v2", "HorizontalPodAutoscaler");
    story.update("two", json!({"spec": {"minReplicas": 1, "maxReplicas": 3}}));
    story.api_version = "autoscaling/v1";
    story.update("one", json!({"spec": {"minReplicas": 1, "maxReplicas": 5}}));
    expect![[r#"
        two Update @1: .spec.minReplicas
        one Update @2: .spec.maxReplicas"#]]
    .assert_eq(&story.owners());
    expect![[r#"Apply failed with 1 conflict: conflict with "two" using autoscaling/v2: .spec.minReplicas"#]]
        .assert_eq(&story.refusal("me", json!({"spec": {"minReplicas": 2}})));
}
