//! Addresses and ranges, as text.

use expect_test::{Expect, expect};

use super::{AddressController, ranges};
use crate::{
    controller::Controller,
    testing::{self, Fake, context, key, now},
    world::{Key, Kind},
};

const SERVICE: &str =
    r#"service web ports=http:80:8080 {"spec": {"clusterIPs": ["10.43.0.7", "fd00::7"]}}"#;

fn address(name: &str, service: &str) -> String {
    format!(
        r#"IPAddress {name} labels=ipaddress.kubernetes.io/managed-by:ipallocator.k8s.io {{"spec": {{"parentRef": {{"resource": "services", "namespace": "default", "name": "{service}"}}}}}}"#
    )
}

fn check(world: &str, key: &Key, expected: &Expect) {
    testing::check(&AddressController.plan(&testing::world(world), key, context()), expected);
}

#[test]
fn every_address_of_a_service_is_an_object() {
    let mut fake = Fake::new(SERVICE);
    let first = AddressController.plan(&fake.world, &key("web"), context());
    fake.apply(first, |_| {});
    let found = fake.list(Kind::IPAddress);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"], "IPv4");
    assert_eq!(found[1]["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"], "IPv6");
    assert_eq!(found[0]["spec"]["parentRef"]["name"], "web");
    assert!(AddressController.plan(&fake.world, &key("web"), context()).is_idle());
    let kept = AddressController.plan(&fake.world, &Key::new("", "10.43.0.7"), context());
    testing::check(&kept, &expect!["because its Service has it"]);
    fake.remove(Kind::Service, &key("web"));
    let gone = AddressController.plan(&fake.world, &Key::new("", "10.43.0.7"), context());
    testing::check(&gone, &expect!["delete IPAddress 10.43.0.7"]);
}

#[test]
fn an_address_that_names_another_service_is_waited_for() {
    let world =
        format!("{SERVICE}\n{}\n{}", address("10.43.0.7", "old"), address("fd00::7", "web"));
    check(
        &world,
        &key("web"),
        &expect![[r#"
            because 10.43.0.7 still names default/old
            recheck after 1 s"#]],
    );
    check(&world, &Key::new("", "10.43.0.7"), &expect!["delete IPAddress 10.43.0.7"]);
}

#[test]
fn addresses_of_others_are_theirs() {
    check(
        r#"IPAddress 10.43.0.9 {"spec": {"parentRef": {"resource": "gateways", "name": "g"}}}"#,
        &Key::new("", "10.43.0.9"),
        &expect!["because it is somebody else's"],
    );
}

fn range(world: &str, expected: &Expect) {
    let plan = ranges::plan(&testing::world(world), &Key::new("", "r"), now());
    testing::check(&plan, expected);
}

#[test]
fn a_new_range_is_held_and_then_ready() {
    range(
        r#"ServiceCIDR r {"spec": {"cidrs": ["10.44.0.0/24"]}}"#,
        &expect![
            "patch ServiceCIDR r {metadata:{finalizers:[networking.k8s.io/service-cidr-finalizer]}}"
        ],
    );
    range(
        r#"ServiceCIDR r finalizers=networking.k8s.io/service-cidr-finalizer {"spec": {"cidrs": ["10.44.0.0/24"]}}"#,
        &expect![
            "status ServiceCIDR r {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:20Z message:Kubernetes Service CIDR is ready reason: status:True type:Ready}]}}"
        ],
    );
}

#[test]
fn a_range_goes_when_no_address_is_left_alone() {
    let leaving = r#"ServiceCIDR r finalizers=networking.k8s.io/service-cidr-finalizer {"metadata": {}, "spec": {"cidrs": ["10.44.0.0/24"]}}"#;
    let leaving = leaving.replace("r finalizers", "r deleting finalizers");
    range(
        &format!("{leaving}\n{}", address("10.44.0.7", "web")),
        &expect![[r#"
            status ServiceCIDR r {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:20Z message:There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR reason:Terminating status:False type:Ready}]}}
            because addresses come from it"#]],
    );
    let other = r#"ServiceCIDR other {"spec": {"cidrs": ["10.44.0.0/16"]}}"#;
    range(
        &format!("{leaving}\n{other}\n{}", address("10.44.0.7", "web")),
        &expect![[r#"
            because not everybody may have heard that it goes
            recheck after 9 s"#]],
    );
    let mut fake = Fake::new(&leaving);
    let mut object = fake.get(Kind::ServiceCIDR, &Key::new("", "r")).unwrap().clone();
    object["metadata"]["deletionTimestamp"] = testing::age(11);
    fake.put(Kind::ServiceCIDR, object);
    let plan = ranges::plan(&fake.world, &Key::new("", "r"), now());
    testing::check(&plan, &expect!["patch ServiceCIDR r {metadata:{finalizers:[]}}"]);
}
