//! What becomes of silent nodes, as text.

use std::time::Duration;

use expect_test::{Expect, expect};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{TaintEvictionController, conditions, eviction, plan};
use crate::{
    Options,
    action::Context,
    controller::Controller,
    testing::{self, Fake, context, key},
    world::{Key, Kind},
};

fn check(world: &str, expected: &Expect) {
    let plan = plan(&Options::default(), &testing::world(world), &Key::new("", "n1"), context());
    testing::check(&plan, expected);
}

#[test]
fn a_node_that_is_heard_of_is_left_alone() {
    check(
        "
        node n1 ready
        lease n1 renewed=10
        ",
        &expect!["recheck after 30 s"],
    );
}

#[test]
fn a_silent_node_becomes_unknown_and_its_pods_not_ready() {
    check(
        "
        node n1 ready
        lease n1 renewed=41
        node n2 ready
        lease n2 renewed=5
        pod web-1 node=n1 ready
        pod web-2 node=n2 ready
        ",
        &expect![[r#"
            status Node n1 {status:{conditions:[{lastHeartbeatTime:2033-05-18T03:28:20Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet stopped posting node status. reason:NodeStatusUnknown status:Unknown type:Ready}, {lastHeartbeatTime:2033-05-18T03:28:20Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet stopped posting node status. reason:NodeStatusUnknown status:Unknown type:MemoryPressure}, {lastHeartbeatTime:2033-05-18T03:28:20Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet stopped posting node status. reason:NodeStatusUnknown status:Unknown type:DiskPressure}, {lastHeartbeatTime:2033-05-18T03:28:20Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet stopped posting node status. reason:NodeStatusUnknown status:Unknown type:PIDPressure}]}}
              NodeNotReady: Node n1 status is now: NodeNotReady
            status Pod web-1 {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:20Z status:False type:Ready}]}}
              NodeNotReady: Node is not ready"#]],
    );
}

#[test]
fn a_new_leader_hears_for_a_full_grace_period_first() {
    let mut world = testing::world(
        "
        node n1 ready
        lease n1 renewed=900
        ",
    );
    world.leading_since = testing::now();
    let plan = plan(&Options::default(), &world, &Key::new("", "n1"), context());
    testing::check(&plan, &expect!["recheck after 40 s"]);
}

