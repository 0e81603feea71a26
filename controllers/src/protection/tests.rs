//! What stays and what goes, as text.

use expect_test::{Expect, expect};

use super::{AttributesClassProtection, ClaimProtection, VolumeProtection};
use crate::{
    controller::{Controller, Keys},
    testing::{self, Fake, context, key},
    world::{Change, Delta, Key, Kind},
};

const USER: &str = r#"pod p node=n1 {"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}}"#;
const LEAVING: &str =
    "PersistentVolumeClaim c deleting finalizers=kubernetes.io/pvc-protection,other";

fn check(world: &str, expected: &Expect) {
    let world = testing::world(world);
    testing::check(&ClaimProtection.plan(&world, &key("c"), context()), expected);
}

#[test]
fn claims_stay_as_long_as_a_pod_on_a_node_uses_them() {
    check(&format!("{LEAVING}\n{USER}"), &expect!["because the pod p uses it"]);
    let elsewhere = USER.replace("node=n1", "");
    let freed = expect!["patch PersistentVolumeClaim c {metadata:{finalizers:[other]}}"];
    check(&format!("{LEAVING}\n{elsewhere}"), &freed);
    check(LEAVING, &freed);
}

#[test]
fn claims_of_a_pods_own_count_only_if_they_are_its_own() {
    let pod = r#"pod p node=n1 {"spec": {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}}"#;
    let claim = "PersistentVolumeClaim p-v deleting finalizers=kubernetes.io/pvc-protection";
    let plan = |owner: &str| {
        let world = testing::world(&format!("{pod}\n{claim} {owner}"));
        ClaimProtection.plan(&world, &key("p-v"), context())
    };
    testing::check(&plan("owner=Pod/p"), &expect!["because the pod p uses it"]);
    testing::check(
        &plan(""),
        &expect!["patch PersistentVolumeClaim p-v {metadata:{finalizers:[]}}"],
    );
}

#[test]
fn a_claim_without_protection_gets_it() {
    check(
        "PersistentVolumeClaim c",
        &expect![
            "patch PersistentVolumeClaim c {metadata:{finalizers:[kubernetes.io/pvc-protection]}}"
        ],
    );
    check(
        "PersistentVolumeClaim c finalizers=kubernetes.io/pvc-protection",
        &expect!["because it is protected, or let go"],
    );
}

#[test]
fn pods_that_may_not_have_been_seen_are_waited_for() {
    let mut world = testing::world(LEAVING);
    world.set_passed(Kind::Pod, Box::new(|| 7));
    testing::check(
        &ClaimProtection.plan(&world, &key("c"), context()),
        &expect![[r#"
            because its users may not have been seen yet
            awaits Pod at 101"#]],
    );
}

#[test]
fn the_last_pod_that_goes_wakes_its_claims() {
    let fake = Fake::new(&format!("{LEAVING}\n{USER}"));
    let pod = fake.world.pods.get(&key("p")).unwrap().clone();
    let mut keys = Keys::new();
    let change = Change::Pod(Delta { old: Some(&*pod), new: None });
    ClaimProtection.wake(&fake.world, &change, &mut keys);
    assert_eq!(keys, Keys::from([key("c")]));
}

#[test]
fn volumes_stay_while_they_are_bound() {
    let plan = |phase: &str| {
        let world = testing::world(&format!(
            r#"PersistentVolume v deleting finalizers=kubernetes.io/pv-protection {{"status": {{"phase": "{phase}"}}}}"#
        ));
        VolumeProtection.plan(&world, &Key::new("", "v"), context())
    };
    testing::check(&plan("Bound"), &expect!["because its claim uses it"]);
    testing::check(
        &plan("Released"),
        &expect!["patch PersistentVolume v {metadata:{finalizers:[]}}"],
    );
}

#[test]
fn attributes_stay_while_a_claim_or_volume_has_them() {
    let plan = |user: &str| {
        let world = testing::world(&format!(
            "VolumeAttributesClass a deleting finalizers=kubernetes.io/vac-protection\n{user}"
        ));
        AttributesClassProtection.plan(&world, &Key::new("", "a"), context())
    };
    testing::check(
        &plan(r#"PersistentVolumeClaim c {"status": {"currentVolumeAttributesClassName": "a"}}"#),
        &expect!["because the claim default/c uses it"],
    );
    testing::check(
        &plan(r#"PersistentVolume v {"spec": {"volumeAttributesClassName": "a"}}"#),
        &expect!["because the volume v uses it"],
    );
    testing::check(
        &plan(r#"PersistentVolume v {"spec": {"volumeAttributesClassName": "b"}}"#),
        &expect!["patch VolumeAttributesClass a {metadata:{finalizers:[]}}"],
    );
}
