//! Where kubelets listen, and requests to them.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use kontiki_api::{Status, meta};
use serde_json::Value;

use crate::{
    core::Core,
    dial::{Dialer, Security, Target},
};

/// How long the beginning of an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const PORT_DEFAULT: u64 = 10250;

/// The kubelet of a node by its name.
pub fn target(core: &Core, node: &str) -> Result<Target, Status> {
    let found = core.cached("", "nodes", "", node);
    let node = found.ok_or_else(|| Status::not_found("", "nodes", node))?.value();
    let address = address_of(&node).ok_or_else(|| {
        let name = meta::name(&node);
        Status::internal_error(&format!(
            "no preferred addresses found; known addresses: [] ({name})"
        ))
    })?;
    Ok(Target { address, security: Security::Kubelet })
}

/// Gets a path from a kubelet.
pub async fn get(
    dialer: &Dialer,
    target: &Target,
    path: &str,
) -> Result<Response<Incoming>, Status> {
    let address = target.address;
    let failed = |error: &dyn std::fmt::Display| {
        Status::internal_error(&format!("Get \"https://{address}{path}\": {error}"))
    };
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    match tokio::time::timeout(ANSWER_MAX, dialer.send(target, request)).await {
        Ok(outcome) => outcome.map_err(|error| failed(&error)),
        Err(_) => Err(failed(&"dial tcp: i/o timeout")),
    }
}

/// Where a node's kubelet listens.
fn address_of(node: &Value) -> Option<SocketAddr> {
    let addresses = node["status"]["addresses"].as_array()?;
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP")?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = u16::try_from(port.unwrap_or(PORT_DEFAULT)).ok()?;
    Some(SocketAddr::new(internal["address"].as_str()?.parse().ok()?, port))
}
