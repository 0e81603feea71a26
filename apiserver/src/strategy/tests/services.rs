//! Services: what they are given, keep and give back, and what is wrong with them.

use std::ops::RangeInclusive;

use super::*;
use crate::registry::{Allocator, Context};

struct Pool(Vec<ipnet::IpNet>);
impl Allocator for Pool {
    fn service_cidrs(&self) -> &[ipnet::IpNet] {
        &self.0
    }
    fn node_ports(&self) -> RangeInclusive<u16> {
        30000..=30003
    }
    fn is_taken(&self, claim: &str) -> bool {
        matches!(claim, "nodeports/30000" | "nodeports/30001" | "clusterips/10.43.0.17")
    }
    fn random_below(&self, _: u64) -> u64 {
        0
    }
}

fn pool() -> Pool {
    Pool(vec!["10.43.0.0/24".parse().expect("a range")])
}

fn service(spec: &Value) -> Value {
    json!({"metadata": {"name": "a"}, "spec": spec})
}

/// An update by the rules, up to where ports are handed out.
fn updated(old: &Value, spec: &Value) -> Value {
    let (strategy, mut new) = prepared("services", service(spec));
    let user = crate::user::UserInfo::new("u", &[]);
    let context = Context { now: jiff::Timestamp::UNIX_EPOCH, user: &user };
    strategy.prepare_for_update(&mut new, old, &context);
    strategy.allocate(&mut new, Some(old), &pool()).expect("there is room");
    new
}

#[test]
fn services_are_given_addresses_and_ports_and_keep_them() {
    let pool = pool();
    let spec = json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]});
    let (strategy, mut first) = prepared("services", service(&spec));
    strategy.allocate(&mut first, None, &pool).expect("there is room");
    assert_eq!(first["spec"]["clusterIPs"], json!(["10.43.0.18"]));
    assert_eq!(first["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(first["spec"]["ports"][0]["nodePort"], 30002);
    assert_eq!(first["spec"]["ports"][1]["nodePort"], 30003);
    let keys: Vec<String> = strategy.claims(&first).into_iter().map(|claim| claim.key).collect();
    assert_eq!(keys, ["clusterips/10.43.0.18", "nodeports/30002", "nodeports/30003"]);
    assert!(strategy.validate(&first).is_empty());

    // An update that leaves everything out keeps everything.
    let spec = json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}]});
    let (_, mut update) = prepared("services", service(&spec));
    let user = crate::user::UserInfo::new("u", &[]);
    let context = Context { now: jiff::Timestamp::UNIX_EPOCH, user: &user };
    strategy.prepare_for_update(&mut update, &first, &context);
    strategy.allocate(&mut update, Some(&first), &pool).expect("nothing new");
    assert_eq!(update["spec"]["clusterIP"], "10.43.0.18");
    assert_eq!(update["spec"]["ports"][0]["nodePort"], 30002);

    // A type without node ports gives them back.
    let spec = json!({"ports": [{"name": "a", "port": 80, "nodePort": 30002}]});
    let (_, mut plain) = prepared("services", service(&spec));
    strategy.prepare_for_update(&mut plain, &first, &context);
    assert!(plain["spec"]["ports"][0].get("nodePort").is_none());

    // A named address that is taken is refused.
    let spec = json!({"clusterIP": "10.43.0.17", "ports": [{"port": 80}]});
    let (_, mut taken) = prepared("services", service(&spec));
    let refused = strategy.allocate(&mut taken, None, &pool).expect_err("it is taken");
    assert_eq!(
        refused.aggregate(),
        "spec.clusterIPs: Invalid value: [\"10.43.0.17\"]: failed to allocate IP 10.43.0.17: provided IP is already allocated"
    );
}

#[test]
fn services_say_what_is_wrong() {
    check("services", service(&json!({})), "spec.ports: Required value");
    check(
        "services",
        service(&json!({"ports": [{"port": 80, "nodePort": 30000}, {"name": "x", "port": 80}]})),
        "[spec.ports[0].name: Required value, \
         spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP', \
         spec.ports[1]: Duplicate value: {\"protocol\":\"TCP\",\"port\":80}]",
    );
    check(
        "services",
        service(&json!({"type": "Fancy", "sessionAffinity": "Glue", "ports": [{"port": 80}]})),
        "[spec.type: Unsupported value: \"Fancy\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\", \
         spec.sessionAffinity: Unsupported value: \"Glue\": supported values: \"ClientIP\", \"None\"]",
    );
    check_update(
        "services",
        service(&json!({"clusterIP": "10.43.0.5", "ports": [{"port": 80}]})),
        service(&json!({"clusterIP": "10.43.0.6", "ports": [{"port": 80}]})),
        "spec.clusterIPs[0]: Invalid value: [\"10.43.0.6\"]: may not change once set",
    );
}

