//! What Endpoints say, and what is mirrored, as text.

use expect_test::{Expect, expect};
use serde_json::Value;

use super::{EndpointsController, mirror, plan};
use crate::{
    controller::{Controller, Keys},
    testing::{self, Fake, key},
    world::{Change, Delta, Kind, World},
};

/// The Endpoints of `web` once the plan is carried out, a line per subset.
fn check(world: &str, expected: &Expect) {
    let mut fake = Fake::new(world);
    let first = plan(&fake.world, &key("web"));
    fake.apply(first, |_| {});
    expected.assert_eq(&render(fake.get(Kind::Endpoints, &key("web")).expect("Endpoints")));
    let again = plan(&fake.world, &key("web"));
    assert!(again.is_idle(), "a second plan changes nothing: {}", testing::render(&again));
}

fn render(endpoints: &Value) -> String {
    let list = |value: &Value, field: &str| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.map(|item| item[field].to_string().replace('"', "")).collect()
    };
    let mut lines = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        lines.push(format!(
            "ready [{}] not [{}] ports [{}]",
            list(&subset["addresses"], "ip").join(" "),
            list(&subset["notReadyAddresses"], "ip").join(" "),
            list(&subset["ports"], "port").join(" ")
        ));
    }
    let labels = &endpoints["metadata"]["labels"];
    format!("{labels} {}\n{}", endpoints["metadata"]["annotations"], lines.join("\n"))
}

#[test]
fn pods_with_the_same_ports_stand_together() {
    check(
        "
        service web selector=app:web ports=http:80:web,admin:81:8081 labels=a:b
        pod web node=n1 ip=10.42.0.1 ready ports=web:8080
        pod web2 node=n1 ip=10.42.0.2 ready labels=app:web
        ",
        &expect![[r#"
            {"a":"b","endpoints.kubernetes.io/managed-by":"endpoint-controller"} null
            ready [10.42.0.1 10.42.0.2] not [] ports [8081]
            ready [10.42.0.1] not [] ports [8080]"#]],
    );
}

#[test]
fn pods_that_are_not_ready_are_listed_apart_and_those_that_go_not_at_all() {
    let world = |service: &str| {
        format!(
            "
            service web selector=app:web ports=http:80:8080 {service}
            pod web node=n1 ip=10.42.0.1 ready
            pod b node=n1 ip=10.42.0.2 owner=web-a
            pod c node=n1 ip=10.42.0.3 owner=web-a ready deleting
            pod d node=n1 ip=10.42.0.4 owner=web-a phase=Failed
            "
        )
    };
    check(
        &world(""),
        &expect![[r#"
            {"endpoints.kubernetes.io/managed-by":"endpoint-controller"} null
            ready [10.42.0.1] not [10.42.0.2] ports [8080]"#]],
    );
    check(
        &world("publish headless"),
        &expect![[r#"
            {"endpoints.kubernetes.io/managed-by":"endpoint-controller","service.kubernetes.io/headless":""} null
            ready [10.42.0.1 10.42.0.2 10.42.0.3] not [] ports [8080]"#]],
    );
}

#[test]
fn too_many_are_cut_and_the_ready_ones_stay() {
    let mut text = String::from("service web selector=app:web ports=http:80:8080\n");
    for number in 0..1002 {
        let ready = if number < 998 { "ready" } else { "" };
        text.push_str(&format!(
            "pod p{number} node=n1 ip=10.42.{}.{} owner=web-a {ready}\n",
            number / 250,
            number % 250
        ));
    }
    let mut fake = Fake::new(&text);
    let first = plan(&fake.world, &key("web"));
    fake.apply(first, |_| {});
    let found = fake.get(Kind::Endpoints, &key("web")).unwrap();
    let subset = &found["subsets"][0];
    assert_eq!(subset["addresses"].as_array().unwrap().len(), 998);
    assert_eq!(subset["notReadyAddresses"].as_array().unwrap().len(), 2);
    assert_eq!(
        found["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"],
        "truncated"
    );
}

#[test]
fn endpoints_go_with_their_service_whoever_wrote_them() {
    for endpoints in [
        "Endpoints web",
        "Endpoints web labels=endpoints.kubernetes.io/managed-by:endpoint-controller",
    ] {
        testing::check(
            &plan(&testing::world(endpoints), &key("web")),
            &expect![[r#"
                delete Endpoints web
                because the Service is gone"#]],
        );
    }
    testing::check(
        &plan(&testing::world("service web ports=http:80:8080"), &key("web")),
        &expect!["because the Service has no selector"],
    );
}

#[test]
fn what_people_write_waits_for_its_service() {
    let mut world = testing::world("Endpoints web\nEndpoints other");
    let woken = |world: &World| {
        let endpoints = world.endpoints.get(&key("web")).unwrap().clone();
        let mut keys = Keys::new();
        let change = Change::Endpoints(Delta { old: None, new: Some(&*endpoints) });
        EndpointsController.wake(world, &change, &mut keys);
        keys.len()
    };
    assert_eq!(woken(&world), 0);
    world = testing::world("Endpoints web\nservice web ports=http:80:8080");
    assert_eq!(woken(&world), 1);
    let lock = r#"Endpoints lock {"metadata": {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}}"#;
    let mut keys = Keys::new();
    EndpointsController.all(&testing::world(&format!("Endpoints web\n{lock}")), &mut keys);
    assert_eq!(keys, Keys::from([key("web")]));
}

const HAND_MADE: &str = r#"Endpoints web {"subsets": [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]}"#;

#[test]
fn endpoints_of_services_without_selector_are_mirrored() {
    let mut fake = Fake::new(&format!("service web ports=http:80:80\n{HAND_MADE}"));
    let first = mirror::plan(&fake.world, &key("web"));
    fake.apply(first, |_| {});
    let mut lines: Vec<String> = Vec::new();
    for slice in fake.list(Kind::EndpointSlice) {
        let endpoints = slice["endpoints"].as_array().unwrap();
        let addresses = endpoints.iter().map(|one| {
            format!("{} {}", one["addresses"][0], one["conditions"]["ready"]).replace('"', "")
        });
        lines.push(format!(
            "{} {} {} {}",
            slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
            slice["addressType"],
            slice["ports"][0]["port"],
            addresses.collect::<Vec<_>>().join(", ")
        ));
    }
    expect![[r#"
        "endpointslicemirroring-controller.k8s.io" "IPv4" 80 192.0.2.1 true, 192.0.2.2 false
        "endpointslicemirroring-controller.k8s.io" "IPv6" 80 2001:db8::1 true"#]]
    .assert_eq(&lines.join("\n"));
    assert!(mirror::plan(&fake.world, &key("web")).is_idle());
    fake.remove(Kind::Endpoints, &key("web"));
    let last = mirror::plan(&fake.world, &key("web"));
    fake.apply(last, |_| {});
    assert!(fake.list(Kind::EndpointSlice).is_empty());
}

#[test]
fn others_are_not_mirrored() {
    let check = |world: &str| {
        let plan = mirror::plan(&testing::world(world), &key("web"));
        testing::check(&plan, &expect!["because there is nothing to mirror"]);
    };
    check(HAND_MADE);
    check(&format!("service web selector=app:web ports=http:80:80\n{HAND_MADE}"));
    let skips =
        HAND_MADE.replace("web {", "web labels=endpointslice.kubernetes.io/skip-mirror:true {");
    check(&format!("service web ports=http:80:80\n{skips}"));
}
