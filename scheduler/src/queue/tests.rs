//! The queue as a transcript: one command per line, its answers below.

use expect_test::{Expect, expect};
use kontiki_api::{Object, k8s_openapi::api::core::v1::Node, slim::Pod};
use serde_json::json;

use super::*;
use crate::node::NodeOffer;

fn pod(name: &str, priority: i32, cpu: &str, gate: bool) -> Arc<PodInfo> {
    let gates = if gate { json!([{"name": "wait"}]) } else { json!([]) };
    let object = json!({
        "metadata": { "name": name, "namespace": "d", "uid": name },
        "spec": {
            "priority": priority, "schedulingGates": gates,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}],
        },
    });
    Arc::new(PodInfo::new(&Pod::from_value(object).expect("a pod")))
}

fn node(cpu: &str) -> Arc<NodeOffer> {
    let object = json!({
        "metadata": { "name": "n" },
        "status": { "allocatable": { "cpu": cpu, "pods": "110" } },
    });
    Arc::new(NodeOffer::new(&Node::from_value(object).expect("a node")))
}

/// `SECONDS add NAME PRIORITY CPU`, `gate`, `ungate`, `pop`, `refused NAME PLUGIN`,
/// `failed NAME`, `node CPU` (a node of that size appears), `remove NAME`.
fn check(script: &str, expected: &Expect) {
    let (mut queue, mut cluster) = (Queue::default(), Snapshot::default());
    let mut log = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let now = Duration::from_secs_f64(words[0].parse().expect("seconds"));
        let key = |name: &str| PodKey { namespace: "d".into(), name: name.into() };
        match words[1..] {
            ["add", name, priority, cpu] => {
                queue.set(pod(name, priority.parse().expect("a number"), cpu, false), now);
            }
            ["gate", name] => queue.set(pod(name, 0, "1", true), now),
            ["ungate", name] => queue.set(pod(name, 0, "1", false), now),
            ["pop"] => {
                let popped = queue.pop(now).map(|a| format!("{} #{}", a.pod.key.name, a.attempts));
                log.push(format!(
                    "{} {}",
                    words[0],
                    popped.unwrap_or_else(|| "nothing".to_owned())
                ));
            }
            ["refused", name, plugin] => {
                let plugin = filter_named(plugin).expect("a plugin").name();
                queue.refused(&key(name), BTreeSet::from([plugin]), now);
            }
            ["failed", name] => queue.failed(&key(name), now),
            ["remove", name] => queue.remove(&key(name)),
            ["node", cpu] => {
                cluster.set_node(cpu, node(cpu));
                let slot = cluster.node_named(cpu).expect("it was just added").slot;
                let nodes = BTreeSet::from([slot]);
                queue.wake(&Changes { nodes, ..Changes::default() }, &mut cluster, now);
            }
            _ => panic!("unknown line {line}"),
        }
    }
    let Pending { active, backoff, unschedulable, gated } = queue.pending();
    log.push(format!(
        "{active} active, {backoff} back-off, {unschedulable} unschedulable, {gated} gated"
    ));
    expected.assert_eq(&log.join("\n"));
}

#[test]
fn priority_goes_first_then_age() {
    check(
        "
        0 add young 0 1
        1 add important 10 1
        2 add younger 0 1
        3 pop
        3 pop
        3 pop
        3 pop
        ",
        &expect![[r#"
            3 important #1
            3 young #1
            3 younger #1
            3 nothing
            0 active, 0 back-off, 0 unschedulable, 0 gated"#]],
    );
}

#[test]
fn only_a_node_with_room_wakes_a_pod_that_lacked_room() {
    check(
        "
        0 add big 0 4
        0 pop
        0 refused big NodeResourcesFit
        5 node 2
        5 pop
        6 node 8
        6 pop
        ",
        &expect![[r#"
            0 big #1
            5 nothing
            6 big #2
            0 active, 0 back-off, 0 unschedulable, 0 gated"#]],
    );
}

#[test]
fn errors_back_off_longer_each_time_and_are_not_cut_short() {
    check(
        "
        0 add a 0 1
        0 pop
        0 failed a
        0.9 pop
        1 pop
        1 failed a
        2.9 pop
        3 pop
        ",
        &expect![[r#"
            0 a #1
            0.9 nothing
            1 a #2
            2.9 nothing
            3 a #3
            0 active, 0 back-off, 0 unschedulable, 0 gated"#]],
    );
}

#[test]
fn a_woken_pod_sits_out_its_backoff_behind_others_only() {
    check(
        "
        0 add a 0 1
        0 add b 0 1
        0 pop
        0 refused a NodeResourcesFit
        0.1 node 8
        0.2 pop
        0.3 pop
        ",
        &expect![[r#"
            0 a #1
            0.2 b #1
            0.3 a #2
            0 active, 0 back-off, 0 unschedulable, 0 gated"#]],
    );
}

#[test]
fn a_gated_pod_waits_for_its_gates() {
    check(
        "
        0 gate a
        0 pop
        1 ungate a
        1 pop
        ",
        &expect![[r#"
            0 nothing
            1 a #1
            0 active, 0 back-off, 0 unschedulable, 0 gated"#]],
    );
}

#[test]
fn a_refused_pod_is_tried_again_after_five_minutes_and_removed_ones_never() {
    check(
        "
        0 add a 0 1
        0 add b 0 1
        0 pop
        0 pop
        0 refused a NodeResourcesFit
        0 refused b NodeResourcesFit
        10 remove b
        299 pop
        301 pop
        301 pop
        ",
        &expect![[r#"
            0 a #1
            0 b #1
            299 nothing
            301 a #2
            301 nothing
            0 active, 0 back-off, 0 unschedulable, 0 gated"#]],
    );
}
