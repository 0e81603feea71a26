//! What goes with what, as text.

use expect_test::{Expect, expect};
use rand::{SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::plan;
use crate::{
    testing::{self, Fake, key},
    world::Kind,
};

fn check(world: &str, uid: &str, expected: &Expect) {
    testing::check(&plan(&testing::world(world), uid), expected);
}

#[test]
fn an_object_whose_owner_is_gone_goes() {
    check("pod p owner=web-a", "Pod/p", &expect!["delete Pod p Background"]);
    check(
        "
        replicaset web-a
        pod p owner=web-a
        ",
        "Pod/p",
        &expect!["because an owner is there"],
    );
}

#[test]
fn one_owner_that_is_left_is_enough() {
    check(
        "
        secret one
        pod p owner=Secret/one,Secret/two
        ",
        "Pod/p",
        &expect![
            "patch Pod p {metadata:{ownerReferences:[{apiVersion:v1 blockOwnerDeletion:false controller:true kind:Secret name:one uid:Secret/one}]}}"
        ],
    );
}

#[test]
fn an_owner_that_may_not_have_been_seen_is_waited_for() {
    let mut world = testing::world("pod p owner=web-a");
    world.set_passed(Kind::ReplicaSet, Box::new(|| 50));
    testing::check(
        &plan(&world, "Pod/p"),
        &expect![[r#"
        because its owner may not have been seen yet
        awaits ReplicaSet at 101"#]],
    );
}

#[test]
fn owners_of_unknown_kinds_and_other_namespaces() {
    check("pod p owner=Widget/w", "Pod/p", &expect!["because an owner is there"]);
    check(
        "
        secret s namespace=other
        pod p owner=Secret/s
        ",
        "Pod/p",
        &expect![[r#"
            delete Pod p Background
            OwnerRefInvalidNamespace: ownerRef [v1/Secret, namespace: default, name: s, uid: Secret/s] does not exist in namespace "default""#]],
    );
    check(
        "
        secret s
        node n owner=Secret/s
        ",
        "Node/n",
        &expect![[r#"
            OwnerRefInvalidNamespace: ownerRef [v1/Secret, namespace: , name: s, uid: Secret/s] does not exist in namespace ""
            because it is of the whole cluster and cannot be owned by what is in a namespace"#]],
    );
}

#[test]
fn owners_of_all_built_in_kinds_take_what_is_theirs_along() {
    check("pod p owner=Job/j", "Pod/p", &expect!["delete Pod p Background"]);
    check("Job j\npod p owner=Job/j", "Pod/p", &expect!["because an owner is there"]);
    check("pod p owner=DaemonSet/d", "Pod/p", &expect!["delete Pod p Background"]);
}

#[test]
fn what_waits_for_its_dependents_waits_until_all_can_have_been_seen() {
    let mut world = testing::world("replicaset web-a deleting finalizers=orphan");
    world.set_passed(Kind::Pod, Box::new(|| 50));
    testing::check(
        &plan(&world, "ReplicaSet/web-a"),
        &expect![[r#"
            because dependents may not have been seen yet
            awaits Pod at 101"#]],
    );
}

#[test]
fn foreground_deletion_waits_for_blocking_dependents() {
    check(
        "
        replicaset web-a deleting finalizers=foregroundDeletion
        pod p owner=web-a!
        ",
        "ReplicaSet/web-a",
        &expect!["because 1 dependents block its deletion"],
    );
    check(
        "
        replicaset web-a deleting finalizers=foregroundDeletion
        pod p owner=web-a!
        ",
        "Pod/p",
        &expect!["delete Pod p Background"],
    );
    check(
        "
        replicaset web-a deleting finalizers=foregroundDeletion
        pod p owner=web-a
        ",
        "ReplicaSet/web-a",
        &expect!["patch ReplicaSet web-a {metadata:{finalizers:null}}"],
    );
}

#[test]
fn foreground_deletion_descends() {
    check(
        "
        deployment web deleting finalizers=foregroundDeletion
        replicaset web-a owner=web!
        pod p owner=web-a!
        ",
        "ReplicaSet/web-a",
        &expect!["delete ReplicaSet web-a Foreground"],
    );
}

#[test]
fn orphans_forget_their_owner() {
    check(
        "
        replicaset web-a deleting finalizers=orphan
        pod p owner=web-a
        pod q owner=web-a
        ",
        "ReplicaSet/web-a",
        &expect![[r#"
            patch Pod p {metadata:{ownerReferences:null}}
            patch Pod q {metadata:{ownerReferences:null}}
            patch ReplicaSet web-a {metadata:{finalizers:null}}"#]],
    );
}

/// Whatever the order, a deleted tree goes, in the foreground from its leaves up, and nothing
/// else does.
#[test]
fn a_deleted_tree_goes_and_its_neighbour_stays() {
    for (seed, finalizers) in (0..20).flat_map(|seed| {
        ["", "finalizers=foregroundDeletion", "finalizers=orphan"].map(move |text| (seed, text))
    }) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut fake = Fake::new(&format!(
            "
            deployment web deleting {finalizers}
            replicaset web-a owner=web!
            replicaset web-b owner=web!
            pod a1 owner=web-a!
            pod a2 owner=web-a!
            pod b1 owner=web-b!
            replicaset other-a
            pod o1 owner=other-a!
            "
        ));
        if finalizers.is_empty() {
            fake.remove(Kind::Deployment, &key("web"));
        }
        for _ in 0..200 {
            let uids: Vec<String> =
                fake.world.graph.iter().map(|entry| entry.uid.clone()).collect();
            let plan = plan(&fake.world, uids.choose(&mut random).expect("the neighbour"));
            fake.apply(plan, |fake| {
                let has = |kind, name: &str| fake.get(kind, &key(name)).is_some();
                assert!(has(Kind::Pod, "o1") && has(Kind::ReplicaSet, "other-a"));
                if finalizers.contains("foreground") && has(Kind::Pod, "a1") {
                    assert!(has(Kind::ReplicaSet, "web-a"), "leaves go first");
                }
            });
        }
        let left = fake.list(Kind::Pod).len() + fake.list(Kind::ReplicaSet).len();
        let expected = if finalizers.contains("orphan") { 7 } else { 2 };
        assert_eq!(left, expected, "seed {seed} {finalizers}");
        assert!(fake.list(Kind::Deployment).is_empty());
    }
}
