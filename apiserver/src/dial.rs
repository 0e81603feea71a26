//! Connections to what runs on nodes: kubelets, pods, the endpoints of services.
//!
//! A connection carries one request. Kubelets are spoken to over mutual TLS under the cluster's
//! CA; a pod that speaks TLS is not asked for a certificate that anybody knows, as upstream.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kontiki_base::{
    splice,
    tasks::{TaskKind, Tasks},
    tls,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::answer::BodyError;

const CONNECTION: TaskKind = TaskKind::logged("outgoing connection");
/// How long a connection may take to stand.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How a target is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Without TLS.
    Plain,
    /// TLS, whatever certificate the other side has.
    Unverified,
    /// TLS under the cluster's CA, with the API server's own certificate.
    Kubelet,
}

/// Whom to speak to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is spoken to.
    pub security: Security,
}

impl Target {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.security == Security::Plain { "http" } else { "https" }
    }
}

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("dial tcp {address}: {reason}")]
    Connect {
        /// Whom.
        address: SocketAddr,
        /// Why, in the words that clients know from Go.
        reason: String,
    },
    /// No TLS.
    #[error("{0}")]
    Tls(std::io::Error),
    /// No answer.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be said in HTTP/1.1.
    #[error("{0}")]
    Request(#[from] http::Error),
}

/// Opens connections.
pub struct Dialer {
    kubelets: TlsConnector,
    pods: TlsConnector,
    tasks: Tasks,
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Dialer {
    /// A dialer with the API server's own identity.
    pub fn new(
        roots: &tls::Roots,
        identity: &tls::Identity,
        tasks: &Tasks,
    ) -> Result<Dialer, tls::Error> {
        let kubelets = tls::client_config(roots, Some(identity), &[b"http/1.1"])?;
        let mut pods = tls::client_config(roots, None, &[b"http/1.1"])?;
        pods.dangerous().set_certificate_verifier(tls::verifier(BelieveAnyone));
        Ok(Dialer {
            kubelets: TlsConnector::from(Arc::new(kubelets)),
            pods: TlsConnector::from(Arc::new(pods)),
            tasks: tasks.child(),
        })
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Connection>, Error> {
        let address = target.address;
        let refused = |reason: String| Error::Connect { address, reason };
        let stream = TcpStream::connect(address).await.map_err(|e| refused(reason(&e)))?;
        let set_up = stream.set_nodelay(true).and_then(|()| splice::keep_alive(&stream));
        set_up.map_err(|error| refused(error.to_string()))?;
        let name = ServerName::from(address.ip());
        Ok(match target.security {
            Security::Plain => Box::new(stream),
            Security::Unverified => {
                Box::new(self.pods.connect(name, stream).await.map_err(Error::Tls)?)
            }
            Security::Kubelet => {
                Box::new(self.kubelets.connect(name, stream).await.map_err(Error::Tls)?)
            }
        })
    }

    /// Sends a request over a connection of its own; returns when the answer begins.
    pub async fn send<B>(
        &self,
        target: &Target,
        request: Request<B>,
    ) -> Result<Response<Incoming>, Error>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let connected = tokio::time::timeout(CONNECT_MAX, self.connect(target)).await;
        let stream = connected.unwrap_or_else(|_| {
            Err(Error::Connect { address: target.address, reason: "i/o timeout".to_owned() })
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let stop = self.tasks.shutdown();
        self.tasks.spawn_infallible(CONNECTION, async move {
            // A broken connection shows at the body that is read from it.
            tokio::select! { biased;
                () = stop.cancelled() => {}
                _ = connection.with_upgrades() => {}
            }
        });
        Ok(sender.send_request(request).await?)
    }
}

/// What the system says, in the words that clients know from Go.
fn reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::TimedOut => "connect: connection timed out".to_owned(),
        _ => format!("connect: {error}"),
    }
}

/// A request without what is meant for this hop, and without what proves who the caller is.
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    passed.remove(http::header::AUTHORIZATION);
    let impersonation: Vec<_> =
        passed.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonation {
        passed.remove(name);
    }
    passed
}

#[derive(Debug)]
struct BelieveAnyone;

impl tls::JudgeChain for BelieveAnyone {
    fn judge(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &[u8],
        _: UnixTime,
    ) -> Result<(), rustls::Error> {
        Ok(())
    }
}
