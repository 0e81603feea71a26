//! What budgets allow, as text.

use expect_test::{Expect, expect};

use super::{DisruptionController, plan, plan_pod};
use crate::{
    controller::{Controller, Keys},
    testing::{self, Fake, key, now},
    world::{Change, Delta, Kind},
};

/// `allowed of healthy, desired, expected; reason` of the status once the plan is carried out.
fn check(world: &str, expected: &Expect) {
    let mut fake = Fake::new(world);
    let first = plan(&fake.world, &key("web"), now());
    let told: Vec<String> = first
        .actions()
        .filter_map(|action| action.on_success.as_ref())
        .chain(&first.notes)
        .map(|note| format!("\n{}: {}", note.reason, note.message))
        .collect();
    fake.apply(first, |_| {});
    let status = fake.get(Kind::PodDisruptionBudget, &key("web")).unwrap()["status"].clone();
    let condition = &status["conditions"][0];
    expected.assert_eq(&format!(
        "allowed {} healthy {} desired {} expected {} observed {}; {} {}{}",
        status["disruptionsAllowed"],
        status["currentHealthy"],
        status["desiredHealthy"],
        status["expectedPods"],
        status["observedGeneration"],
        condition["status"].as_str().unwrap(),
        condition["reason"].as_str().unwrap(),
        told.concat(),
    ));
    let again = plan(&fake.world, &key("web"), now());
    assert!(again.is_idle(), "a second plan changes nothing: {}", testing::render(&again));
}

const PODS: &str = "
    deployment web replicas=4
    replicaset web-a owner=web replicas=4
    pod p1 owner=web-a ready
    pod p2 owner=web-a ready
    pod p3 owner=web-a ready
    pod p4 owner=web-a
";

fn with_pods(budget: &str) -> String {
    format!(
        "{PODS}\nPodDisruptionBudget web generation=3 {{\"spec\": {{\"selector\": \
         {{\"matchLabels\": {{\"app\": \"web\"}}}}, {budget}}}}}"
    )
}

#[test]
fn budgets_count_what_is_healthy_against_what_is_wanted() {
    check(
        &with_pods(r#""minAvailable": 2"#),
        &expect!["allowed 1 healthy 3 desired 2 expected 4 observed 3; True SufficientPods"],
    );
    check(
        &with_pods(r#""minAvailable": "51%""#),
        &expect!["allowed 0 healthy 3 desired 3 expected 4 observed 3; False InsufficientPods"],
    );
    check(
        &with_pods(r#""maxUnavailable": 3"#),
        &expect!["allowed 2 healthy 3 desired 1 expected 4 observed 3; True SufficientPods"],
    );
    check(
        &with_pods(r#""maxUnavailable": "30%""#),
        &expect!["allowed 1 healthy 3 desired 2 expected 4 observed 3; True SufficientPods"],
    );
}

#[test]
fn without_pods_nothing_is_allowed_and_somebody_is_told() {
    check(
        r#"PodDisruptionBudget web {"spec": {"minAvailable": 0, "selector": {"matchLabels": {"app": "no"}}}}"#,
        &expect![[r#"
            allowed 0 healthy 0 desired 0 expected 0 observed 1; False InsufficientPods
            NoPods: No matching pods found"#]],
    );
}

#[test]
fn pods_whose_scale_is_unknown_may_not_be_disturbed() {
    for (owner, why) in [
        ("Job/j", "jobs.batch does not implement the scale subresource"),
        ("web-b", "found no controllers for pod \"p1\""),
    ] {
        let mut fake = Fake::new(&format!(
            r#"
            pod p1 owner={owner} ready labels=app:web
            PodDisruptionBudget web {{"spec": {{"maxUnavailable": 1, "selector": {{"matchLabels": {{"app": "web"}}}}}}, "status": {{"disruptionsAllowed": 1}}}}
            "#
        ));
        let mut pod = fake.get(Kind::Pod, &key("p1")).unwrap().clone();
        pod["metadata"]["labels"]["app"] = "web".into();
        fake.put(Kind::Pod, pod);
        let first = plan(&fake.world, &key("web"), now());
        fake.apply(first, |_| {});
        let status = &fake.get(Kind::PodDisruptionBudget, &key("web")).unwrap()["status"];
        assert_eq!(status["disruptionsAllowed"], 0);
        assert_eq!(status["conditions"][0]["reason"], "SyncFailed");
        assert_eq!(status["conditions"][0]["message"], why);
    }
}

#[test]
fn a_granted_eviction_counts_until_it_is_clear_that_nobody_deletes() {
    let granted = |seconds: i64| {
        let at = testing::age(seconds);
        format!(
            r#"{PODS}
            PodDisruptionBudget web {{"spec": {{"minAvailable": 1, "selector": {{"matchLabels": {{"app": "web"}}}}}}, "status": {{"disruptedPods": {{"p1": {at}, "gone": {at}}}}}}}"#
        )
    };
    check(
        &granted(30),
        &expect!["allowed 1 healthy 2 desired 1 expected 4 observed 1; True SufficientPods"],
    );
    let plan_now = plan(&testing::world(&granted(30)), &key("web"), now());
    assert_eq!(plan_now.recheck_after, Some(std::time::Duration::from_secs(90)));
    check(
        &granted(121),
        &expect![[r#"
            allowed 2 healthy 3 desired 1 expected 4 observed 1; True SufficientPods
            NotDeleted: Pod was expected by PDB default/web to be deleted but it wasn't"#]],
    );
}

#[test]
fn a_disruption_that_did_not_come_is_taken_back() {
    let pod = |seconds: i64| {
        let at = testing::age(seconds);
        format!(
            r#"pod p1 ready {{"status": {{"conditions": [{{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "lastTransitionTime": {at}}}]}}}}"#
        )
    };
    testing::check(
        &plan_pod(&testing::world(&pod(20)), &key("p1"), now()),
        &expect![[r#"
            because its disruption may still come
            recheck after 100 s"#]],
    );
    testing::check(
        &plan_pod(&testing::world(&pod(120)), &key("p1"), now()),
        &expect![
            "status Pod p1 {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:20Z status:False type:DisruptionTarget}]}}"
        ],
    );
}

#[test]
fn budgets_are_woken_by_what_changes_their_count() {
    let fake = Fake::new(&with_pods(r#""minAvailable": 2"#));
    let wakes = |change: fn(&mut kontiki_api::slim::Pod)| {
        let old = fake.world.pods.get(&key("p1")).unwrap().clone();
        let mut new = (*old).clone();
        change(&mut new);
        let mut keys = Keys::new();
        let change = Change::Pod(Delta { old: Some(&old), new: Some(&new) });
        DisruptionController.wake(&fake.world, &change, &mut keys);
        keys.len()
    };
    assert_eq!(wakes(|_| {}), 0);
    assert_eq!(wakes(|pod| pod.status.as_mut().unwrap().conditions = None), 1);
    assert_eq!(wakes(|pod| pod.metadata.labels = None), 1);
    assert_eq!(wakes(|pod| pod.status.as_mut().unwrap().pod_ip = Some("x".to_owned())), 0);
}
