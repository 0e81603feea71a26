use super::*;

const POD: Expected<'static> = Expected { group: "", version: "v1", kind: "Pod" };
const DEPLOYMENT: Expected<'static> = Expected { group: "apps", version: "v1", kind: "Deployment" };

fn check(expected: Expected<'_>, body: &str, object: &str, warnings: &[&str]) {
    let decoded = decode(expected, body.as_bytes(), FieldValidation::Warn).expect("it conforms");
    assert_eq!(decoded.object.to_string(), object);
    assert_eq!(decoded.warnings, warnings);
}

fn check_refused(expected: Expected<'_>, body: &str, message: &str) {
    let status = decode(expected, body.as_bytes(), FieldValidation::Strict).expect_err(body);
    assert_eq!((status.code, status.message.as_str()), (400, message));
}

#[test]
fn fields_come_out_in_order_and_canonical() {
    check(
        POD,
        r#"{"spec":{"containers":[{"resources":{"limits":{"memory":"1024Ki","cpu":1.5}},"name":"a"}],"nodeName":""},"metadata":{"name":"x","labels":{"b":"2","a":"1"},"annotations":{},"creationTimestamp":null}}"#,
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{"labels":{"a":"1","b":"2"},"name":"x"},"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"1500m","memory":"1Mi"}}}]}}"#,
        &[],
    );
}

#[test]
fn unknown_and_repeated_fields_are_reported_by_path() {
    let body = r#"{"metadata":{"name":"x"},"spec":{"replicas":1,"replicas":2,"foo":1,"template":{"spec":{"containers":[{"name":"a","bar":{}}]}}}}"#;
    check(
        DEPLOYMENT,
        body,
        r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"x"},"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"a"}]}}}}"#,
        &[
            r#"duplicate field "spec.replicas""#,
            r#"unknown field "spec.foo""#,
            r#"unknown field "spec.template.spec.containers[0].bar""#,
        ],
    );
    check(
        DEPLOYMENT,
        r#"{"bad":{"a":1,"a":2},"spec":{"no":1,"no":2,"paused":true,"paused":false}}"#,
        r#"{"kind":"Deployment","apiVersion":"apps/v1","spec":{"paused":false}}"#,
        &[
            r#"unknown field "bad""#,
            r#"unknown field "spec.no""#,
            r#"duplicate field "spec.paused""#,
        ],
    );
    check_refused(
        DEPLOYMENT,
        r#"{"spec":{"foo":1}}"#,
        r#"Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.foo""#,
    );
}

#[test]
fn wrong_types_read_as_upstream() {
    let cases = [
        (
            r#"{"spec":{"replicas":"3"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{"ports":[{"containerPort":"80"}]}]}}}}"#,
            "json: cannot unmarshal string into Go struct field ContainerPort.spec.template.spec.containers.ports.containerPort of type int32",
        ),
        (
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            r#"{"spec":{"replicas":99999999999}}"#,
            "json: cannot unmarshal number 99999999999 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"lots"}}}]}}}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ];
    for (body, what) in cases {
        let message =
            format!("Deployment in version \"v1\" cannot be handled as a Deployment: {what}");
        check_refused(DEPLOYMENT, body, &message);
    }
}

#[test]
fn other_kinds_and_versions_are_refused() {
    check_refused(
        POD,
        r#"{"apiVersion":"v1","kind":"Service"}"#,
        r#"Service in version "v1" cannot be handled as a Pod: converting (v1.Service) to (v1.Pod): unknown conversion"#,
    );
    check_refused(
        POD,
        r#"{"apiVersion":"v2","kind":"Pod"}"#,
        "the API version in the data (v2) does not match the expected API version (v1)",
    );
    let status = decode(POD, b"{", FieldValidation::Warn).expect_err("broken");
    assert!(
        status.message.starts_with("the object provided is unrecognized (must be of type Pod)")
    );
}

#[test]
fn what_is_no_object_is_shown_as_upstream_shows_it() {
    let unrecognised = "the object provided is unrecognized (must be of type Pod): couldn't get \
                        version/kind; json parse error: ";
    let cases = [
        ("", "unexpected end of JSON input (<empty>)"),
        ("{\"kind\":", "unexpected end of JSON input ({\"kind\":)"),
        (
            "[1]",
            "json: cannot unmarshal array into Go value of type struct { APIVersion string \
             \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } \
             (5b315d)",
        ),
        (
            "{\"a\":\"0123456789012345678901234567890123456789\"",
            "unexpected end of JSON input ({\"a\":\"012345678901234567890123 ...)",
        ),
    ];
    for (body, what) in cases {
        check_refused(POD, body, &format!("{unrecognised}{what}"));
    }
}

#[test]
fn int_or_string_bytes_and_times() {
    let service = Expected { group: "", version: "v1", kind: "Service" };
    check(
        service,
        r#"{"spec":{"ports":[{"port":80,"targetPort":"web"},{"port":81,"targetPort":81}]}}"#,
        r#"{"kind":"Service","apiVersion":"v1","spec":{"ports":[{"port":80,"targetPort":"web"},{"port":81,"targetPort":81}]}}"#,
        &[],
    );
    let secret = Expected { group: "", version: "v1", kind: "Secret" };
    check_refused(
        secret,
        r#"{"data":{"a":"!!"}}"#,
        r#"Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 0"#,
    );
    let lease = Expected { group: "coordination.k8s.io", version: "v1", kind: "Lease" };
    check(
        lease,
        r#"{"spec":{"renewTime":"2026-01-02T03:04:05Z"}}"#,
        r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","spec":{"renewTime":"2026-01-02T03:04:05.000000Z"}}"#,
        &[],
    );
}

#[test]
fn patched_values_are_checked_too() {
    let patch = serde_json::json!({"spec": {"foo": 1}});
    let strict = conform_patched(POD, patch.clone(), &patch, &[], FieldValidation::Strict);
    let message = strict.expect_err("unknown field").message;
    assert_eq!(message, r#"strict decoding error: unknown field "spec.foo""#);
    let patch = serde_json::json!({"spec": {"nodeName": 1}});
    let wrong = conform_patched(POD, patch.clone(), &patch, &[], FieldValidation::Warn);
    assert_eq!(wrong.expect_err("wrong type").code, 422);
}

#[test]
fn what_conforms_is_left_alone() {
    let body = r#"{"metadata":{"name":"x","finalizers":[]},"spec":{"hostNetwork":false,"nodeSelector":{},"containers":[{"name":"a","args":[""],"env":[{"name":"E","value":""}],"resources":{"limits":{"cpu":"0.10"}}}],"activeDeadlineSeconds":0}}"#;
    let once = decode(POD, body.as_bytes(), FieldValidation::Strict).expect("it conforms").object;
    let twice = conform_stored(POD, once.clone()).expect("it still conforms");
    assert_eq!(once.to_string(), twice.to_string());
}
