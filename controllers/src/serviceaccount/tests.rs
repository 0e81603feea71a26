//! What namespaces get, as text.

use expect_test::{Expect, expect};

use super::{TokensController, plan_account, plan_root_ca, tokens};
use crate::{
    controller::{Controller, Keys},
    options::Options,
    testing::{self, Fake, key},
    world::{Change, Delta, Key, Kind},
};

fn check(world: &str, expected: &Expect) {
    let world = testing::world(world);
    let namespace = Key::new("", "default");
    let account = testing::render(&plan_account(&world, &namespace));
    let root_ca = testing::render(&plan_root_ca("PEM", &world, &namespace));
    expected.assert_eq(&format!("{account}\n{root_ca}"));
}

#[test]
fn a_new_namespace_gets_its_account_and_certificates() {
    check(
        "namespace default",
        &expect![[r#"
        create ServiceAccount default
        create ConfigMap kube-root-ca.crt"#]],
    );
}

#[test]
fn old_certificates_are_replaced_and_equal_ones_left() {
    check(
        "
        namespace default
        serviceaccount default
        configmap kube-root-ca.crt data=ca.crt:OLD
        ",
        &expect![[r#"
            because it is there
            patch ConfigMap kube-root-ca.crt {data:{ca.crt:PEM}}"#]],
    );
    check(
        "
        namespace default
        serviceaccount default
        configmap kube-root-ca.crt data=ca.crt:PEM
        ",
        &expect![[r#"
            because it is there
        "#]],
    );
}

#[test]
fn nothing_is_put_into_a_namespace_that_goes() {
    check(
        "namespace default deleting",
        &expect![[r#"
        because the namespace is going or gone
        because the namespace is going or gone"#]],
    );
}

#[test]
fn one_plan_each_is_enough() {
    let mut fake = Fake::new("namespace default");
    let namespace = Key::new("", "default");
    let account = plan_account(&fake.world, &namespace);
    fake.apply(account, |_| {});
    let root_ca = plan_root_ca("PEM", &fake.world, &namespace);
    fake.apply(root_ca, |_| {});
    assert!(plan_account(&fake.world, &namespace).is_idle());
    assert!(plan_root_ca("PEM", &fake.world, &namespace).is_idle());
}

const TOKEN: &str = r#"Secret t {"type": "kubernetes.io/service-account-token", "metadata": {"annotations": {"kubernetes.io/service-account.name": "robot"}}}"#;

fn token(world: &str) -> crate::action::Plan {
    tokens::plan(&testing::world(world), &key("t"), "PEM", &|claims| Some(claims.sub.clone()))
}

#[test]
fn a_secret_that_names_an_account_gets_its_token() {
    let mut fake = Fake::new(&format!("serviceaccount robot\n{TOKEN}"));
    let sign = |claims: &kontiki_api::account_token::Claims| {
        assert_eq!((claims.secret.as_str(), claims.account.as_str()), ("t", "robot"));
        Some(claims.sub.clone())
    };
    let first = tokens::plan(&fake.world, &key("t"), "PEM", &sign);
    testing::check(
        &first,
        &expect![
            "patch Secret t {data:{ca.crt:UEVN namespace:ZGVmYXVsdA== token:c3lzdGVtOnNlcnZpY2VhY2NvdW50OmRlZmF1bHQ6cm9ib3Q=} metadata:{annotations:{kubernetes.io/service-account.uid:ServiceAccount/robot}}}"
        ],
    );
    fake.apply(first, |_| {});
    let again = tokens::plan(&fake.world, &key("t"), "PEM", &sign);
    testing::check(&again, &expect!["because it has all that it needs"]);
    let renewed = tokens::plan(&fake.world, &key("t"), "NEW", &sign);
    testing::check(&renewed, &expect!["patch Secret t {data:{ca.crt:TkVX}}"]);
}

#[test]
fn a_token_goes_with_its_account() {
    let gone = expect![[r#"
        delete Secret t
        because its account is gone"#]];
    testing::check(&token(TOKEN), &gone);
    let other = TOKEN.replace(
        r#""kubernetes.io/service-account.name": "robot""#,
        r#""kubernetes.io/service-account.name": "robot", "kubernetes.io/service-account.uid": "another""#,
    );
    testing::check(&token(&format!("serviceaccount robot\n{other}")), &gone);
    let mut world = testing::world(TOKEN);
    world.set_passed(Kind::ServiceAccount, Box::new(|| 7));
    testing::check(
        &tokens::plan(&world, &key("t"), "PEM", &|_| None),
        &expect![[r#"
            because its account may not have been seen yet
            awaits ServiceAccount at 101"#]],
    );
    let opaque = TOKEN.replace("kubernetes.io/service-account-token", "Opaque");
    testing::check(&token(&opaque), &expect!["because it is gone, or going"]);
}

#[test]
fn an_account_wakes_its_tokens() {
    let fake = Fake::new(&format!("serviceaccount robot\n{TOKEN}"));
    let woken = |name: &str| {
        let metadata = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("default".to_owned()),
            ..Default::default()
        };
        let delta = Delta { old: Some(&metadata), new: None };
        let mut keys = Keys::new();
        let controller = TokensController::new(&Options::default());
        controller.wake(&fake.world, &Change::Other(Kind::ServiceAccount, delta), &mut keys);
        keys.len()
    };
    assert_eq!((woken("robot"), woken("other")), (1, 0));
}
