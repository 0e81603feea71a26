//! What becomes of requests, as text.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use expect_test::{Expect, expect};
use kontiki_base::pki::{Authority, requested};
use serde_json::{Value, json};

use super::{approver, cleaner, signer};
use crate::{
    action::Context,
    controller::{Controller, Question},
    testing::{self, Fake, context, now},
    world::{Key, Kind},
};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A node's request, made once and for all: `O=system:nodes, CN=system:node:w1`.
const NODE: &str = include_str!("testdata/node.csr");
/// Of somebody in two groups, `O=dev, O=qa, CN=jane`, with an RSA key.
const PERSON: &str = include_str!("testdata/person.csr");

fn key() -> Key {
    Key::new("", "r")
}

fn fake(request: &str, signer: &str, user: &str, usages: &[&str], status: &Value) -> Fake {
    let object = json!({
        "spec": {
            "request": STANDARD.encode(request), "signerName": signer, "usages": usages,
            "username": user, "groups": ["g"], "expirationSeconds": 3600,
        },
        "status": status,
    });
    Fake::new(&format!("CertificateSigningRequest r {object}"))
}

const CLIENT_USAGES: [&str; 2] = ["client auth", "digital signature"];

#[test]
fn kubelets_are_approved_if_they_may_ask() {
    let check = |user: &str, usages: &[&str], allowed: &[bool], expected: &Expect| {
        let fake = fake(NODE, super::KUBELET_CLIENT, user, usages, &Value::Null);
        let asked = approver::Approver.asks(&fake.world, &key());
        let asked = match asked {
            Some(Question::Access(reviews)) => reviews
                .iter()
                .map(|review| review["resourceAttributes"]["subresource"].to_string())
                .collect::<Vec<_>>()
                .join(","),
            _ => "nothing".to_owned(),
        };
        let context = Context { allowed, ..context() };
        let plan = approver::plan(&fake.world, &key(), context);
        expected.assert_eq(&format!("asks {asked}\n{}", testing::render(&plan)));
    };
    check(
        "system:node:w1",
        &CLIENT_USAGES,
        &[true, false],
        &expect![[r#"
            asks "selfnodeclient","nodeclient"
            approval CertificateSigningRequest r {status:{conditions:[{message:Auto approving self kubelet client certificate after SubjectAccessReview. reason:AutoApproved status:True type:Approved}]}}"#]],
    );
    check(
        "system:bootstrap:abc",
        &CLIENT_USAGES,
        &[false],
        &expect![[r#"
            asks "nodeclient"
            because recognized csr "r" as [nodeclient] but subject access review was not approved
            recheck after 1000 s"#]],
    );
    check(
        "system:node:w1",
        &["server auth"],
        &[],
        &expect![[r#"
            asks nothing
            because others have to decide"#]],
    );
}

fn approved() -> Value {
    json!({"conditions": [{"type": "Approved", "status": "True", "lastUpdateTime": testing::age(60)}]})
}

fn sign(fake: &mut Fake) -> Value {
    let root = Authority::generate("root").unwrap();
    let plan = signer::plan(&root, YEAR, &fake.world, &key(), now());
    fake.apply(plan, |_| {});
    fake.get(Kind::CertificateSigningRequest, &key()).unwrap()["status"].clone()
}

#[test]
fn approved_requests_are_signed_once() {
    let mut fake = fake(PERSON, super::CLIENT, "admin", &CLIENT_USAGES, &approved());
    let status = sign(&mut fake);
    let pem = STANDARD.decode(status["certificate"].as_str().unwrap()).unwrap();
    let end = requested::end_of(&String::from_utf8(pem).unwrap()).unwrap();
    assert_eq!(end, now().as_second() + 3600);
    assert_eq!(status["conditions"].as_array().unwrap().len(), 1);
    let root = Authority::generate("root").unwrap();
    let again = signer::plan(&root, YEAR, &fake.world, &key(), now());
    testing::check(&again, &expect!["because it is not to be signed"]);
}

#[test]
fn what_a_signer_does_not_sign_fails_with_its_reason() {
    let why = |request: &str, signer: &str, usages: &[&str]| {
        let mut fake = fake(request, signer, "admin", usages, &approved());
        let status = sign(&mut fake);
        let failed = &status["conditions"][1];
        format!("{} {}", failed["reason"].as_str().unwrap(), failed["message"].as_str().unwrap())
    };
    assert_eq!(
        why(PERSON, super::CLIENT, &["server auth"]),
        "SignerValidationFailure invalid usage for client certificate: server auth"
    );
    assert_eq!(
        why(PERSON, super::CLIENT, &["digital signature"]),
        "SignerValidationFailure missing required usage for client certificate: client auth"
    );
    assert_eq!(
        why(PERSON, super::KUBELET_CLIENT, &CLIENT_USAGES),
        "SignerValidationFailure subject organization is not system:nodes"
    );
    assert_eq!(
        why(NODE, super::KUBELET_SERVING, &["server auth"]),
        "SignerValidationFailure DNS or IP subjectAltName is required"
    );
    assert_eq!(
        why(NODE, super::KUBELET_CLIENT, &["client auth"]),
        "SignerValidationFailure usages did not match [client auth digital signature key encipherment]"
    );
}

#[test]
fn others_signers_are_theirs() {
    let fake = fake(NODE, "example.com/x", "admin", &CLIENT_USAGES, &approved());
    let root = Authority::generate("root").unwrap();
    testing::check(
        &signer::plan(&root, YEAR, &fake.world, &key(), now()),
        &expect!["because somebody else's signer"],
    );
}

#[test]
fn certificates_are_valid_as_long_as_asked_within_bounds() {
    let check = |seconds: Option<i64>| {
        let validity = signer::validity(seconds, YEAR, now());
        (validity.not_before - now().as_second(), validity.not_after - now().as_second())
    };
    let year = 365 * 24 * 3600;
    assert_eq!(check(None), (-300, year - 300));
    assert_eq!(check(Some(600)), (-300, 600));
    assert_eq!(check(Some(8 * 3600)), (-300, 8 * 3600 - 300));
    assert_eq!(check(Some(10 * year)), (-300, year - 300));
}

#[test]
fn requests_go_when_they_are_of_no_use_any_more() {
    let check = |status: &Value, expected: &Expect| {
        let mut fake = fake(NODE, super::KUBELET_CLIENT, "u", &CLIENT_USAGES, status);
        let mut object = fake.get(Kind::CertificateSigningRequest, &key()).unwrap().clone();
        object["metadata"]["creationTimestamp"] = testing::age(7200);
        fake.put(Kind::CertificateSigningRequest, object);
        testing::check(&cleaner::plan(&fake.world, &key(), now()), expected);
    };
    let decided = |how: &str, seconds: i64| json!({"conditions": [{"type": how, "status": "True", "lastUpdateTime": testing::age(seconds)}]});
    check(
        &Value::Null,
        &expect![[r#"
            because it may still be looked at
            recheck after 79200 s"#]],
    );
    check(&decided("Approved", 7200), &expect!["because it waits for its certificate"]);
    check(&decided("Denied", 3601), &expect!["delete CertificateSigningRequest r"]);
    check(
        &decided("Failed", 3000),
        &expect![[r#"
            because it may still be looked at
            recheck after 600 s"#]],
    );
}
