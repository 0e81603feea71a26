//! Transactions, read as text, and tried on the real nft where there is one.

use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;
use crate::plan::Masquerade;

fn route(frontend: Frontend, endpoints: &[&str], affinity: Option<u64>) -> Route {
    let endpoints = endpoints.iter().map(|text| {
        let address = text.parse().expect("an address");
        Endpoint { address, port: 8080 }
    });
    let backend = match endpoints.len() {
        0 => Backend::Reject,
        _ => Backend::Endpoints {
            endpoints: endpoints.collect(),
            masquerade: Masquerade::OutsideCluster,
            affinity: affinity.map(Duration::from_secs),
        },
    };
    Route { frontend, audience: Audience::Everyone, backend }
}

fn address(last: u8, protocol: Protocol) -> Frontend {
    Frontend::Address { address: [10, 43, 0, last].into(), protocol, port: 80 }
}

fn web(endpoints: &[&str]) -> (ObjectKey, Vec<Route>) {
    let routes = vec![route(address(1, Protocol::Tcp), endpoints, None)];
    (ObjectKey::new("default", "web"), routes)
}

/// A table already in the kernel, with every chain that the tests need.
fn table() -> Table {
    let networks = Networks { pods: vec!["10.42.0.0/16".parse().expect("a range")] };
    let mut table = Table::new(networks);
    table.change([web(&["10.42.1.2", "10.42.1.3", "10.42.1.4"])], &[], &[]);
    table.change([web(&["10.42.1.2", "10.42.1.3"])], &[], &[]);
    table
}

fn check(table: &mut Table, services: Vec<(ObjectKey, Vec<Route>)>, expected: &Expect) {
    expected.assert_eq(&table.change(services, &[], &[]).text);
}

