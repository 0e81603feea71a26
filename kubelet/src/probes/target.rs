//! Whom a probe or hook asks. Pure.

use std::net::IpAddr;

use k8s_openapi::{
    api::core::v1::{Container, GRPCAction, HTTPGetAction, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// An HTTP GET to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// Whether over TLS; certificates are not verified, as upstream does not.
    pub tls: bool,
    /// `HOST:PORT` to connect to.
    pub address: String,
    /// Path with query.
    pub path: String,
    /// Headers, `Host` possibly among them.
    pub headers: Vec<(String, String)>,
}

/// What an `httpGet` asks.
pub fn http(get: &HTTPGetAction, container: &Container, pod: IpAddr) -> Result<HttpTarget, String> {
    let port = port(&get.port, container)?;
    let path = get.path.clone().unwrap_or_default();
    let headers = get.http_headers.iter().flatten();
    Ok(HttpTarget {
        tls: get.scheme.as_deref() == Some("HTTPS"),
        address: address(get.host.as_deref(), pod, port),
        path: if path.starts_with('/') { path } else { format!("/{path}") },
        headers: headers.map(|header| (header.name.clone(), header.value.clone())).collect(),
    })
}

/// What a `tcpSocket` connects to.
pub fn tcp(tcp: &TCPSocketAction, container: &Container, pod: IpAddr) -> Result<String, String> {
    Ok(address(tcp.host.as_deref(), pod, port(&tcp.port, container)?))
}

/// Whom a `grpc` asks.
pub fn grpc(action: &GRPCAction, pod: IpAddr) -> Result<String, String> {
    let port = u16::try_from(action.port).map_err(|_| format!("no port: {}", action.port))?;
    Ok(address(None, pod, port))
}

fn address(host: Option<&str>, pod: IpAddr, port: u16) -> String {
    match host.filter(|host| !host.is_empty()) {
        Some(host) if host.contains(':') => format!("[{host}]:{port}"),
        Some(host) => format!("{host}:{port}"),
        None => std::net::SocketAddr::new(pod, port).to_string(),
    }
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(name))
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("couldn't find port: {port:?}"))
}
