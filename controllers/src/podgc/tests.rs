//! Which pods are abandoned, as text.

use expect_test::{Expect, expect};

use super::{plan, trim_ended};
use crate::{
    Options,
    action::Context,
    testing::{self, Fake, context, key},
    world::{Key, Kind},
};

fn check(world: &str, expected: &Expect) {
    let plan = plan(&Options::default(), &testing::world(world), &key("web"), context());
    testing::check(&plan, expected);
}

#[test]
fn pods_outlive_their_node_for_a_while() {
    let mut fake = Fake::new(
        "
        node n1 ready
        pod web node=n1 ready
        ",
    );
    let plan_now = |fake: &Fake| plan(&Options::default(), &fake.world, &key("web"), context());
    testing::check(&plan_now(&fake), &expect!["because it has a node"]);
    fake.now = testing::now() - std::time::Duration::from_secs(30);
    fake.remove(Kind::Node, &Key::new("", "n1"));
    testing::check(
        &plan_now(&fake),
        &expect![[r#"
        because its node may come back
        recheck after 10 s"#]],
    );
    fake.now = testing::now() - std::time::Duration::from_secs(41);
    let mut fake = Fake::new(
        "
        node n1 ready
        pod web node=n1 ready
        ",
    );
    fake.now = testing::now() - std::time::Duration::from_secs(41);
    fake.remove(Kind::Node, &Key::new("", "n1"));
    testing::check(
        &plan_now(&fake),
        &expect![[r#"
        status Pod web {status:{conditions:[{lastTransitionTime:2033-05-18T03:25:00Z status:True type:Ready}, {lastTransitionTime:2033-05-18T03:33:20Z message:PodGC: node no longer exists reason:DeletionByPodGC status:True type:DisruptionTarget}] phase:Failed}}
        delete Pod web grace=0"#]],
    );
}

#[test]
fn a_node_that_may_not_have_been_seen_is_waited_for() {
    let mut world = testing::world("pod web node=n9 ready");
    world.set_passed(Kind::Node, Box::new(|| 7));
    testing::check(
        &plan(&Options::default(), &world, &key("web"), context()),
        &expect![[r#"
            because its node may not have been seen yet
            awaits Node at 101"#]],
    );
}

#[test]
fn pods_that_no_kubelet_will_end_are_ended() {
    check(
        "pod web phase=Pending deleting",
        &expect![[r#"
        status Pod web {status:{phase:Failed}}
        delete Pod web grace=0"#]],
    );
    check("pod web phase=Pending", &expect!["because it has no node yet"]);
    check(
        "
        node n1 ready=Unknown taints=node.kubernetes.io/out-of-service:NoExecute
        pod web node=n1 ready deleting
        ",
        &expect![[r#"
            status Pod web {status:{phase:Failed}}
            delete Pod web grace=0"#]],
    );
}

#[test]
fn the_oldest_ended_pods_go_beyond_the_threshold() {
    let options = Options { terminated_pod_gc_threshold: 1, ..Options::default() };
    let world = testing::world(
        "
        pod a phase=Succeeded age=10
        pod b phase=Failed age=300
        pod c phase=Succeeded age=200
        pod d phase=Running
        ",
    );
    testing::check(
        &trim_ended(&options, &world),
        &expect![[r#"
        delete Pod b grace=0
        delete Pod c grace=0"#]],
    );
}

/// Whatever was left behind goes once its time has come, and nothing else does.
#[test]
fn abandoned_pods_go_and_others_stay() {
    let mut fake = Fake::new(
        "
        node n1 ready
        node n2 ready
        pod kept node=n1 ready
        pod new phase=Pending
        pod lost-1 node=n2 ready
        pod lost-2 node=n2 ready deleting
        pod undone phase=Pending deleting
        ",
    );
    fake.remove(Kind::Node, &Key::new("", "n2"));
    for seconds in [0, 39, 41] {
        let now = testing::now() + std::time::Duration::from_secs(seconds);
        let context = Context { now, ..context() };
        let keys: Vec<Key> = fake.world.pods.keys().cloned().collect();
        for key in keys {
            let plan = plan(&Options::default(), &fake.world, &key, context);
            fake.apply(plan, |_| {});
        }
        let left: Vec<String> = fake.world.pods.keys().map(|key| key.name.clone()).collect();
        let expected = if seconds < 40 { "kept lost-1 lost-2 new" } else { "kept new" };
        assert_eq!(left.join(" "), expected);
    }
}