#[test]
fn a_node_that_never_spoke_has_a_minute() {
    check(
        "node n1 age=59",
        &expect![[r#"
        patch Node n1 {spec:{taints:[{effect:NoSchedule key:node.kubernetes.io/not-ready timeAdded:2033-05-18T03:33:20Z}]}}
        recheck after 1 s"#]],
    );
    check(
        "node n1 age=61",
        &expect![[r#"
        status Node n1 {status:{conditions:[{lastHeartbeatTime:2033-05-18T03:32:19Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet never posted node status. reason:NodeStatusNeverUpdated status:Unknown type:Ready}, {lastHeartbeatTime:2033-05-18T03:32:19Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet never posted node status. reason:NodeStatusNeverUpdated status:Unknown type:MemoryPressure}, {lastHeartbeatTime:2033-05-18T03:32:19Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet never posted node status. reason:NodeStatusNeverUpdated status:Unknown type:DiskPressure}, {lastHeartbeatTime:2033-05-18T03:32:19Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet never posted node status. reason:NodeStatusNeverUpdated status:Unknown type:PIDPressure}]}}
          NodeNotReady: Node n1 status is now: NodeNotReady"#]],
    );
}

#[test]
fn an_unknown_node_is_tainted_and_a_ready_one_untainted() {
    check(
        "
        node n1 ready=Unknown
        lease n1 renewed=41
        node n2 ready
        lease n2 renewed=5
        ",
        &expect![[r#"
            patch Node n1 {spec:{taints:[{effect:NoSchedule key:node.kubernetes.io/unreachable timeAdded:2033-05-18T03:33:20Z}, {effect:NoExecute key:node.kubernetes.io/unreachable timeAdded:2033-05-18T03:33:20Z}]}}
            recheck after 5 s"#]],
    );
    check(
        "
        node n1 ready taints=node.kubernetes.io/unreachable:NoExecute@9,node.kubernetes.io/unreachable:NoSchedule@9,mine:NoSchedule@9
        lease n1 renewed=1
        ",
        &expect![[r#"
            patch Node n1 {spec:{taints:[{effect:NoSchedule key:mine timeAdded:2033-05-18T03:33:11Z}]}}
            recheck after 39 s"#]],
    );
}

#[test]
fn a_node_that_says_it_is_not_ready_is_tainted_so() {
    check(
        "
        node n1 ready=False
        lease n1 renewed=1
        node n2 ready
        lease n2 renewed=5
        pod web-1 node=n1 ready
        ",
        &expect![[r#"
            patch Node n1 {spec:{taints:[{effect:NoSchedule key:node.kubernetes.io/not-ready timeAdded:2033-05-18T03:33:20Z}, {effect:NoExecute key:node.kubernetes.io/not-ready timeAdded:2033-05-18T03:33:20Z}]}}
            recheck after 5 s"#]],
    );
}

#[test]
fn a_cordoned_node_takes_no_new_pods() {
    check(
        "
        node n1 ready unschedulable
        lease n1 renewed=1
        ",
        &expect![[r#"
            patch Node n1 {spec:{taints:[{effect:NoSchedule key:node.kubernetes.io/unschedulable timeAdded:2033-05-18T03:33:20Z}]}}
            recheck after 39 s"#]],
    );
}

#[test]
fn when_all_nodes_vanish_at_once_nothing_is_evicted() {
    check(
        "
        node n1 ready
        lease n1 renewed=41
        node n2 ready
        lease n2 renewed=45
        pod web-1 node=n1 ready
        ",
        &expect![[r#"
            status Node n1 {status:{conditions:[{lastHeartbeatTime:2033-05-18T03:28:20Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet stopped posting node status. reason:NodeStatusUnknown status:Unknown type:Ready}, {lastHeartbeatTime:2033-05-18T03:28:20Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet stopped posting node status. reason:NodeStatusUnknown status:Unknown type:MemoryPressure}, {lastHeartbeatTime:2033-05-18T03:28:20Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet stopped posting node status. reason:NodeStatusUnknown status:Unknown type:DiskPressure}, {lastHeartbeatTime:2033-05-18T03:28:20Z lastTransitionTime:2033-05-18T03:33:20Z message:Kubelet stopped posting node status. reason:NodeStatusUnknown status:Unknown type:PIDPressure}]}}
              NodeNotReady: Node n1 status is now: NodeNotReady
            because all nodes are lost at once: more likely it is us"#]],
    );
    check(
        "
        node n1 ready=Unknown
        lease n1 renewed=41
        node n2 ready=Unknown
        lease n2 renewed=45
        pod web-1 node=n1 ready
        ",
        &expect![[r#"
            patch Node n1 {spec:{taints:[{effect:NoSchedule key:node.kubernetes.io/unreachable timeAdded:2033-05-18T03:33:20Z}]}}
            because all nodes are lost at once: more likely it is us
            because too many nodes are lost at once to evict pods
            recheck after 5 s"#]],
    );
}

#[test]
fn lost_nodes_of_a_zone_are_evicted_one_after_the_other() {
    check(
        "
        node n1 ready=Unknown
        lease n1 renewed=60
        node n2 ready=Unknown taints=node.kubernetes.io/unreachable:NoExecute@4
        lease n2 renewed=60
        node n3 ready
        lease n3 renewed=1
        ",
        &expect![[r#"
            patch Node n1 {spec:{taints:[{effect:NoSchedule key:node.kubernetes.io/unreachable timeAdded:2033-05-18T03:33:20Z}]}}
            because other nodes of the zone are being evicted
            recheck after 5 s"#]],
    );
}

#[test]
fn most_of_a_small_zone_is_not_evicted_at_all() {
    check(
        "
        node n1 ready=Unknown
        lease n1 renewed=60
        node n2 ready=Unknown
        lease n2 renewed=60
        node n3 ready=Unknown
        lease n3 renewed=60
        node n4 ready
        lease n4 renewed=1
        ",
        &expect![[r#"
            patch Node n1 {spec:{taints:[{effect:NoSchedule key:node.kubernetes.io/unreachable timeAdded:2033-05-18T03:33:20Z}]}}
            because too many nodes are lost at once to evict pods
            recheck after 5 s"#]],
    );
}

#[test]
fn pods_leave_when_their_toleration_runs_out() {
    let check = |attributes: &str, expected: &Expect| {
        let world = testing::world(&format!(
            "
            node n1 ready=Unknown taints=node.kubernetes.io/unreachable:NoExecute@3
            pod web node=n1 {attributes}
            "
        ));
        testing::check(&eviction::plan(&world, &key("web"), context()), expected);
    };
    check(
        "",
        &expect![[r#"
        status Pod web {status:{conditions:[{lastTransitionTime:2033-05-18T03:25:00Z status:False type:Ready}, {lastTransitionTime:2033-05-18T03:33:20Z message:Taint manager: deleting due to NoExecute taint reason:DeletionByTaintManager status:True type:DisruptionTarget}]}}
        delete Pod web
          TaintManagerEviction: Marking for deletion Pod default/web"#]],
    );
    check(
        "tolerates=node.kubernetes.io/unreachable:5",
        &expect![[r#"
        because it tolerates its node's taints for a while
        recheck after 2 s"#]],
    );
    check(
        "tolerates=node.kubernetes.io/unreachable:2",
        &expect![[r#"
        status Pod web {status:{conditions:[{lastTransitionTime:2033-05-18T03:25:00Z status:False type:Ready}, {lastTransitionTime:2033-05-18T03:33:20Z message:Taint manager: deleting due to NoExecute taint reason:DeletionByTaintManager status:True type:DisruptionTarget}]}}
        delete Pod web
          TaintManagerEviction: Marking for deletion Pod default/web"#]],
    );
    check(
        "tolerates=node.kubernetes.io/unreachable",
        &expect!["because it tolerates its node's taints"],
    );
    check(
        "tolerates=other:1",
        &expect![[r#"
        status Pod web {status:{conditions:[{lastTransitionTime:2033-05-18T03:25:00Z status:False type:Ready}, {lastTransitionTime:2033-05-18T03:33:20Z message:Taint manager: deleting due to NoExecute taint reason:DeletionByTaintManager status:True type:DisruptionTarget}]}}
        delete Pod web
          TaintManagerEviction: Marking for deletion Pod default/web"#]],
    );
    check("deleting", &expect!["because it is being deleted"]);
}

#[test]
fn a_taint_without_a_time_counts_from_when_it_was_seen() {
    let mut fake = Fake::new(
        "
        node n1 ready
        pod web node=n1 ready tolerates=mine:5
        ",
    );
    let mut node = fake.get(Kind::Node, &Key::new("", "n1")).expect("a node").clone();
    node["spec"]["taints"] = serde_json::json!([{"key": "mine", "effect": "NoExecute"}]);
    fake.put(Kind::Node, node);
    testing::check(
        &eviction::plan(&fake.world, &key("web"), context()),
        &expect![[r#"
        because it tolerates its node's taints for a while
        recheck after 5 s"#]],
    );
}

/// From silence to eviction, plan by plan, and back.
#[test]
fn a_lost_node_converges_and_recovers() {
    let mut fake = Fake::new(
        "
        node n1 ready
        lease n1 renewed=50
        node n2 ready
        lease n2 renewed=5
        pod web-1 node=n1 ready tolerates=node.kubernetes.io/unreachable:0
        pod web-2 node=n2 ready
        ",
    );
    for _ in 0..5 {
        for name in ["n1", "n2"] {
            let key = Key::new("", name);
            let plan = plan(&Options::default(), &fake.world, &key, context());
            fake.apply(plan, |_| {});
        }
        for name in ["web-1", "web-2"] {
            let plan = TaintEvictionController.plan(&fake.world, &key(name), context());
            fake.apply(plan, |_| {});
        }
    }
    let pod = fake.get(Kind::Pod, &key("web-1")).unwrap();
    assert_eq!(pod["status"]["conditions"][0]["status"], "False");
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    let other = fake.get(Kind::Pod, &key("web-2")).unwrap();
    assert!(other["metadata"]["deletionTimestamp"].is_null());
    let mut node = fake.get(Kind::Node, &Key::new("", "n1")).expect("a node").clone();
    node["status"]["conditions"][0]["status"] = "True".into();
    node["status"]["conditions"][0]["lastHeartbeatTime"] = testing::now().to_string().into();
    fake.put(Kind::Node, node);
    let plan = plan(&Options::default(), &fake.world, &Key::new("", "n1"), context());
    fake.apply(plan, |_| {});
    let node = fake.world.nodes.get(&Key::new("", "n1")).unwrap();
    assert_eq!(conditions::readiness(node), Some("True"));
    assert_eq!(node.spec.as_ref().unwrap().taints, None);
}

/// Nodes fall silent and speak again at random. No plan ever taints running pods away from the
/// last nodes there are; and once all speak, every taint of ours goes.
#[test]
fn any_pattern_of_silence_heals() {
    for seed in 0..10 {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(1..6);
        let mut text = String::new();
        for number in 0..count {
            text.push_str(&format!("node n{number} ready\nlease n{number} renewed=0\n"));
            text.push_str(&format!("pod web-{number} node=n{number} ready\n"));
        }
        let mut fake = Fake::new(&text);
        for step in 0..60 {
            fake.now += Duration::from_secs(5);
            let healing = step >= 40;
            for number in 0..count {
                if healing || random.random_bool(0.15) {
                    speak(&mut fake, number);
                }
            }
            for _ in 0..3 {
                settle(&mut fake, count);
            }
        }
        for node in fake.list(Kind::Node) {
            assert!(node["spec"]["taints"].is_null(), "seed {seed}: {node}");
            assert_eq!(node["status"]["conditions"][0]["status"], "True", "seed {seed}");
        }
    }
}

fn speak(fake: &mut Fake, number: usize) {
    let name = format!("n{number}");
    let mut lease =
        fake.get(Kind::Lease, &Key::new("kube-node-lease", name.as_str())).unwrap().clone();
    lease["spec"]["renewTime"] = fake.now.to_string().replace('Z', ".000000Z").into();
    fake.put(Kind::Lease, lease);
    let mut node = fake.get(Kind::Node, &Key::new("", name.as_str())).unwrap().clone();
    let conditions = node["status"]["conditions"].as_array_mut().unwrap();
    for condition in conditions {
        let ready = condition["type"] == "Ready";
        condition["status"] = if ready { "True" } else { "False" }.into();
        condition["lastHeartbeatTime"] = fake.now.to_string().into();
    }
    fake.put(Kind::Node, node);
}

fn settle(fake: &mut Fake, count: usize) {
    for number in 0..count {
        let now = Context { now: fake.now, ..context() };
        let plan = plan(&Options::default(), &fake.world, &Key::new("", format!("n{number}")), now);
        fake.apply(plan, |fake| {
            let nodes = fake.list(Kind::Node);
            let evicting = nodes.iter().filter(|node| {
                let taints = node["spec"]["taints"].as_array();
                taints.into_iter().flatten().any(|taint| taint["effect"] == "NoExecute")
            });
            assert!(evicting.count() < count, "somewhere to go to is left");
        });
    }
}