#[test]
fn only_what_differs_is_written() {
    let mut table = table();
    check(&mut table, vec![web(&["10.42.1.2", "10.42.1.3"])], &expect![""]);
    check(
        &mut table,
        vec![web(&["10.42.1.3", "10.42.1.4"])],
        &expect![[r#"
            delete element inet kontiki svc4_ep0 { 10.43.0.1 . tcp . 80 }
            add element inet kontiki svc4_ep0 { 10.43.0.1 . tcp . 80 : 10.42.1.4 . 8080 }
        "#]],
    );
    check(
        &mut table,
        vec![web(&["10.42.1.3", "10.42.1.4", "10.42.1.5"])],
        &expect![[r#"
            delete element inet kontiki svc4 { 10.43.0.1 . tcp . 80 }
            add element inet kontiki svc4 { 10.43.0.1 . tcp . 80 : goto svc4_o_3 }
            add element inet kontiki svc4_ep2 { 10.43.0.1 . tcp . 80 : 10.42.1.5 . 8080 }
        "#]],
    );
    check(
        &mut table,
        vec![web(&[])],
        &expect![[r#"
            delete element inet kontiki svc4 { 10.43.0.1 . tcp . 80 }
            delete element inet kontiki svc4_ep0 { 10.43.0.1 . tcp . 80 }
            delete element inet kontiki svc4_ep1 { 10.43.0.1 . tcp . 80 }
            delete element inet kontiki svc4_ep2 { 10.43.0.1 . tcp . 80 }
            add element inet kontiki svc4_refusal { 10.43.0.1 . tcp . 80 : goto refuse }
        "#]],
    );
    check(
        &mut table,
        vec![(ObjectKey::new("default", "web"), vec![])],
        &expect![[r#"
            delete element inet kontiki svc4_refusal { 10.43.0.1 . tcp . 80 }
        "#]],
    );
}

#[test]
fn a_new_count_of_endpoints_brings_its_chains() {
    let mut table = table();
    check(
        &mut table,
        vec![web(&["10.42.1.2"])],
        &expect![[r#"
            add chain inet kontiki svc4_o_1 {
              ip saddr != @pods4 fib saddr type != local meta mark set meta mark | 0x4000
              goto svc4_slot0
            }
            delete element inet kontiki svc4 { 10.43.0.1 . tcp . 80 }
            delete element inet kontiki svc4_ep1 { 10.43.0.1 . tcp . 80 }
            add element inet kontiki svc4 { 10.43.0.1 . tcp . 80 : goto svc4_o_1 }
        "#]],
    );
}

#[test]
fn a_sticky_service_keeps_its_slots() {
    let mut table = table();
    let sticky = |endpoints: &[&str]| {
        let routes = vec![route(address(9, Protocol::Tcp), endpoints, Some(30))];
        vec![(ObjectKey::new("default", "sticky"), routes)]
    };
    table.change(sticky(&["10.42.1.2", "10.42.1.3"]), &[], &[]);
    check(
        &mut table,
        sticky(&["10.42.1.3"]),
        &expect![[r#"
            delete element inet kontiki svc4_ep0 { 10.43.0.9 . tcp . 80 }
            delete element inet kontiki svc4_occupied0 { 10.43.0.9 . tcp . 80 }
        "#]],
    );
}

#[test]
fn an_external_address_claimed_twice_stays_with_its_first_owner() {
    let mut table = table();
    let claim = |name: &str, endpoints: &[&str]| {
        let frontend =
            Frontend::Address { address: [192, 0, 2, 1].into(), protocol: Protocol::Tcp, port: 80 };
        (ObjectKey::new("default", name), vec![route(frontend, endpoints, None)])
    };
    table.change([claim("first", &["10.42.1.2", "10.42.1.3"])], &[], &[]);
    check(&mut table, vec![claim("second", &["10.42.1.8", "10.42.1.9"])], &expect![""]);
    // Let go and claimed in one transaction, in whichever order they come.
    let gone = (ObjectKey::new("default", "first"), vec![]);
    check(
        &mut table,
        vec![claim("second", &["10.42.1.8", "10.42.1.3"]), gone],
        &expect![[r#"
            delete element inet kontiki svc4_ep0 { 192.0.2.1 . tcp . 80 }
            add element inet kontiki svc4_ep0 { 192.0.2.1 . tcp . 80 : 10.42.1.8 . 8080 }
        "#]],
    );
}

#[test]
fn udp_flows_to_lost_endpoints_are_named() {
    let mut table = table();
    let frontend = address(5, Protocol::Udp);
    let dns = |endpoints: &[&str]| {
        let key = ObjectKey::new("default", "dns");
        [(key, vec![route(frontend, endpoints, None)])]
    };
    let mut flows = |endpoints: &[&str]| -> Vec<Option<String>> {
        let stale = table.change(dns(endpoints), &[], &[]).stale_flows;
        stale.iter().map(|flow| flow.endpoint.map(|e| e.address.to_string())).collect()
    };
    assert_eq!(flows(&["10.42.1.2", "10.42.1.3"]), [None]);
    assert_eq!(flows(&["10.42.1.3", "10.42.1.4"]), [Some("10.42.1.2".to_owned())]);
    assert_eq!(flows(&[]).len(), 2);
}

#[test]
fn sets_of_addresses_follow_the_cluster() {
    let mut table = table();
    let (one, two) = ([10, 42, 1, 2].into(), [10, 42, 1, 3].into());
    let changes = table.change([], &[one], &[[10, 99, 0, 11].into()]);
    expect![[r#"
        add element inet kontiki hairpin4 { 10.42.1.2 . 10.42.1.2 }
        add element inet kontiki nodes4 { 10.99.0.11 }
    "#]]
    .assert_eq(&changes.text);
    let changes = table.change([], &[two], &[[10, 99, 0, 11].into()]);
    expect![[r#"
        delete element inet kontiki hairpin4 { 10.42.1.2 . 10.42.1.2 }
        add element inet kontiki hairpin4 { 10.42.1.3 . 10.42.1.3 }
    "#]]
    .assert_eq(&changes.text);
}
