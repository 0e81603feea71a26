//! Tables of services and what they mean on node `n1`.

use std::sync::Arc;

use kontiki_api::typed::Object;

use super::*;

/// A service in one line of words: `ip=… port=… target=… nodeport=… etp=Local itp=Local sticky=…`.
fn service(words: &str) -> Service {
    let mut value = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "web"},
        "spec": {"clusterIPs": [], "ports": [{"port": 80}]}, "status": {"loadBalancer": {}},
    });
    for (name, text) in words.split_whitespace().filter_map(|word| word.split_once('=')) {
        let spec = &mut value["spec"];
        let number = || serde_json::json!(text.parse::<i32>().expect("a number"));
        match name {
            "ip" => spec["clusterIPs"] = text.split(',').collect(),
            "proto" => spec["ports"][0]["protocol"] = text.into(),
            "name" => spec["ports"][0]["name"] = text.into(),
            "port" => spec["ports"][0]["port"] = number(),
            "nodeport" => spec["ports"][0]["nodePort"] = number(),
            "etp" => spec["externalTrafficPolicy"] = text.into(),
            "itp" => spec["internalTrafficPolicy"] = text.into(),
            "external" => spec["externalIPs"] = [text].into_iter().collect(),
            "ranges" => spec["loadBalancerSourceRanges"] = [text].into_iter().collect(),
            "lb" => {
                value["status"]["loadBalancer"]["ingress"] = serde_json::json!([{ "ip": text }]);
            }
            "type" => spec["type"] = text.into(),
            "sticky" => {
                spec["sessionAffinity"] = "ClientIP".into();
                spec["sessionAffinityConfig"] =
                    serde_json::json!({"clientIP": {"timeoutSeconds": number()}});
            }
            "label" => value["metadata"]["labels"] = serde_json::json!({ text: "other" }),
            other => panic!("{other}?"),
        }
    }
    Service::from_value(value).expect("a Service")
}

/// Endpoints as `address@node` with `!` not ready, `~` terminating but serving, all on one port.
fn slices(words: &str) -> Vec<Arc<EndpointSlice>> {
    let endpoint = |word: &str| {
        let plain = word.trim_end_matches(['!', '~']);
        let (address, node) = plain.split_once('@').expect("address@node");
        let conditions = match word.chars().last() {
            Some('!') => serde_json::json!({"ready": false, "serving": false}),
            Some('~') => serde_json::json!({"ready": false, "serving": true, "terminating": true}),
            _ => serde_json::json!({"ready": true}),
        };
        serde_json::json!({"addresses": [address], "nodeName": node, "conditions": conditions})
    };
    let slice = |family: &str, words: Vec<&str>| {
        let value = serde_json::json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {},
            "addressType": family, "ports": [{"name": "", "port": 8080}],
            "endpoints": words.into_iter().map(endpoint).collect::<Vec<_>>(),
        });
        Arc::new(EndpointSlice::from_value(value).expect("an EndpointSlice"))
    };
    let (v6, v4): (Vec<_>, Vec<_>) = words.split_whitespace().partition(|w| w.contains("::"));
    vec![slice("IPv4", v4), slice("IPv6", v6)]
}

/// Routes as text: `[cluster: ]frontend -> backend`.
fn text(routes: &[Route]) -> Vec<String> {
    let route = |route: &Route| {
        let frontend = match route.frontend {
            Frontend::Address { address, protocol, port } => {
                format!("{address} {} {port}", protocol.name())
            }
            Frontend::NodePort { family, protocol, port } => {
                format!("node {family:?} {} {port}", protocol.name())
            }
        };
        let backend = match &route.backend {
            Backend::Reject => "reject".to_owned(),
            Backend::Drop => "drop".to_owned(),
            Backend::Endpoints { endpoints, masquerade, affinity } => {
                let addresses: Vec<_> =
                    endpoints.iter().map(|e| format!("{}:{}", e.address, e.port)).collect();
                let sticky =
                    affinity.map(|timeout| format!(" sticky {timeout:?}")).unwrap_or_default();
                format!("{} masquerade {masquerade:?}{sticky}", addresses.join(","))
            }
        };
        let audience = if route.audience == Audience::Cluster { "cluster: " } else { "" };
        format!("{audience}{frontend} -> {backend}")
    };
    routes.iter().map(route).collect()
}

