//! Whom a proxy request is for.

use std::net::{IpAddr, SocketAddr};

use kontiki_api::Status;
use rand::seq::SliceRandom;
use serde_json::Value;

use crate::{
    core::Core,
    dial::{Security, Target},
    kubelets,
    request_info::RequestInfo,
};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// `[SCHEME:]NAME[:PORT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked<'a> {
    tls: bool,
    name: &'a str,
    port: &'a str,
}

impl<'a> Asked<'a> {
    fn parse(text: &'a str) -> Option<Asked<'a>> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => return None,
        };
        let valid = !name.is_empty() && matches!(scheme, "" | "http" | "https");
        valid.then_some(Asked { tls: scheme == "https", name, port })
    }

    fn security(self) -> Security {
        if self.tls { Security::Unverified } else { Security::Plain }
    }
}

/// Finds the address that a request is for.
pub(super) async fn of(core: &Core, info: &RequestInfo) -> Result<Target, Status> {
    let kind = info.resource.trim_end_matches('s');
    let asked = Asked::parse(&info.name)
        .ok_or_else(|| Status::bad_request(format!("invalid {kind} request {:?}", info.name)))?;
    if let Ok(target) = locate(core, info, asked) {
        return Ok(target);
    }
    // What the cache has is new enough; what it has not may only be young.
    core.catch_up().await?;
    locate(core, info, asked)
}

/// The same, from what the caches have now.
fn locate(core: &Core, info: &RequestInfo, asked: Asked<'_>) -> Result<Target, Status> {
    let found = core.cached("", &info.resource, &info.namespace, asked.name);
    let found = found.ok_or_else(|| Status::not_found("", &info.resource, asked.name))?.value();
    match info.resource.as_str() {
        "nodes" => node(core, asked),
        "services" => service(core, &info.namespace, asked, &found),
        _ => pod(asked, &found),
    }
}

fn node(core: &Core, asked: Asked<'_>) -> Result<Target, Status> {
    let kubelet = kubelets::target(core, asked.name)?;
    proxyable(kubelet.address.ip())?;
    if asked.port.is_empty() || asked.port == kubelet.address.port().to_string() {
        return Ok(kubelet);
    }
    let address = SocketAddr::new(kubelet.address.ip(), number(asked.port)?);
    Ok(Target { address, security: asked.security() })
}

