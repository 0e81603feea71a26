//! The rules in a real kernel: a node, three pods and the outside world, real packets.
//!
//! Each test runs itself again in namespaces of its own, which end with it whatever happens, so
//! nothing has to be cleaned up.

mod node;
mod world;

use std::time::{Duration, Instant};

use world::{Answer, World, inside, tell};

const WEB: &str = r#"{"clusterIPs": ["10.43.0.1"], "ports": [{"port": 80, "nodePort": 30080}]}"#;
const CLUSTER_IP: &str = "10.43.0.1:80";
const NODE_PORT: &str = "10.99.0.11:30080";

fn pods(answers: &[Answer]) -> Vec<&str> {
    let mut pods: Vec<&str> = answers.iter().map(|answer| answer.pod.as_str()).collect();
    pods.sort_unstable();
    pods.dedup();
    pods
}

fn sources(answers: &[Answer]) -> Vec<&str> {
    let mut sources: Vec<&str> = answers.iter().map(|answer| answer.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

#[test]
fn a_cluster_address_reaches_every_endpoint() {
    inside("a_cluster_address_reaches_every_endpoint", || {
        let mut world = World::new();
        world.apply("web", WEB, &["10.42.0.2", "10.42.0.3", "10.42.0.4"]);
        // Pods are seen as who they are; so is the node; the outside must be answered by the node.
        for (from, source) in
            [("pod1", "10.42.0.2"), ("node", "10.99.0.11"), ("outside", "10.42.0.1")]
        {
            let answers = world.ask_many(from, CLUSTER_IP, 40);
            assert_eq!(pods(&answers), ["pod1", "pod2", "pod3"], "from {from}");
            let others: Vec<_> = answers.into_iter().filter(|a| a.pod != "pod1").collect();
            assert_eq!(sources(&others), [source], "from {from}");
        }
        world.apply("web", WEB, &["10.42.0.3"]);
        assert_eq!(pods(&world.ask_many("pod1", CLUSTER_IP, 20)), ["pod2"]);
    });
}

#[test]
fn a_node_port_is_open_on_the_node_to_everyone() {
    inside("a_node_port_is_open_on_the_node_to_everyone", || {
        let mut world = World::new();
        world.apply("web", WEB, &["10.42.0.3", "10.42.0.4"]);
        for from in ["outside", "node", "pod1"] {
            let answers = world.ask_many(from, NODE_PORT, 30);
            assert_eq!(pods(&answers), ["pod2", "pod3"], "from {from}");
        }
        assert_eq!(sources(&world.ask_many("outside", NODE_PORT, 5)), ["10.42.0.1"]);
    });
}

#[test]
fn a_local_policy_keeps_the_clients_address() {
    inside("a_local_policy_keeps_the_clients_address", || {
        let mut world = World::new();
        let local = WEB.replacen('{', r#"{"externalTrafficPolicy": "Local", "#, 1);
        world.apply("web", &local, &["10.42.0.3", "10.42.0.4@elsewhere"]);
        let answers = world.ask_many("outside", NODE_PORT, 20);
        assert_eq!((pods(&answers), sources(&answers)), (vec!["pod2"], vec!["10.99.0.1"]));
        assert_eq!(pods(&world.ask_many("pod1", NODE_PORT, 30)), ["pod2", "pod3"]);
        world.apply("web", &local, &["10.42.0.4@elsewhere"]);
        let refused = world.ask("outside", NODE_PORT).expect_err("no endpoint here");
        assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut, "others may still have one");
        assert_eq!(pods(&world.ask_many("pod1", NODE_PORT, 5)), ["pod3"]);
    });
}

#[test]
fn without_endpoints_the_client_is_refused_at_once() {
    inside("without_endpoints_the_client_is_refused_at_once", || {
        let mut world = World::new();
        world.apply("web", WEB, &[]);
        for (from, to) in [
            ("pod1", CLUSTER_IP),
            ("node", CLUSTER_IP),
            ("outside", CLUSTER_IP),
            ("outside", NODE_PORT),
            ("node", NODE_PORT),
            ("pod1", NODE_PORT),
        ] {
            let start = Instant::now();
            let error = world.ask(from, to).expect_err("nobody is there");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{from} {to}");
            assert!(start.elapsed() < Duration::from_millis(500), "{from} {to}");
        }
        world.apply("web", WEB, &["10.42.0.3"]);
        assert_eq!(pods(&world.ask_many("outside", NODE_PORT, 3)), ["pod2"]);
        world.remove("web");
        let error = world.ask("node", NODE_PORT).expect_err("nobody is there");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    inside("a_pod_reaches_itself_through_its_service", || {
        let mut world = World::new();
        world.apply("web", WEB, &["10.42.0.2"]);
        for to in [CLUSTER_IP, NODE_PORT] {
            let answers = world.ask_many("pod1", to, 5);
            assert_eq!(pods(&answers), ["pod1"]);
            assert_eq!(sources(&answers), ["10.42.0.1"], "{to}");
        }
    });
}

#[test]
fn a_sticky_client_stays_until_its_endpoint_goes() {
    inside("a_sticky_client_stays_until_its_endpoint_goes", || {
        let mut world = World::new();
        let sticky = r#"{"clusterIPs": ["10.43.0.1"], "ports": [{"port": 80, "nodePort": 30080}],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}}"#;
        let all = ["10.42.0.2", "10.42.0.3", "10.42.0.4"];
        world.apply("web", sticky, &all);
        for (from, to) in [("node", CLUSTER_IP), ("outside", NODE_PORT)] {
            let answers = world.ask_many(from, to, 20);
            let [home] = pods(&answers)[..] else { panic!("{from} wandered: {answers:?}") };
            // Other endpoints come and go: the client stays.
            let index = ["pod1", "pod2", "pod3"].iter().position(|pod| *pod == home).unwrap();
            let mut fewer = all.to_vec();
            fewer.remove((index + 1) % 3);
            world.apply("web", sticky, &fewer);
            assert_eq!(pods(&world.ask_many(from, to, 10)), [home]);
            world.apply("web", sticky, &all);
            assert_eq!(pods(&world.ask_many(from, to, 10)), [home]);
            // Its own goes: it settles elsewhere, at once.
            let others: Vec<&str> = all.iter().copied().filter(|a| *a != all[index]).collect();
            world.apply("web", sticky, &others);
            let answers = world.ask_many(from, to, 10);
            let [new_home] = pods(&answers)[..] else { panic!("{from} wandered: {answers:?}") };
            assert_ne!(new_home, home);
            // Its old endpoint's successor does not lure it away.
            world.apply("web", sticky, &all);
            assert_eq!(pods(&world.ask_many(from, to, 10)), [new_home]);
        }
        // After a second of silence the kernel forgets where the client was at home.
        let remembered = || {
            let words = ["list", "table", "inet", "kontiki"];
            let output = std::process::Command::new("nft").args(words).output().unwrap();
            String::from_utf8_lossy(&output.stdout).contains("expires")
        };
        assert!(remembered());
        let patience = Instant::now() + Duration::from_secs(5);
        while remembered() {
            assert!(Instant::now() < patience, "clients are remembered for ever");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

#[test]
fn a_udp_flow_moves_when_its_endpoint_goes() {
    inside("a_udp_flow_moves_when_its_endpoint_goes", || {
        let mut world = World::new();
        let dns = r#"{"clusterIPs": ["10.43.0.1"],
            "ports": [{"port": 80, "protocol": "UDP", "nodePort": 30080}]}"#;
        world.apply("dns", dns, &["10.42.0.3"]);
        for (from, to) in [("pod1", CLUSTER_IP), ("outside", NODE_PORT), ("node", CLUSTER_IP)] {
            world.apply("dns", dns, &["10.42.0.3"]);
            let flow = world.open_flow(from, to);
            assert_eq!(flow.ask().unwrap().pod, "pod2", "{from}");
            world.apply("dns", dns, &["10.42.0.4"]);
            // One and the same socket: only a forgotten flow can go elsewhere.
            assert_eq!(flow.ask().unwrap().pod, "pod3", "{from}");
            world.apply("dns", dns, &[]);
            assert!(flow.ask().is_err(), "{from}");
            world.apply("dns", dns, &["10.42.0.3"]);
            assert_eq!(flow.ask().unwrap().pod, "pod2", "{from}");
        }
    });
}

#[test]
fn connections_survive_every_change_of_the_rules() {
    inside("connections_survive_every_change_of_the_rules", || {
        let mut world = World::new();
        world.apply("web", WEB, &["10.42.0.3"]);
        let mut connections = [("pod1", CLUSTER_IP), ("outside", NODE_PORT)].map(|(from, to)| {
            let mut connection = world.connect(from, to).expect("an endpoint is there");
            assert_eq!(connection.ask().unwrap().pod, "pod2");
            connection
        });
        world.apply("web", WEB, &["10.42.0.4"]);
        world.restart();
        world.remove("web");
        for connection in &mut connections {
            assert_eq!(connection.ask().unwrap().pod, "pod2", "an open connection is finished");
        }
    });
}

#[test]
fn pods_leave_the_cluster_as_their_node() {
    inside("pods_leave_the_cluster_as_their_node", || {
        let mut world = World::new();
        world.apply("web", WEB, &["10.42.0.3"]);
        let answers = world.ask_many("pod1", "10.99.0.1:8080", 2);
        assert_eq!((pods(&answers), sources(&answers)), (vec!["outside"], vec!["10.99.0.11"]));
        let answers = world.ask_many("pod1", "10.99.0.11:8080", 2);
        assert_eq!((pods(&answers), sources(&answers)), (vec!["node"], vec!["10.42.0.2"]));
        let answers = world.ask_many("pod1", "10.42.0.3:8080", 2);
        assert_eq!(sources(&answers), ["10.42.0.2"]);
    });
}

#[test]
fn both_families_have_the_same_rules() {
    inside("both_families_have_the_same_rules", || {
        let mut world = World::new();
        let dual = r#"{"clusterIPs": ["fd43::1"], "ports": [{"port": 80, "nodePort": 30080}]}"#;
        world.apply("web", dual, &["fd42::3", "fd42::4"]);
        for (from, to) in [
            ("pod1", "[fd43::1]:80"),
            ("node", "[fd43::1]:80"),
            ("outside", "[fd43::1]:80"),
            ("outside", "[fd99::11]:30080"),
        ] {
            assert_eq!(pods(&world.ask_many(from, to, 30)), ["pod2", "pod3"], "{from} {to}");
        }
        world.apply("web", dual, &["fd42::2"]);
        assert_eq!(pods(&world.ask_many("pod1", "[fd43::1]:80", 3)), ["pod1"]);
        world.apply("web", dual, &[]);
        let error = world.ask("pod1", "[fd43::1]:80").expect_err("nobody is there");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn ten_thousand_services_change_one_at_a_time() {
    inside("ten_thousand_services_change_one_at_a_time", || {
        let mut world = World::new();
        let start = Instant::now();
        world.apply_many(10_000);
        let all = start.elapsed();
        let start = Instant::now();
        world.apply("web", WEB, &["10.42.0.3"]);
        let one = start.elapsed();
        tell(&format!("10,000 services in {all:?}, one more in {one:?}"));
        assert_eq!(pods(&world.ask_many("pod1", CLUSTER_IP, 3)), ["pod2"]);
    });
}
