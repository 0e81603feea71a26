//! What namespaces get, as text.

use expect_test::{Expect, expect};

use super::{plan_account, plan_root_ca};
use crate::{testing, world::Key};

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
    let mut fake = testing::Fake::new("namespace default");
    let namespace = Key::new("", "default");
    let account = plan_account(&fake.world, &namespace);
    fake.apply(account, |_| {});
    let root_ca = plan_root_ca("PEM", &fake.world, &namespace);
    fake.apply(root_ca, |_| {});
    assert!(plan_account(&fake.world, &namespace).is_idle());
    assert!(plan_root_ca("PEM", &fake.world, &namespace).is_idle());
}
