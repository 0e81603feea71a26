use serde_json::Value;

use super::*;
use crate::schema::Schema;

/// Text in, text out: YAML would read better, but JSON needs no parser here.
fn check(kind: &str, document: &str, patch: &str, expected: &str) {
    let (schema, mut document) = (Schema::builtin(), parse(document));
    apply(schema, kind, &mut document, patch).expect("the patch applies");
    assert_eq!(document, parse(expected), "\n got {document}\nwant {expected}");
}

fn check_fails(kind: &str, document: &str, patch: &str, expected: &str) {
    let (schema, mut document) = (Schema::builtin(), parse(document));
    let error = apply(schema, kind, &mut document, patch).expect_err("the patch is refused");
    assert_eq!(error.to_string(), expected);
}

fn apply(schema: &Schema, kind: &str, document: &mut Value, patch: &str) -> Result<(), Error> {
    let type_id = schema
        .kinds()
        .find(|(_, _, known, _)| *known == kind)
        .map(|(_, _, _, id)| id)
        .expect("a known kind");
    strategic_merge(schema, type_id, document, parse(patch))
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("valid JSON")
}

#[test]
fn plain_fields_are_set_and_removed() {
    check(
        "Deployment",
        r#"{"spec":{"replicas":1,"paused":true,"selector":{"matchLabels":{"a":"1"}}}}"#,
        r#"{"spec":{"replicas":3,"paused":null,"selector":{"matchLabels":{"b":"2"}}}}"#,
        r#"{"spec":{"replicas":3,"selector":{"matchLabels":{"a":"1","b":"2"}}}}"#,
    );
}

#[test]
fn containers_merge_by_name() {
    check(
        "Pod",
        r#"{"spec":{"containers":[{"name":"a","image":"a:1"},{"name":"b","image":"b:1"}]}}"#,
        r#"{"spec":{"containers":[{"name":"b","image":"b:2"},{"name":"c","image":"c:1"}]}}"#,
        r#"{"spec":{"containers":[{"name":"a","image":"a:1"},{"name":"b","image":"b:2"},{"name":"c","image":"c:1"}]}}"#,
    );
}

#[test]
fn list_items_are_deleted_by_directive() {
    check(
        "Pod",
        r#"{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}"#,
        r#"{"spec":{"containers":[{"name":"a","$patch":"delete"}]}}"#,
        r#"{"spec":{"containers":[{"name":"b"}]}}"#,
    );
    check_fails(
        "Pod",
        r#"{"spec":{"containers":[{"name":"a"}]}}"#,
        r#"{"spec":{"containers":[{"image":"x","$patch":"delete"}]}}"#,
        "delete patch type with no merge key defined",
    );
}

#[test]
fn maps_and_lists_are_replaced_by_directive() {
    check(
        "Deployment",
        r#"{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}}"#,
        r#"{"spec":{"strategy":{"$patch":"replace","type":"Recreate"}}}"#,
        r#"{"spec":{"strategy":{"type":"Recreate"}}}"#,
    );
    check(
        "Pod",
        r#"{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}"#,
        r#"{"spec":{"containers":[{"name":"c"},{"$patch":"replace"}]}}"#,
        r#"{"spec":{"containers":[{"name":"c"}]}}"#,
    );
    check(
        "Pod",
        r#"{"spec":{"securityContext":{"runAsUser":1},"nodeName":"n"}}"#,
        r#"{"spec":{"securityContext":{"$patch":"delete"}}}"#,
        r#"{"spec":{"nodeName":"n"}}"#,
    );
}

#[test]
fn retained_keys_clear_the_others() {
    check(
        "Deployment",
        r#"{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}}"#,
        r#"{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}"#,
        r#"{"spec":{"strategy":{"type":"Recreate"}}}"#,
    );
    check(
        "Pod",
        r#"{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}}"#,
        r#"{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/x"},"$retainKeys":["name","hostPath"]}]}}"#,
        r#"{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/x"}}]}}"#,
    );
    check_fails(
        "Deployment",
        r#"{"spec":{}}"#,
        r#"{"spec":{"strategy":{"$retainKeys":["type"],"rollingUpdate":{}}}}"#,
        "invalid patch format of $retainKeys, expected a list of the patch's keys",
    );
}

