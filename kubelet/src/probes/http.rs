//! The HTTP GET of a probe or a hook.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::target::HttpTarget;

/// Upstream reads no more of an answer.
const BODY_MAX: usize = 10 << 10;

/// Asks. An answer between 200 and 399 is a success; the error is upstream's message.
pub async fn probe(target: &HttpTarget, limit: Duration) -> Result<String, String> {
    match ask(target, limit).await? {
        (200..=399, body) => Ok(body),
        (status, _) => Err(format!("HTTP probe failed with statuscode: {status}")),
    }
}

/// Asks, and takes any answer: status and body.
pub async fn ask(target: &HttpTarget, limit: Duration) -> Result<(u16, String), String> {
    let url = format!(
        "{}://{}{}",
        if target.tls { "https" } else { "http" },
        target.address,
        target.path
    );
    match timeout(limit, get(target)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(problem)) => Err(format!("Get {url:?}: {problem}")),
        Err(_) => Err(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn get(target: &HttpTarget) -> Result<(u16, String), String> {
    let stream = TcpStream::connect(&target.address)
        .await
        .map_err(|error| format!("dial tcp {}: {}", target.address, words(&error)))?;
    if target.tls {
        let host = target.address.rsplit_once(':').map_or("", |(host, _)| host);
        let stream = tls::connect(stream, host).await.map_err(|e| e.to_string())?;
        exchange(stream, target).await
    } else {
        exchange(stream, target).await
    }
}

/// The kernel's words as Go prints them.
fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        _ => error.to_string(),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    target: &HttpTarget,
) -> Result<(u16, String), String> {
    let say = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(say)?;
    let mut request = Request::get(&target.path);
    let has = |name: &str| target.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    for (name, default) in
        [("host", target.address.as_str()), ("user-agent", "kube-probe/1.36"), ("accept", "*/*")]
    {
        if !has(name) {
            request = request.header(name, default);
        }
    }
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let request = request
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(say)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), BODY_MAX).collect().await;
        let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok::<_, String>((status, String::from_utf8_lossy(&bytes).into_owned()))
    };
    // The connection is driven beside the request; the answer ends both.
    let mut answer = std::pin::pin!(answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! { biased;
        answer = &mut answer => return answer,
        ended = &mut connection => ended.map_err(say)?,
    }
    answer.await
}

/// TLS without verification: a probe asks whether a server is alive, not who it is.
mod tls {
    use std::sync::Arc;

    use rustls::{
        ClientConfig, DigitallySignedStruct, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::CryptoProvider,
        pki_types::{CertificateDer, ServerName, UnixTime},
    };
    use tokio::net::TcpStream;
    use tokio_rustls::{TlsConnector, client::TlsStream};

    #[derive(Debug)]
    struct Anybody(Arc<CryptoProvider>);

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }

    pub(super) async fn connect(
        stream: TcpStream,
        host: &str,
    ) -> Result<TlsStream<TcpStream>, std::io::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}
