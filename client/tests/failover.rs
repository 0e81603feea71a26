//! Fail-over over real TLS sockets: which requests move to the next server, and which do not.

#![expect(clippy::unwrap_used, reason = "a test may stop where its world is not as it should be")]

use std::{net::SocketAddr, sync::Arc};

use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kontiki_api::k8s_openapi::api::core::v1::ConfigMap;
use kontiki_base::{
    CancellationToken,
    pki::{Authority, CertificateRequest, Usage},
    tasks::{TaskKind, Tasks},
    tls::{self, ClientCertificates, Roots},
};
use kontiki_client::{Client, ConnectOptions, ServerList};
use tokio::net::TcpListener;

struct Cluster {
    authority: Authority,
    tasks: Tasks,
}

impl Cluster {
    fn new() -> Cluster {
        Cluster { authority: Authority::generate("cluster").unwrap(), tasks: Tasks::new() }
    }

    fn roots(&self) -> Roots {
        Roots { pem: self.authority.certificate_pem.clone() }
    }

    /// Starts a server whose ConfigMaps carry its name. Cancelling the token cuts everything.
    async fn server(&self, name: &'static str) -> (SocketAddr, CancellationToken) {
        let request = CertificateRequest::serving(
            name,
            vec![],
            vec!["127.0.0.1".parse().unwrap()],
            Usage::Server,
        );
        let identity = self.authority.issue(&request).unwrap();
        let config =
            tls::server_config(&identity, &self.roots(), ClientCertificates::Optional, &[b"h2"]);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let power = self.tasks.shutdown().child_token();
        let (off, tasks) = (power.clone(), self.tasks.clone());
        self.tasks.spawn_infallible(TaskKind::logged("test server"), async move {
            loop {
                let accepted = tokio::select! { biased;
                    () = off.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (acceptor, off, stream) = (acceptor.clone(), off.clone(), accepted.unwrap().0);
                tasks.spawn_infallible(TaskKind::logged("test connection"), async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(name, request));
                    let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service);
                    tokio::select! { biased;
                        () = off.cancelled() => {}
                        _ = serve => {}
                    }
                });
            }
        });
        (address, power)
    }

    fn client(&self, servers: &[SocketAddr]) -> Client {
        let servers = servers.iter().map(ToString::to_string).collect();
        Client::remote(ConnectOptions {
            servers: ServerList::new(servers),
            roots: self.roots(),
            identity: None,
        })
        .unwrap()
    }
}

async fn answer(
    name: &'static str,
    _: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, std::convert::Infallible> {
    let body = format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"7"}}}}"#);
    Ok(Response::new(Full::from(body)))
}

#[tokio::test]
async fn reads_move_to_the_server_that_is_left() {
    let cluster = Cluster::new();
    let (first, first_power) = cluster.server("first").await;
    let (second, second_power) = cluster.server("second").await;
    let client = cluster.client(&[first, second]);
    let used = client.get::<ConfigMap>("a", "x").await.unwrap();
    let (down, left) = if used.metadata.name.as_deref() == Some("first") {
        (first_power, "second")
    } else {
        (second_power, "first")
    };
    down.cancel();
    for _ in 0..3 {
        let object = client.get::<ConfigMap>("a", "x").await.unwrap();
        assert_eq!(object.metadata.name.as_deref(), Some(left));
    }
    cluster.tasks.stop().await;
}

#[tokio::test]
async fn a_write_that_was_never_sent_moves_too() {
    let cluster = Cluster::new();
    let (first, power) = cluster.server("first").await;
    let (second, _second_power) = cluster.server("second").await;
    power.cancel();
    let client = cluster.client(&[first, second]);
    let mut object = ConfigMap::default();
    object.metadata.namespace = Some("a".to_owned());
    let written = client.create(&object).await.unwrap();
    assert_eq!(written.object.metadata.name.as_deref(), Some("second"));
    assert_eq!(written.revision, 7);
    cluster.tasks.stop().await;
}

#[tokio::test]
async fn a_server_of_another_cluster_is_refused() {
    let (ours, theirs) = (Cluster::new(), Cluster::new());
    let (address, _power) = theirs.server("stranger").await;
    let error = ours.client(&[address]).get::<ConfigMap>("a", "x").await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("certificate") || text.contains("UnknownIssuer"), "{text}");
    assert!(!error.outcome_unknown());
    theirs.tasks.stop().await;
}