fn pod(asked: Asked<'_>, pod: &Value) -> Result<Target, Status> {
    let first = || {
        let containers = pod["spec"]["containers"].as_array()?;
        let mut ports = containers.iter().filter_map(|c| c["ports"][0]["containerPort"].as_u64());
        ports.next().and_then(|port| u16::try_from(port).ok())
    };
    let port = match asked.port {
        "" => first().unwrap_or(if asked.tls { 443 } else { 80 }),
        port => number(port)?,
    };
    let address = pod["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok());
    let address = address.ok_or_else(|| Status::bad_request("address not allowed"))?;
    proxyable(address)?;
    Ok(Target { address: SocketAddr::new(address, port), security: asked.security() })
}

/// Ports of programs of this machine are not what is meant.
fn proxyable(address: IpAddr) -> Result<(), Status> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let refused = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    if refused || link_local {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(())
}

fn number(port: &str) -> Result<u16, Status> {
    port.parse().map_err(|_| {
        let problem =
            format!("error trying to reach service: dial tcp: lookup tcp/{port}: unknown port");
        Status::service_unavailable(problem)
    })
}

/// One of the ready endpoints that are pods of this namespace, at random.
fn service(
    core: &Core,
    namespace: &str,
    asked: Asked<'_>,
    service: &Value,
) -> Result<Target, Status> {
    let port = port_name(asked, service)?;
    let slices = core.builtin("discovery.k8s.io", "endpointslices");
    let snapshot = slices.cache.snapshot(core.caches.revision());
    let own = snapshot.index.walk(&format!("{namespace}/"), "").map(|slice| slice.value());
    let own: Vec<Value> =
        own.filter(|slice| slice["metadata"]["labels"][SERVICE_NAME] == asked.name).collect();
    let mut candidates: Vec<(SocketAddr, String)> =
        own.iter().flat_map(|slice| endpoints(slice, &port)).collect();
    candidates.shuffle(&mut rand::rng());
    let is_pod = |(address, name): &(SocketAddr, String)| {
        let pod = core.cached("", "pods", namespace, name).map(|pod| pod.value());
        pod.is_some_and(|pod| {
            let ips = pod["status"]["podIPs"].as_array().map_or(&[][..], Vec::as_slice);
            let ip = address.ip().to_string();
            pod["status"]["podIP"] == ip || ips.iter().any(|own| own["ip"] == ip)
        })
    };
    let chosen = candidates.into_iter().find(is_pod).ok_or_else(|| {
        Status::service_unavailable(format!("no endpoints available for service {:?}", asked.name))
    })?;
    proxyable(chosen.0.ip())?;
    Ok(Target { address: chosen.0, security: asked.security() })
}

/// The name of the port that is meant: the one named, the one of that number, or the only one.
fn port_name(asked: Asked<'_>, service: &Value) -> Result<String, Status> {
    let ports = service["spec"]["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
    if asked.port.is_empty() {
        return Ok(if let [only] = ports { name(only) } else { String::new() });
    }
    let Ok(number) = asked.port.parse::<i64>() else { return Ok(asked.port.to_owned()) };
    ports.iter().find(|port| port["port"] == number).map(name).ok_or_else(|| {
        let service = asked.name;
        Status::service_unavailable(format!(
            "no service port {number} found for service {service:?}"
        ))
    })
}

/// The ready pods of a slice behind a port: addresses with the pods' names.
fn endpoints(slice: &Value, port_name: &str) -> Vec<(SocketAddr, String)> {
    let list = |field: &str| slice[field].as_array().map_or(&[][..], Vec::as_slice);
    let port =
        list("ports").iter().find(|port| port["name"].as_str().unwrap_or_default() == port_name);
    let port = port.and_then(|port| u16::try_from(port["port"].as_u64()?).ok());
    let Some(port) = port else { return Vec::new() };
    let ready =
        list("endpoints").iter().filter(|endpoint| endpoint["conditions"]["ready"] != false);
    ready
        .filter(|endpoint| endpoint["targetRef"]["kind"] == "Pod")
        .filter_map(|endpoint| {
            let address: IpAddr = endpoint["addresses"][0].as_str()?.parse().ok()?;
            let name = endpoint["targetRef"]["name"].as_str()?.to_owned();
            Some((SocketAddr::new(address, port), name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(target: Result<Target, Status>) -> String {
        match target {
            Ok(target) => format!("{:?} {}", target.security, target.address),
            Err(status) => format!("{} {}", status.code, status.message),
        }
    }

    #[test]
    fn names_carry_scheme_and_port() {
        let check = |text: &str, expected: Option<(bool, &str, &str)>| {
            let seen = Asked::parse(text).map(|asked| (asked.tls, asked.name, asked.port));
            assert_eq!(seen, expected, "{text}");
        };
        check("web", Some((false, "web", "")));
        check("web:http", Some((false, "web", "http")));
        check("https:web:443", Some((true, "web", "443")));
        check("http:web:", Some((false, "web", "")));
        check("ftp:web:21", None);
        check(":80", None);
        check("a:b:c:d", None);
    }

    #[test]
    fn pods_are_reached_at_their_first_port() {
        let web = json!({
            "spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}]}]},
            "status": {"podIP": "10.42.0.7"},
        });
        let check = |asked: &str, expected: &str| {
            assert_eq!(shown(pod(Asked::parse(asked).unwrap(), &web)), expected);
        };
        check("web", "Plain 10.42.0.7:8080");
        check("https:web:8443", "Unverified 10.42.0.7:8443");
        check("web:x", "503 error trying to reach service: dial tcp: lookup tcp/x: unknown port");
        for address in ["127.0.0.1", "169.254.1.1", "::1", "0.0.0.0", ""] {
            let own = json!({"status": {"podIP": address}});
            let refused = shown(pod(Asked::parse("web").unwrap(), &own));
            assert_eq!(refused, "400 address not allowed", "{address}");
        }
    }

    #[test]
    fn ports_of_services_have_names() {
        let two = json!({"spec": {"ports": [
            {"name": "http", "port": 80}, {"name": "metrics", "port": 9090},
        ]}});
        let name = |asked: &str, service: &Value| {
            port_name(Asked::parse(asked).unwrap(), service).unwrap_or_else(|status| status.message)
        };
        assert_eq!(name("web:9090", &two), "metrics");
        assert_eq!(name("web:metrics", &two), "metrics");
        assert_eq!(name("web", &two), "");
        assert_eq!(name("web:1", &two), "no service port 1 found for service \"web\"");
        assert_eq!(
            name("web", &json!({"spec": {"ports": [{"port": 80, "name": "only"}]}})),
            "only"
        );
    }

    #[test]
    fn only_ready_pods_are_endpoints() {
        let slice = json!({
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true},
                    "targetRef": {"kind": "Pod", "name": "a"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false},
                    "targetRef": {"kind": "Pod", "name": "b"}},
                {"addresses": ["10.0.0.3"], "conditions": {}},
            ],
        });
        assert_eq!(endpoints(&slice, "http"), [("10.0.0.1:8080".parse().unwrap(), "a".to_owned())]);
        assert_eq!(endpoints(&slice, "other"), []);
    }
}