/// Service, endpoints, routes.
const ROWS: &[(&str, &str, &[&str])] = &[
    (
        "ip=10.43.0.1",
        "10.42.1.2@n1 10.42.2.2@n2",
        &["10.43.0.1 tcp 80 -> 10.42.1.2:8080,10.42.2.2:8080 masquerade OutsideCluster"],
    ),
    (
        "ip=10.43.0.1 proto=UDP port=53",
        "10.42.1.2@n1",
        &["10.43.0.1 udp 53 -> 10.42.1.2:8080 masquerade OutsideCluster"],
    ),
    ("ip=10.43.0.1", "", &["10.43.0.1 tcp 80 -> reject"]),
    ("ip=10.43.0.1", "10.42.1.2@n1!", &["10.43.0.1 tcp 80 -> reject"]),
    // Terminating endpoints only when there is nothing better.
    (
        "ip=10.43.0.1",
        "10.42.1.2@n1~ 10.42.1.3@n1!",
        &["10.43.0.1 tcp 80 -> 10.42.1.2:8080 masquerade OutsideCluster"],
    ),
    (
        "ip=10.43.0.1",
        "10.42.1.2@n1~ 10.42.1.3@n1",
        &["10.43.0.1 tcp 80 -> 10.42.1.3:8080 masquerade OutsideCluster"],
    ),
    (
        "ip=10.43.0.1 nodeport=30080",
        "10.42.1.2@n1",
        &[
            "10.43.0.1 tcp 80 -> 10.42.1.2:8080 masquerade OutsideCluster",
            "node V4 tcp 30080 -> 10.42.1.2:8080 masquerade Always",
        ],
    ),
    (
        "ip=10.43.0.1 nodeport=30080 etp=Local",
        "10.42.1.2@n1 10.42.2.2@n2",
        &[
            "10.43.0.1 tcp 80 -> 10.42.1.2:8080,10.42.2.2:8080 masquerade OutsideCluster",
            "node V4 tcp 30080 -> 10.42.1.2:8080 masquerade Never",
            "cluster: node V4 tcp 30080 -> 10.42.1.2:8080,10.42.2.2:8080 masquerade Never",
        ],
    ),
    // No local endpoint: silence for outsiders, but nobody at all is refused.
    (
        "ip=10.43.0.1 nodeport=30080 etp=Local",
        "10.42.2.2@n2",
        &[
            "10.43.0.1 tcp 80 -> 10.42.2.2:8080 masquerade OutsideCluster",
            "node V4 tcp 30080 -> drop",
            "cluster: node V4 tcp 30080 -> 10.42.2.2:8080 masquerade Never",
        ],
    ),
    ("ip=10.43.0.1 itp=Local", "10.42.2.2@n2", &["10.43.0.1 tcp 80 -> drop"]),
    (
        "ip=10.43.0.1 sticky=30",
        "10.42.2.2@n2",
        &["10.43.0.1 tcp 80 -> 10.42.2.2:8080 masquerade OutsideCluster sticky 30s"],
    ),
    (
        "ip=10.43.0.1 external=192.0.2.7 lb=192.0.2.8",
        "10.42.2.2@n2",
        &[
            "10.43.0.1 tcp 80 -> 10.42.2.2:8080 masquerade OutsideCluster",
            "192.0.2.7 tcp 80 -> 10.42.2.2:8080 masquerade Always",
            "192.0.2.8 tcp 80 -> 10.42.2.2:8080 masquerade Always",
        ],
    ),
    ("ip=10.43.0.1 lb=192.0.2.8 ranges=10.0.0.0/8", "", &["10.43.0.1 tcp 80 -> reject"]),
    (
        "ip=10.43.0.1,fd43::1 nodeport=30080",
        "10.42.2.2@n2 fd42::2@n1",
        &[
            "10.43.0.1 tcp 80 -> 10.42.2.2:8080 masquerade OutsideCluster",
            "node V4 tcp 30080 -> 10.42.2.2:8080 masquerade Always",
            "fd43::1 tcp 80 -> fd42::2:8080 masquerade OutsideCluster",
            "node V6 tcp 30080 -> fd42::2:8080 masquerade Always",
        ],
    ),
    // Not ours: headless, a name, another proxy's, an unknown port name.
    ("ip=None", "10.42.1.2@n1", &[]),
    ("ip=10.43.0.1 type=ExternalName", "10.42.1.2@n1", &[]),
    ("ip=10.43.0.1 label=service.kubernetes.io/service-proxy-name", "10.42.1.2@n1", &[]),
    ("ip=10.43.0.1 name=http", "10.42.1.2@n1", &["10.43.0.1 tcp 80 -> reject"]),
];

#[test]
fn services_become_routes() {
    for (words, endpoints, expected) in ROWS {
        let routes = routes(&service(words), &slices(endpoints), "n1");
        assert_eq!(text(&routes), *expected, "{words} | {endpoints}");
    }
}

#[test]
fn an_endpoint_in_two_slices_counts_once_and_as_its_better_self() {
    let both: Vec<_> = [slices("10.42.1.2@n1!"), slices("10.42.1.2@n1")].concat();
    let found = candidates(&both, None, Family::V4, "n1");
    assert_eq!((found.len(), found[0].is_ready), (1, true));
}

#[test]
fn hairpins_are_the_nodes_own_endpoints() {
    let slices = slices("10.42.1.2@n1 10.42.2.2@n2 10.42.1.2@n1 fd42::2@n1");
    let expected: Vec<IpAddr> = vec!["10.42.1.2".parse().unwrap(), "fd42::2".parse().unwrap()];
    assert_eq!(hairpins(&slices, "n1"), expected);
}
