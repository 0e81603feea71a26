//! What endpoints Services get, as text.

use expect_test::{Expect, expect};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::{ENDPOINTS_MAX, EndpointSliceController, plan};
use crate::{
    controller::Controller,
    testing::{self, Fake, context, key},
    world::Kind,
};

/// The slices there are once the plan is carried out, one endpoint per line.
fn check(world: &str, expected: &Expect) {
    let mut fake = Fake::new(world);
    let plan = plan(&fake.world, &key("web"), context());
    fake.apply(plan, |_| {});
    expected.assert_eq(&render(&fake));
    let again = EndpointSliceController.plan(&fake.world, &key("web"), context());
    assert!(again.is_idle(), "a second plan changes nothing: {}", testing::render(&again));
}

fn render(fake: &Fake) -> String {
    let mut lines = Vec::new();
    for slice in fake.list(Kind::EndpointSlice) {
        let name = slice["metadata"]["name"].as_str().unwrap();
        let ports: Vec<String> = slice["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|port| format!("{}:{}", port["name"].as_str().unwrap(), port["port"]))
            .collect();
        lines.push(format!("{name} {}", ports.join(",")));
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            lines.push(format!("  {}", endpoint_line(endpoint)));
        }
    }
    lines.join("\n")
}

fn endpoint_line(endpoint: &Value) -> String {
    let mut words = vec![
        endpoint["targetRef"]["name"].as_str().unwrap().to_owned(),
        endpoint["addresses"][0].as_str().unwrap().to_owned(),
    ];
    for condition in ["ready", "serving", "terminating"] {
        if endpoint["conditions"][condition] == true {
            words.push(condition.to_owned());
        }
    }
    for field in ["nodeName", "zone"] {
        words.extend(endpoint[field].as_str().map(str::to_owned));
    }
    words.join(" ")
}

