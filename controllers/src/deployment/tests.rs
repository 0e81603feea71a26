//! What Deployments do, as text; and that any rollout arrives without breaking its budget.

mod convergence;

use expect_test::{Expect, expect};

use super::plan;
use crate::testing::{self, context, key};

fn check(world: &str, expected: &Expect) {
    testing::check(&plan(&testing::world(world), &key("web"), context()), expected);
}

/// The plan without its status writes.
fn check_moves(world: &str, expected: &Expect) {
    let rendered = testing::render(&plan(&testing::world(world), &key("web"), context()));
    let moves = rendered.lines().filter(|line| !line.starts_with("status"));
    expected.assert_eq(&moves.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_new_deployment_gets_its_replica_set() {
    check(
        "deployment web replicas=3",
        &expect![[r#"
            create ReplicaSet web-7d5c9cc666
              ScalingReplicaSet: Scaled up replica set web-7d5c9cc666 from 0 to 3
            status Deployment web {status:{availableReplicas:0 conditions:[{lastTransitionTime:2033-05-18T03:33:20Z lastUpdateTime:2033-05-18T03:33:20Z message:Deployment does not have minimum availability. reason:MinimumReplicasUnavailable status:False type:Available}, {lastTransitionTime:2033-05-18T03:33:20Z lastUpdateTime:2033-05-18T03:33:20Z message:Created new replica set "web-7d5c9cc666" reason:NewReplicaSetCreated status:True type:Progressing}] observedGeneration:1 readyReplicas:0 replicas:0 terminatingReplicas:0 unavailableReplicas:0 updatedReplicas:0} metadata:{annotations:{deployment.kubernetes.io/revision:1}}}
            because web-7d5c9cc666 has 0 of 3 replicas available
            recheck after 600 s"#]],
    );
}

#[test]
fn a_rolling_update_starts_within_its_surge() {
    check_moves(
        "
        deployment web replicas=3 surge=1 unavailable=0 template=B generation=2 revision=1
        replicaset web-a owner=web replicas=3 template=A revision=1 desired=3 max=4
        ",
        &expect![[r#"
            create ReplicaSet web-5468bb5c5f
              ScalingReplicaSet: Scaled up replica set web-5468bb5c5f from 0 to 1
            because web-5468bb5c5f has 0 of 1 replicas available
            recheck after 600 s"#]],
    );
}

#[test]
fn a_rolling_update_waits_for_the_surge_pod() {
    check_moves(
        "
        deployment web replicas=3 surge=1 unavailable=0 template=B
        replicaset web-a owner=web replicas=3 template=A revision=1 desired=3 max=4
        replicaset web-b owner=web replicas=1 ready=0 template=B revision=2 desired=3 max=4
        ",
        &expect![[r#"
            because web-b has 0 of 1 replicas available
            recheck after 600 s"#]],
    );
}

#[test]
fn an_available_new_pod_replaces_an_old_one() {
    check_moves(
        "
        deployment web replicas=3 surge=1 unavailable=0 template=B
        replicaset web-a owner=web replicas=3 template=A revision=1 desired=3 max=4
        replicaset web-b owner=web replicas=1 template=B revision=2 desired=3 max=4
        ",
        &expect![[r#"
            patch ReplicaSet web-a {spec:{replicas:2}}
              ScalingReplicaSet: Scaled down replica set web-a from 3 to 2
            recheck after 600 s"#]],
    );
}

#[test]
fn a_status_that_lags_takes_no_second_pod() {
    // web-a was scaled from 10 to 8 already; its status still counts 10 available pods.
    check_moves(
        "
        deployment web replicas=10 surge=3 unavailable=2 template=B
        replicaset web-a owner=web replicas=8 pods=10 template=A revision=1 desired=10 max=13
        replicaset web-b owner=web replicas=5 ready=3 template=B revision=2 desired=10 max=13
        ",
        &expect![[r#"
            patch ReplicaSet web-a {spec:{replicas:5}}
              ScalingReplicaSet: Scaled down replica set web-a from 8 to 5
            because web-b has 3 of 5 replicas available
            recheck after 600 s"#]],
    );
}

#[test]
fn percentages_round_surge_up_and_unavailable_down() {
    check_moves(
        "
        deployment web replicas=10 surge=25% unavailable=25% template=B
        replicaset web-a owner=web replicas=10 template=A revision=1 desired=10 max=13
        ",
        &expect![[r#"
            create ReplicaSet web-5468bb5c5f
              ScalingReplicaSet: Scaled up replica set web-5468bb5c5f from 0 to 3
            patch ReplicaSet web-a {spec:{replicas:8}}
              ScalingReplicaSet: Scaled down replica set web-a from 10 to 8
            because web-5468bb5c5f has 0 of 3 replicas available
            recheck after 600 s"#]],
    );
}

#[test]
fn unhealthy_old_pods_go_first() {
    check_moves(
        "
        deployment web replicas=4 surge=1 unavailable=0 template=C
        replicaset web-a owner=web replicas=4 template=A revision=1 desired=4 max=5 age=900
        replicaset web-b owner=web replicas=1 ready=0 template=B revision=2 desired=4 max=5 age=500
        ",
        &expect![[r#"
            create ReplicaSet web-5879d55fc6
            patch ReplicaSet web-b {spec:{replicas:0}}
              ScalingReplicaSet: Scaled down replica set web-b from 1 to 0
            recheck after 600 s"#]],
    );
}

#[test]
fn undo_makes_the_old_replica_set_the_newest() {
    check(
        "
        deployment web replicas=2 surge=1 unavailable=0 template=A generation=3 revision=2 progressing=NewReplicaSetAvailable@50 for=web-b available=True status=2/2/2/2
        replicaset web-a owner=web replicas=0 template=A revision=1 desired=2 max=3 age=900
        replicaset web-b owner=web replicas=2 template=B revision=2 desired=2 max=3 age=500
        ",
        &expect![[r#"
            patch ReplicaSet web-a {metadata:{annotations:{deployment.kubernetes.io/revision:3 deployment.kubernetes.io/revision-history:1}} spec:{replicas:1}}
              ScalingReplicaSet: Scaled up replica set web-a from 0 to 1
            status Deployment web {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:19Z lastUpdateTime:2033-05-18T03:33:19Z message:Deployment has minimum availability. reason:MinimumReplicasAvailable status:True type:Available}, {lastTransitionTime:2033-05-18T03:32:30Z lastUpdateTime:2033-05-18T03:33:20Z message:Found new replica set "web-a" reason:FoundNewReplicaSet status:True type:Progressing}] observedGeneration:3 updatedReplicas:0} metadata:{annotations:{deployment.kubernetes.io/revision:3}}}
            because web-a has 0 of 1 replicas available
            recheck after 600 s"#]],
    );
}

#[test]
fn recreate_waits_until_the_old_pods_are_gone() {
    check_moves(
        "
        deployment web replicas=2 strategy=Recreate template=B
        replicaset web-a owner=web replicas=2 template=A revision=1 desired=2 max=2
        ",
        &expect![[r#"
            patch ReplicaSet web-a {spec:{replicas:0}}
              ScalingReplicaSet: Scaled down replica set web-a from 2 to 0
            because old pods are still running"#]],
    );
    check_moves(
        "
        deployment web replicas=2 strategy=Recreate template=B
        replicaset web-a owner=web replicas=0 template=A revision=1 desired=2 max=2
        pod web-a-1 owner=web-a node=n1 ready deleting
        ",
        &expect!["because old pods are still running"],
    );
    check_moves(
        "
        deployment web replicas=2 strategy=Recreate template=B
        replicaset web-a owner=web replicas=0 template=A revision=1 desired=2 max=2
        ",
        &expect![[r#"
            create ReplicaSet web-5468bb5c5f
              ScalingReplicaSet: Scaled up replica set web-5468bb5c5f from 0 to 2
            recheck after 600 s"#]],
    );
}

#[test]
fn a_paused_deployment_still_scales_but_rolls_nothing() {
    check(
        "
        deployment web replicas=5 surge=1 unavailable=0 template=B paused revision=1 status=3/3/3/3 available=True
        replicaset web-a owner=web replicas=3 template=A revision=1 desired=3 max=4
        ",
        &expect![[r#"
            patch ReplicaSet web-a {metadata:{annotations:{deployment.kubernetes.io/desired-replicas:5 deployment.kubernetes.io/max-replicas:6}} spec:{replicas:5}}
              ScalingReplicaSet: Scaled up replica set web-a from 3 to 5
            status Deployment web {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:20Z lastUpdateTime:2033-05-18T03:33:20Z message:Deployment does not have minimum availability. reason:MinimumReplicasUnavailable status:False type:Available}, {lastTransitionTime:2033-05-18T03:33:20Z lastUpdateTime:2033-05-18T03:33:20Z message:Deployment is paused reason:DeploymentPaused status:Unknown type:Progressing}] updatedReplicas:0}}
            because it is paused"#]],
    );
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    check_moves(
        "
        deployment web replicas=20 surge=3 unavailable=2 template=B
        replicaset web-a owner=web replicas=8 template=A revision=1 desired=10 max=13 age=900
        replicaset web-b owner=web replicas=5 ready=2 template=B revision=2 desired=10 max=13 age=100
        ",
        &expect![[r#"
            patch ReplicaSet web-b {metadata:{annotations:{deployment.kubernetes.io/desired-replicas:20 deployment.kubernetes.io/max-replicas:23}} spec:{replicas:9}}
              ScalingReplicaSet: Scaled up replica set web-b from 5 to 9
            patch ReplicaSet web-a {metadata:{annotations:{deployment.kubernetes.io/desired-replicas:20 deployment.kubernetes.io/max-replicas:23}} spec:{replicas:14}}
              ScalingReplicaSet: Scaled up replica set web-a from 8 to 14
            recheck after 600 s"#]],
    );
}

#[test]
fn a_finished_rollout_says_so_and_forgets_old_revisions() {
    check(
        "
        deployment web replicas=2 surge=1 unavailable=0 template=D history=1 revision=4 progressing=ReplicaSetUpdated@5 available=True status=2/2/2/2
        replicaset web-a owner=web replicas=0 template=A revision=1 age=900
        replicaset web-b owner=web replicas=0 template=B revision=2 age=800
        replicaset web-c owner=web replicas=0 template=C revision=3 age=700
        replicaset web-d owner=web replicas=2 template=D revision=4 desired=2 max=3 age=600
        ",
        &expect![[r#"
            delete ReplicaSet web-a
            delete ReplicaSet web-b
            status Deployment web {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:19Z lastUpdateTime:2033-05-18T03:33:19Z message:Deployment has minimum availability. reason:MinimumReplicasAvailable status:True type:Available}, {lastTransitionTime:2033-05-18T03:33:15Z lastUpdateTime:2033-05-18T03:33:20Z message:ReplicaSet "web-d" has successfully progressed. reason:NewReplicaSetAvailable status:True type:Progressing}]}}"#]],
    );
}

#[test]
fn a_rollout_without_progress_times_out() {
    let world = |age: u32| {
        format!(
            "
            deployment web replicas=2 surge=1 unavailable=0 template=B revision=2 progressing=ReplicaSetUpdated@{age} available=True status=3/1/2/2
            replicaset web-a owner=web replicas=2 template=A revision=1 desired=2 max=3 age=900
            replicaset web-b owner=web replicas=1 ready=0 template=B revision=2 desired=2 max=3
            "
        )
    };
    check(
        &world(400),
        &expect![[r#"
        because web-b has 0 of 1 replicas available
        recheck after 200 s"#]],
    );
    check(
        &world(601),
        &expect![[r#"
        status Deployment web {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:19Z lastUpdateTime:2033-05-18T03:33:19Z message:Deployment has minimum availability. reason:MinimumReplicasAvailable status:True type:Available}, {lastTransitionTime:2033-05-18T03:33:20Z lastUpdateTime:2033-05-18T03:33:20Z message:ReplicaSet "web-b" has timed out progressing. reason:ProgressDeadlineExceeded status:False type:Progressing}]}}
        because web-b has 0 of 1 replicas available"#]],
    );
}

#[test]
fn a_taken_name_counts_as_a_collision() {
    let plan_of = |text: &str| plan(&testing::world(text), &key("web"), context());
    let first = plan_of("deployment web replicas=1");
    let created = testing::render(&first);
    let name = created.split_whitespace().nth(2).unwrap();
    let text = format!(
        "
        deployment web replicas=1
        replicaset {name} owner=other replicas=0 template=Z
        "
    );
    testing::check(
        &plan_of(&text),
        &expect![[r#"
        status Deployment web {status:{availableReplicas:0 collisionCount:1 conditions:[{lastTransitionTime:2033-05-18T03:33:20Z lastUpdateTime:2033-05-18T03:33:20Z message:Deployment does not have minimum availability. reason:MinimumReplicasUnavailable status:False type:Available}] observedGeneration:1 readyReplicas:0 replicas:0 terminatingReplicas:0 unavailableReplicas:0 updatedReplicas:0}}
        because the new ReplicaSet's name is taken"#]],
    );
}

#[test]
fn a_free_replica_set_that_matches_is_adopted() {
    check_moves(
        "
        deployment web replicas=1 template=A
        replicaset web-a replicas=1 template=A
        ",
        &expect![[r#"
            patch ReplicaSet web-a {metadata:{ownerReferences:[{apiVersion:apps/v1 blockOwnerDeletion:true controller:true kind:Deployment name:web uid:Deployment/web}]}}
            because ReplicaSet web-a is being adopted"#]],
    );
}
