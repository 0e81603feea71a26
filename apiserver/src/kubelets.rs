//! Requests to kubelets, over mutual TLS under the cluster's CA.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kontiki_api::Status;
use kontiki_base::{
    tasks::{TaskKind, Tasks},
    tls,
};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONNECTION: TaskKind = TaskKind::logged("kubelet connection");
const CONNECT_MAX: Duration = Duration::from_secs(5);
const PORT_DEFAULT: u64 = 10250;

/// A client of all kubelets.
pub struct Kubelets {
    connector: TlsConnector,
    tasks: Tasks,
}

impl Kubelets {
    /// A client with the API server's own identity.
    pub fn new(
        roots: &tls::Roots,
        identity: &tls::Identity,
        tasks: &Tasks,
    ) -> Result<Kubelets, tls::Error> {
        let config = tls::client_config(roots, Some(identity), &[b"http/1.1"])?;
        Ok(Kubelets { connector: TlsConnector::from(Arc::new(config)), tasks: tasks.child() })
    }

    /// Gets a path from the kubelet of a node.
    pub async fn get(&self, node: &Value, path: &str) -> Result<Response<Incoming>, Status> {
        let address = address_of(node).ok_or_else(|| {
            Status::internal_error("no preferred addresses found; known addresses: []")
        })?;
        let failed = |error: &dyn std::fmt::Display| {
            Status::internal_error(&format!("Get \"https://{address}{path}\": {error}"))
        };
        let work = async {
            let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
            stream.set_nodelay(true).map_err(|error| failed(&error))?;
            let name = ServerName::from(address.ip());
            let stream =
                self.connector.connect(name, stream).await.map_err(|error| failed(&error))?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|error| failed(&error))?;
            let stop = self.tasks.shutdown();
            self.tasks.spawn_infallible(CONNECTION, async move {
                // A broken connection shows at the body that is read from it.
                tokio::select! { biased;
                    () = stop.cancelled() => {}
                    _ = connection => {}
                }
            });
            let request = Request::get(path)
                .header(header::HOST, address.to_string())
                .body(Empty::<Bytes>::new())
                .map_err(|error| failed(&error))?;
            sender.send_request(request).await.map_err(|error| failed(&error))
        };
        match tokio::time::timeout(CONNECT_MAX, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(failed(&"dial tcp: i/o timeout")),
        }
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