#[test]
fn ready_pods_become_endpoints_with_node_and_zone() {
    check(
        "
        node n1 ready zone=east
        service web selector=app:a ports=http:80:8080
        pod a node=n1 ip=10.42.0.1 ready
        pod b node=n1 ip=10.42.0.2 ready labels=app:a
        ",
        &expect![[r#"
            web-104 http:8080
              a 10.42.0.1 ready serving n1 east
              b 10.42.0.2 ready serving n1 east"#]],
    );
}

#[test]
fn a_pod_leaves_rotation_when_its_deletion_begins() {
    check(
        "
        service web selector=app:a ports=http:80:8080
        pod a node=n1 ip=10.42.0.1 ready deleting
        ",
        &expect![[r#"
            web-102 http:8080
              a 10.42.0.1 serving terminating n1"#]],
    );
}

#[test]
fn pods_without_address_or_with_an_end_are_left_out() {
    check(
        "
        service web selector=app:a ports=http:80:8080
        pod a node=n1 ready
        ",
        &expect!["web-102 "],
    );
    check(
        "
        service web selector=app:a ports=http:80:8080
        pod a node=n1 ip=10.42.0.1 phase=Succeeded
        ",
        &expect!["web-102 "],
    );
}

#[test]
fn not_ready_pods_are_listed_and_published_only_if_asked() {
    check(
        "
        service web selector=app:a ports=http:80:8080
        pod a node=n1 ip=10.42.0.1
        ",
        &expect![[r#"
            web-102 http:8080
              a 10.42.0.1 n1"#]],
    );
    check(
        "
        service web selector=app:a ports=http:80:8080 publish headless
        pod a node=n1 ip=10.42.0.1
        ",
        &expect![[r#"
            web-102 http:8080
              a 10.42.0.1 ready n1"#]],
    );
}

#[test]
fn named_ports_resolve_per_pod_and_split_slices() {
    let mut fake = Fake::new(
        "
        service web selector=tier:front ports=http:80:web
        pod a node=n1 ip=10.42.0.1 ready ports=web:8080
        pod b node=n1 ip=10.42.0.2 ready ports=web:9090
        pod c node=n1 ip=10.42.0.3 ready
        ",
    );
    for mut pod in fake.list(Kind::Pod) {
        pod["metadata"]["labels"] = serde_json::json!({"tier": "front"});
        fake.put(Kind::Pod, pod);
    }
    let plan = plan(&fake.world, &key("web"), context());
    fake.apply(plan, |_| {});
    expect![[r#"
        web-107 http:8080
          a 10.42.0.1 ready serving n1
        web-108 http:9090
          b 10.42.0.2 ready serving n1
        web-109 
          c 10.42.0.3 ready serving n1"#]]
    .assert_eq(&render(&fake));
}

#[test]
fn a_changed_endpoint_is_changed_in_its_slice() {
    let mut fake = Fake::new(
        "
        service web selector=app:a ports=http:80:8080
        pod a node=n1 ip=10.42.0.1 ready
        ",
    );
    let first = plan(&fake.world, &key("web"), context());
    fake.apply(first, |_| {});
    let mut pod = fake.get(Kind::Pod, &key("a")).unwrap().clone();
    pod["status"]["conditions"][0]["status"] = "False".into();
    fake.put(Kind::Pod, pod);
    testing::check(
        &plan(&fake.world, &key("web"), context()),
        &expect![
            "patch EndpointSlice web-102 {endpoints:[{addresses:[10.42.0.1] conditions:{ready:false serving:false terminating:false} nodeName:n1 targetRef:{kind:Pod name:a namespace:default uid:Pod/a}}]}"
        ],
    );
    fake.remove(Kind::Pod, &key("a"));
    testing::check(
        &plan(&fake.world, &key("web"), context()),
        &expect!["patch EndpointSlice web-102 {endpoints:[]}"],
    );
}

#[test]
fn a_service_that_is_gone_takes_its_slices_along() {
    testing::check(
        &plan(&testing::world("slice web-1 service=web endpoints=a"), &key("web"), context()),
        &expect![[r#"
            delete EndpointSlice web-1
            because the Service is gone"#]],
    );
}

#[test]
fn many_endpoints_fill_slices_and_stay_where_they_are() {
    let mut fake = Fake::new("service web selector=app:web ports=http:80:8080");
    let add = |fake: &mut Fake, from: usize, to: usize| {
        let template = Fake::new("pod web node=n1 ip=10.42.0.1 ready");
        let pod = template.get(Kind::Pod, &key("web")).unwrap().clone();
        for number in from..to {
            let mut pod = pod.clone();
            pod["metadata"]["name"] = format!("web-{number}").into();
            pod["metadata"]["uid"] = format!("Pod/web-{number}").into();
            pod["status"]["podIP"] = format!("10.42.{}.{}", number / 250, number % 250).into();
            pod["status"]["podIPs"] = Value::Null;
            fake.put(Kind::Pod, pod);
        }
    };
    let step = |fake: &mut Fake| {
        let plan = plan(&fake.world, &key("web"), context());
        let writes = plan.actions().count();
        fake.apply(plan, |_| {});
        let sizes: Vec<usize> = fake
            .list(Kind::EndpointSlice)
            .iter()
            .map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len))
            .collect();
        assert!(sizes.iter().all(|size| *size <= ENDPOINTS_MAX));
        (writes, sizes.iter().sum::<usize>(), sizes.len())
    };
    assert_eq!(step(&mut fake), (1, 0, 1), "a Service without endpoints has one empty slice");
    add(&mut fake, 0, 250);
    assert_eq!(step(&mut fake), (3, 250, 3));
    add(&mut fake, 250, 260);
    assert_eq!(step(&mut fake), (1, 260, 3), "one slice has room for all of them");
    for number in 0..200 {
        fake.remove(Kind::Pod, &key(&format!("web-{number}")));
    }
    let (_, endpoints, slices) = step(&mut fake);
    assert_eq!(endpoints, 60);
    assert!(slices <= 3);
    assert_eq!(step(&mut fake).0, 0);
}

/// Whatever pods do, one plan makes the slices say so: every pod with an address is in exactly
/// one place, and on the way no pod that stays ready is missing.
#[test]
fn slices_follow_any_churn_of_pods() {
    let mut random = StdRng::seed_from_u64(7);
    let mut fake = Fake::new(
        "
        node n1 ready zone=east
        service web selector=app:web ports=http:80:8080
        ",
    );
    for _ in 0..15 {
        let before = listed(&fake);
        for _ in 0..random.random_range(1..60) {
            churn(&mut fake, random.random_range(0..300), random.random_range(0..4));
        }
        let wanted: Vec<String> = fake
            .list(Kind::Pod)
            .iter()
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        let stay: Vec<String> =
            before.into_iter().filter(|name| wanted.binary_search(name).is_ok()).collect();
        let plan = plan(&fake.world, &key("web"), context());
        fake.apply(plan, |fake| {
            let now = listed(fake);
            assert!(stay.iter().all(|name| now.contains(name)), "nobody who stays is missing");
        });
        let mut now = listed(&fake);
        now.sort();
        let mut wanted = wanted;
        wanted.sort();
        assert_eq!(now, wanted);
    }
}

/// Names of the pods in all slices.
fn listed(fake: &Fake) -> Vec<String> {
    fake.list(Kind::EndpointSlice)
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
        .map(|endpoint| endpoint["targetRef"]["name"].as_str().unwrap().to_owned())
        .collect()
}

fn churn(fake: &mut Fake, number: usize, what: u8) {
    let key = key(&format!("web-{number:03}"));
    match (fake.get(Kind::Pod, &key).cloned(), what) {
        (None, _) => {
            let mut pod = Fake::new("pod web node=n1 ready").list(Kind::Pod).remove(0);
            pod["metadata"]["name"] = json!(key.name);
            pod["metadata"]["uid"] = json!(key.name);
            pod["status"]["podIP"] = json!(format!("10.42.{}.{}", number / 250, number % 250));
            fake.put(Kind::Pod, pod);
        }
        (Some(_), 0) => fake.remove(Kind::Pod, &key),
        (Some(mut pod), 1) => {
            pod["metadata"]["deletionTimestamp"] = testing::age(0);
            fake.put(Kind::Pod, pod);
        }
        (Some(mut pod), _) => {
            pod["status"]["conditions"][0]["status"] = "False".into();
            fake.put(Kind::Pod, pod);
        }
    }
}
