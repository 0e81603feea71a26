//! What ReplicaSets do, as text.

use expect_test::{Expect, expect};
use kontiki_api::slim::Pod;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::plan;
use crate::{
    action::{Context, Failure},
    pods,
    testing::{self, Fake, context, key},
    world::Kind,
};

fn check(world: &str, expected: &Expect) {
    testing::check(&plan(&testing::world(world), &key("web-a"), context()), expected);
}

#[test]
fn missing_pods_are_created() {
    check(
        "
        replicaset web-a replicas=3 pods=1 ready=1
        pod web-a-1 owner=web-a ready node=n1
        ",
        &expect![[r#"
            create Pod web-a-
              SuccessfulCreate: Created pod: {name}
            create Pod web-a-
              SuccessfulCreate: Created pod: {name}"#]],
    );
}

#[test]
fn pods_that_end_or_leave_do_not_count() {
    check(
        "
        replicaset web-a replicas=2 pods=2 ready=2
        pod web-a-1 owner=web-a ready node=n1 deleting
        pod web-a-2 owner=web-a node=n1 phase=Failed
        pod web-a-3 owner=web-a ready node=n2
        ",
        &expect![[r#"
            status ReplicaSet web-a {status:{availableReplicas:1 fullyLabeledReplicas:1 readyReplicas:1 replicas:1 terminatingReplicas:1}}
            create Pod web-a-
              SuccessfulCreate: Created pod: {name}"#]],
    );
}

#[test]
fn surplus_pods_go_unassigned_first_then_pending_then_not_ready_then_crowded() {
    check(
        "
        replicaset web-a replicas=2 pods=6 ready=4
        pod web-a-1 owner=web-a ready=500 node=n1
        pod web-a-2 owner=web-a ready=500 node=n1
        pod web-a-3 owner=web-a ready=500 node=n2
        pod web-a-4 owner=web-a node=n2
        pod web-a-5 owner=web-a phase=Pending node=n3
        pod web-a-6 owner=web-a phase=Pending
        ",
        &expect![[r#"
            status ReplicaSet web-a {status:{availableReplicas:3 readyReplicas:3}}
            delete Pod web-a-6
              SuccessfulDelete: Deleted pod: {name}
            delete Pod web-a-5
              SuccessfulDelete: Deleted pod: {name}
            delete Pod web-a-4
              SuccessfulDelete: Deleted pod: {name}
            delete Pod web-a-1
              SuccessfulDelete: Deleted pod: {name}"#]],
    );
}

#[test]
fn among_equals_cost_then_age_then_restarts_decide() {
    check(
        "
        replicaset web-a replicas=1 pods=4 ready=4
        pod web-a-1 owner=web-a ready=5000 node=n1
        pod web-a-2 owner=web-a ready=5000 node=n2 restarts=3
        pod web-a-3 owner=web-a ready=20 node=n3
        pod web-a-4 owner=web-a ready=5000 node=n4 cost=-10
        ",
        &expect![[r#"
            delete Pod web-a-4
              SuccessfulDelete: Deleted pod: {name}
            delete Pod web-a-3
              SuccessfulDelete: Deleted pod: {name}
            delete Pod web-a-2
              SuccessfulDelete: Deleted pod: {name}"#]],
    );
}

#[test]
fn matching_orphans_are_adopted_and_strays_released() {
    let mut fake = Fake::new(
        "
        replicaset web-a replicas=1 pods=1 ready=1
        pod web-a-1 owner=web-a ready node=n1
        pod stray ready node=n1
        ",
    );
    let kind = Kind::Pod;
    let mut pod = fake.get(kind, &key("web-a-1")).unwrap().clone();
    pod["metadata"]["labels"]["app"] = "other".into();
    fake.put(kind, pod);
    let mut pod = fake.get(kind, &key("stray")).unwrap().clone();
    pod["metadata"]["labels"] = serde_json::json!({"app": "web", "pod-template-hash": "a"});
    fake.put(kind, pod);
    testing::check(
        &plan(&fake.world, &key("web-a"), context()),
        &expect![[r#"
            patch Pod web-a-1 {metadata:{ownerReferences:[]}}
            patch Pod stray {metadata:{ownerReferences:[{apiVersion:apps/v1 blockOwnerDeletion:true controller:true kind:ReplicaSet name:web-a uid:ReplicaSet/web-a}]}}"#]],
    );
}

#[test]
fn a_pod_becomes_available_by_time_alone() {
    check(
        "
        replicaset web-a replicas=1 pods=1 ready=1 available=0 minready=30
        pod web-a-1 owner=web-a ready=10 node=n1
        ",
        &expect!["recheck after 20 s"],
    );
}

#[test]
fn a_refused_creation_shows_in_the_status() {
    let failure = Failure {
        verb: "Create",
        reason: "Forbidden".to_owned(),
        message: "exceeded quota".to_owned(),
    };
    let context = Context { last_failure: Some(&failure), ..context() };
    let world = testing::world("replicaset web-a replicas=1 pods=0");
    testing::check(
        &plan(&world, &key("web-a"), context),
        &expect![[r#"
            status ReplicaSet web-a {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:20Z message:exceeded quota reason:FailedCreate status:True type:ReplicaFailure}]}}
            create Pod web-a-
              SuccessfulCreate: Created pod: {name}"#]],
    );
}

#[test]
fn nothing_is_created_where_all_is_going() {
    check(
        "
        namespace default deleting
        replicaset web-a replicas=1 pods=0
        ",
        &expect!["because its namespace is being deleted"],
    );
    check(
        "
        replicaset web-a replicas=1 pods=0 deleting
        ",
        &expect!["because it is being deleted"],
    );
}

/// From any mixture of pods, whatever happens to them meanwhile, the number is reached; and no
/// step goes past it.
#[test]
fn any_mixture_of_pods_converges_to_the_number_asked_for() {
    for seed in 0..30 {
        let mut random = StdRng::seed_from_u64(seed);
        let wanted: usize = random.random_range(0..9);
        let mut text = format!("replicaset web-a replicas={wanted} pods=0\n");
        for number in 0..random.random_range(0..12) {
            let owner = ["owner=web-a", "owner=web-a", "owner=other-b"].choose(&mut random);
            let state = ["ready node=n1", "node=n2", "phase=Pending", "phase=Failed node=n1"];
            let (owner, state) = (owner.unwrap(), state.choose(&mut random).unwrap());
            text.push_str(&format!("pod p{number} {owner} {state}\n"));
        }
        let mut fake = Fake::new(&text);
        for round in 0..30 {
            let plan = plan(&fake.world, &key("web-a"), context());
            if plan.is_idle() {
                assert!(round > 0 || active(&fake) == wanted);
                break;
            }
            let before = active(&fake);
            fake.apply(plan, |fake| {
                let now = active(fake);
                assert!((before.min(wanted)..=before.max(wanted)).contains(&now), "seed {seed}");
            });
            if round < 5 && random.random_bool(0.3) {
                let pods = fake.list(Kind::Pod);
                if let Some(pod) = pods.choose(&mut random) {
                    let name = pod["metadata"]["name"].as_str().unwrap();
                    fake.remove(Kind::Pod, &key(name));
                }
            }
        }
        assert_eq!(active(&fake), wanted, "seed {seed}");
        let status = &fake.get(Kind::ReplicaSet, &key("web-a")).unwrap()["status"];
        assert_eq!(status["replicas"], wanted, "seed {seed}");
    }
}

fn active(fake: &Fake) -> usize {
    let ours = fake.world.owned::<Pod>("ReplicaSet/web-a");
    ours.filter(|pod| pods::is_active(pod)).count()
}