#[test]
fn primitive_lists_merge_and_lose_items() {
    check(
        "Pod",
        r#"{"metadata":{"finalizers":["a","b"]}}"#,
        r#"{"metadata":{"finalizers":["c"],"$deleteFromPrimitiveList/finalizers":["a"]}}"#,
        r#"{"metadata":{"finalizers":["c","b"]}}"#,
    );
    check(
        "Pod",
        r#"{"spec":{"containers":[{"name":"a","command":["x","y"]}]}}"#,
        r#"{"spec":{"containers":[{"name":"a","command":["z"]}]}}"#,
        r#"{"spec":{"containers":[{"name":"a","command":["z"]}]}}"#,
    );
}

#[test]
fn element_order_is_the_patchs_and_server_items_keep_their_place() {
    check(
        "Pod",
        r#"{"spec":{"containers":[{"name":"server"},{"name":"a"},{"name":"b"}]}}"#,
        r#"{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"new"},{"name":"a"}],"containers":[{"name":"new"}]}}"#,
        r#"{"spec":{"containers":[{"name":"server"},{"name":"b"},{"name":"new"},{"name":"a"}]}}"#,
    );
    check(
        "Pod",
        r#"{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}"#,
        r#"{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]}}"#,
        r#"{"spec":{"containers":[{"name":"b"},{"name":"a"}]}}"#,
    );
}

#[test]
fn an_order_of_what_does_not_merge_changes_nothing() {
    check(
        "Pod",
        r#"{"spec":{"containers":[{"name":"a","command":["x","y"]}]}}"#,
        r#"{"spec":{"containers":[{"name":"a","$setElementOrder/command":["y","x"]}]}}"#,
        r#"{"spec":{"containers":[{"name":"a","command":["x","y"]}]}}"#,
    );
}

#[test]
fn ports_merge_by_number_and_env_by_name() {
    check(
        "Service",
        r#"{"spec":{"ports":[{"port":80,"protocol":"TCP","nodePort":30080}]}}"#,
        r#"{"spec":{"ports":[{"port":80,"targetPort":"web"},{"port":81}]}}"#,
        r#"{"spec":{"ports":[{"port":80,"protocol":"TCP","nodePort":30080,"targetPort":"web"},{"port":81}]}}"#,
    );
    check(
        "Deployment",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"a","env":[{"name":"X","value":"1"}]}]}}}}"#,
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"a","env":[{"name":"Y","value":"2"}]}]}}}}"#,
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"a","env":[{"name":"Y","value":"2"},{"name":"X","value":"1"}]}]}}}}"#,
    );
    check_fails(
        "Pod",
        r#"{"spec":{"containers":[{"name":"a"}]}}"#,
        r#"{"spec":{"containers":[{"image":"x"}]}}"#,
        r#"map: {"image":"x"} does not contain declared merge key: name"#,
    );
}

#[test]
fn nulls_and_directives_do_not_survive_into_new_objects() {
    check(
        "Pod",
        r#"{"metadata":{"name":"a"}}"#,
        r#"{"metadata":{"annotations":{"x":null,"y":"1"}},"spec":{"containers":[{"name":"a","image":null}]}}"#,
        r#"{"metadata":{"name":"a","annotations":{"y":"1"}},"spec":{"containers":[{"name":"a"}]}}"#,
    );
}

#[test]
fn status_conditions_merge_by_type() {
    check(
        "Node",
        r#"{"status":{"conditions":[{"type":"Ready","status":"True"},{"type":"DiskPressure","status":"False"}]}}"#,
        r#"{"status":{"conditions":[{"type":"Ready","status":"Unknown"}]}}"#,
        r#"{"status":{"conditions":[{"type":"Ready","status":"Unknown"},{"type":"DiskPressure","status":"False"}]}}"#,
    );
    check_fails(
        "Pod",
        r#"{"spec":{}}"#,
        r#"{"spec":{"$patch":"fly"}}"#,
        "unknown patch type found: fly",
    );
}
