//! A table of questions to one small cluster.

use std::sync::Arc;

use kontiki_api::typed::Object;

use super::*;
use crate::observed::Observed;

fn cluster() -> Observed {
    let observed = Observed::default();
    let service = |name: &str, spec: serde_json::Value| {
        let service = Service::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "shop", "name": name}, "spec": spec,
        }))
        .expect("a Service");
        observed.set_service(&ObjectKey::new("shop", name), Some(&Arc::new(service)));
    };
    service(
        "web",
        serde_json::json!({
            "clusterIPs": ["10.43.0.7", "fd43::7"],
            "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        }),
    );
    let headless =
        serde_json::json!({"clusterIP": "None", "ports": [{"name": "db", "port": 5432}]});
    service("db", headless.clone());
    service("empty", headless);
    service("far", serde_json::json!({"type": "ExternalName", "externalName": "example.org"}));
    let slice = EndpointSlice::from_value(serde_json::json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "namespace": "shop", "name": "db-1", "labels": {"kubernetes.io/service-name": "db"},
        },
        "ports": [{"name": "db", "port": 15432}],
        "endpoints": [
            {"addresses": ["10.42.1.2"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.42.1.3"], "conditions": {"ready": true}},
            {"addresses": ["10.42.1.4"], "hostname": "db-2", "conditions": {"ready": false}},
        ],
    }))
    .expect("an EndpointSlice");
    observed.set_slice(&ObjectKey::new("shop", "db-1"), None, Some(&Arc::new(slice)));
    observed
}

fn zone() -> Zone {
    let ranges = ["10.42.0.0/16", "10.43.0.0/16", "fd43::/112"];
    let ranges = ranges.iter().map(|range| range.parse().expect("a range")).collect();
    Zone::new("cluster.local", vec![[10, 43, 0, 10].into()], ranges).expect("a domain")
}

fn ask(state: &State, name: &str, kind: &str) -> String {
    let name = Name::from_ascii(name).expect("a name");
    let kind = kind.parse().expect("a record type");
    match zone().resolve(state, &name, kind) {
        Outcome::Records(records) => {
            let data: Vec<_> = records.iter().map(|record| record.data.to_string()).collect();
            data.join("; ")
        }
        Outcome::Alias(_, target) => format!("alias {target}"),
        Outcome::NoData => "no data".to_owned(),
        Outcome::NoSuchName => "no such name".to_owned(),
        Outcome::NotOurs => "not ours".to_owned(),
    }
}

#[test]
fn questions_are_answered_as_the_specification_says() {
    let observed = cluster();
    let rows = [
        ("web.shop.svc.cluster.local.", "A", "10.43.0.7"),
        ("web.shop.svc.cluster.local.", "AAAA", "fd43::7"),
        ("WEB.shop.SVC.Cluster.local.", "A", "10.43.0.7"),
        ("web.shop.svc.cluster.local.", "MX", "no data"),
        ("web.other.svc.cluster.local.", "A", "no such name"),
        ("nope.shop.svc.cluster.local.", "A", "no such name"),
        // Search lists try such names first; "no data" would end the search.
        ("example.org.shop.svc.cluster.local.", "A", "no such name"),
        ("example.org.svc.cluster.local.", "A", "no such name"),
        ("example.org.cluster.local.", "A", "no such name"),
        ("_http._tcp.web.shop.svc.cluster.local.", "SRV", "0 100 80 web.shop.svc.cluster.local."),
        ("_dns._udp.web.shop.svc.cluster.local.", "SRV", "0 100 53 web.shop.svc.cluster.local."),
        ("_http._udp.web.shop.svc.cluster.local.", "SRV", "no such name"),
        ("_tcp.web.shop.svc.cluster.local.", "A", "no data"),
        ("_sctp.web.shop.svc.cluster.local.", "A", "no such name"),
        ("db.shop.svc.cluster.local.", "A", "10.42.1.2; 10.42.1.3"),
        ("db.shop.svc.cluster.local.", "AAAA", "no data"),
        ("empty.shop.svc.cluster.local.", "A", "no such name"),
        ("db-0.db.shop.svc.cluster.local.", "A", "10.42.1.2"),
        ("10-42-1-3.db.shop.svc.cluster.local.", "A", "10.42.1.3"),
        ("db-2.db.shop.svc.cluster.local.", "A", "no such name"),
        (
            "_db._tcp.db.shop.svc.cluster.local.",
            "SRV",
            "0 100 15432 db-0.db.shop.svc.cluster.local.; \
             0 100 15432 10-42-1-3.db.shop.svc.cluster.local.",
        ),
        ("far.shop.svc.cluster.local.", "A", "alias example.org."),
        ("10-42-1-2.shop.pod.cluster.local.", "A", "10.42.1.2"),
        ("fd42--2.shop.pod.cluster.local.", "AAAA", "fd42::2"),
        ("nonsense.shop.pod.cluster.local.", "A", "no such name"),
        ("7.0.43.10.in-addr.arpa.", "PTR", "web.shop.svc.cluster.local."),
        ("2.1.42.10.in-addr.arpa.", "PTR", "db-0.db.shop.svc.cluster.local."),
        ("9.9.43.10.in-addr.arpa.", "PTR", "no such name"),
        ("8.8.8.8.in-addr.arpa.", "PTR", "not ours"),
        ("cluster.local.", "NS", "ns.dns.cluster.local."),
        ("ns.dns.cluster.local.", "A", "10.43.0.10"),
        ("dns-version.cluster.local.", "TXT", "1.1.0"),
        ("svc.cluster.local.", "A", "no data"),
        ("shop.svc.cluster.local.", "A", "no data"),
        ("shop.pod.cluster.local.", "A", "no data"),
        ("example.org.", "A", "not ours"),
    ];
    for (name, kind, expected) in rows {
        assert_eq!(ask(&observed.read(), name, kind), expected, "{kind} {name}");
    }
}

#[test]
fn what_is_gone_is_gone_from_every_index() {
    let observed = cluster();
    observed.set_service(&ObjectKey::new("shop", "web"), None);
    let state = observed.read();
    assert_eq!(ask(&state, "web.shop.svc.cluster.local.", "A"), "no such name");
    assert_eq!(ask(&state, "7.0.43.10.in-addr.arpa.", "PTR"), "no such name");
}