#[test]
fn nodes_tell_load_balancers_of_local_endpoints_at_a_port_of_its_own() {
    let local = |port: Value| {
        json!({
            "type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": port, "ports": [{"port": 80}],
        })
    };
    let (strategy, mut first) = prepared("services", service(&local(json!(null))));
    strategy.allocate(&mut first, None, &pool()).expect("there is room");
    assert_eq!(first["spec"]["ports"][0]["nodePort"], 30002);
    assert_eq!(first["spec"]["healthCheckNodePort"], 30003);
    assert!(strategy.claims(&first).iter().any(|claim| claim.key == "nodeports/30003"));
    assert!(strategy.validate(&first).is_empty());
    // Kept, given back with the policy, and taken again by name.
    assert_eq!(updated(&first, &local(json!(null)))["spec"]["healthCheckNodePort"], 30003);
    let spec =
        json!({"type": "LoadBalancer", "healthCheckNodePort": 30003, "ports": [{"port": 80}]});
    let plain = updated(&first, &spec);
    assert!(plain["spec"].get("healthCheckNodePort").is_none(), "{plain}");
    assert_eq!(updated(&plain, &local(json!(30003)))["spec"]["healthCheckNodePort"], 30003);
    for (port, expected) in [
        (30001, "provided port is already allocated"),
        (1, "provided port is not in the valid range. The range of valid ports is 30000-30003"),
    ] {
        let (_, mut refused) = prepared("services", service(&local(json!(port))));
        let errors = strategy.allocate(&mut refused, None, &pool()).expect_err("it is refused");
        let expected = format!("spec.healthCheckNodePort: Invalid value: {port}: {expected}");
        assert_eq!(errors.aggregate(), expected);
    }
    check_update(
        "services",
        service(&local(json!(30003))),
        service(&local(json!(30002))),
        "spec.healthCheckNodePort: Forbidden: field is immutable",
    );
}

#[test]
fn what_only_load_balancers_have() {
    check(
        "services",
        service(&json!({
            "loadBalancerClass": "example.com/c", "healthCheckNodePort": 30001,
            "allocateLoadBalancerNodePorts": false, "loadBalancerSourceRanges": ["10.0.0.0"],
            "ports": [{"port": 80}],
        })),
        "[spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local', \
         spec.loadBalancerClass: Forbidden: may only be used when `spec.type` is 'LoadBalancer', \
         spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `spec.type` is 'LoadBalancer', \
         spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer', \
         spec.LoadBalancerSourceRanges[0]: Invalid value: \"10.0.0.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)]",
    );
    let class = |class: &str| {
        service(&json!({
            "type": "LoadBalancer", "loadBalancerClass": class, "ports": [{"port": 80}],
            "loadBalancerSourceRanges": [" 10.0.0.0/8 "],
        }))
    };
    check("services", class("example.com/c"), "");
    check_update(
        "services",
        class("example.com/c"),
        class("example.com/d"),
        "spec.loadBalancerClass: Invalid value: \"example.com/d\": may not change once set",
    );
    // Who gives addresses from outside to an inner Service may choose a policy for them.
    let (_, outside) = prepared(
        "services",
        service(&json!({"externalIPs": ["192.0.2.1"], "ports": [{"port": 80}]})),
    );
    assert_eq!(outside["spec"]["externalTrafficPolicy"], "Cluster");
}

#[test]
fn load_balancers_say_where_they_are_reached() {
    let check = |kind: &str, ingress: Value, expected: &str| {
        let mut object = service(&json!({"type": kind, "ports": [{"port": 80}]}));
        object["status"] = json!({"loadBalancer": {"ingress": [ingress]}});
        let (strategy, object) = prepared("services", object);
        let errors = strategy.validate_status_update(&object, &object);
        let found = if errors.is_empty() { String::new() } else { errors.aggregate() };
        assert_eq!(found.replace("status.loadBalancer.", ""), expected);
    };
    check("LoadBalancer", json!({"ip": "192.0.2.1"}), "");
    check("LoadBalancer", json!({"hostname": "a.example.com"}), "");
    check(
        "ClusterIP",
        json!({"ip": "192.0.2.1", "ipMode": "VIP"}),
        "ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'",
    );
    check(
        "LoadBalancer",
        json!({"hostname": "192.0.2.1", "ipMode": "VIP"}),
        "[ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set, \
         ingress[0].hostname: Invalid value: \"192.0.2.1\": must be a DNS name, not an IP address]",
    );
    check(
        "LoadBalancer",
        json!({"ip": "192.0.2.1", "ipMode": "Tunnel"}),
        "ingress[0].ipMode: Unsupported value: \"Tunnel\": supported values: \"Proxy\", \"VIP\"",
    );
}
