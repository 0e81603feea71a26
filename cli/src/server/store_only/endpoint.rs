//! What a store's member serves on the API's port: `/kontiki/v1/` for joiners and operators, and
//! whether it lives and is ready. Users are certificates of the cluster's authority, or the token.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use kontiki_api::Status;
use kontiki_apiserver::{Body, Extension, UserInfo, answer, authn::certificate};
use kontiki_base::{
    CancellationToken,
    pki::fingerprint,
    tasks::{TaskKind, Tasks},
    tls::{self, ClientCertificates, Identity, Roots},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::super::operations::Operations;
use crate::{
    join::wire,
    token::{Role, Token},
};

/// A client that takes longer to shake hands is not one.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a request.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Connections at once: members and a few operators.
const CONNECTIONS_MAX: usize = 256;
/// Requests of one connection at once.
const STREAMS_MAX: u32 = 16;
/// After a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The endpoints and who may use them.
pub(super) struct Endpoint {
    operations: Operations,
    user: UserInfo,
    /// Hash of the token, so that how long a comparison takes says nothing.
    bearer: String,
}

impl Endpoint {
    pub(super) fn new(operations: Operations, token: &Token) -> Endpoint {
        let user = format!("system:bootstrap:{}", token.id);
        Endpoint {
            operations,
            user: UserInfo::new(&user, &[Role::Server.group()]),
            bearer: fingerprint(token.bearer().as_bytes()),
        }
    }

    /// Serves a listener until the tasks are stopped.
    pub(super) fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        identity: &Identity,
        roots: &Roots,
        tasks: &Tasks,
    ) -> Result<()> {
        let optional = ClientCertificates::Optional;
        let config = tls::server_config(identity, roots, optional, &[b"h2", b"http/1.1"])?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (connections, shutdown) = (tasks.child(), tasks.shutdown());
        tasks.spawn_infallible(TaskKind::vital("operations listener"), async move {
            let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
            while let Some(place) = shutdown
                .run_until_cancelled(places.clone().acquire_owned())
                .await
                .and_then(Result::ok)
            {
                let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await else {
                    break;
                };
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                let connection =
                    self.clone().connection(stream, acceptor.clone(), connections.shutdown());
                connections.spawn_infallible(TaskKind::logged("operations"), async move {
                    let _place = place;
                    connection.await;
                });
            }
            connections.stop().await;
        });
        Ok(())
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        shutdown: CancellationToken,
    ) {
        let Ok(Ok(stream)) = timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await else {
            return;
        };
        let chain = stream.get_ref().1.peer_certificates();
        let shown = chain.and_then(|chain| certificate::user_of(chain.first()?));
        let service = service_fn(move |request| {
            let (endpoint, shown) = (self.clone(), shown.clone());
            async move { Ok::<_, Infallible>(endpoint.answer(shown, request).await) }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new());
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! { biased;
            _ = connection.as_mut() => return,
            () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    async fn answer(&self, shown: Option<UserInfo>, request: Request<Incoming>) -> Response<Body> {
        match request.uri().path() {
            "/livez" | "/healthz" => return answer::text(StatusCode::OK, "ok"),
            "/readyz" if self.operations.store.is_ready() => {
                return answer::text(StatusCode::OK, "ok");
            }
            "/readyz" => {
                return answer::text(StatusCode::SERVICE_UNAVAILABLE, "the store is not ready");
            }
            path if path.starts_with(wire::PREFIX) => {}
            _ => return answer::status(&Status::no_such_resource()),
        }
        let Some(user) = shown.or_else(|| self.holder(&request)) else {
            let status = Status {
                code: 401,
                reason: "Unauthorized",
                message: "a certificate of the cluster or its token is needed".to_owned(),
                details: None,
                continue_token: None,
            };
            return answer::status(&status);
        };
        let (parts, body) = request.into_parts();
        match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => {
                let body: Bytes = body.to_bytes();
                self.operations.call(&user, Request::from_parts(parts, body)).await
            }
            Err(error) => answer::status(&Status::bad_request(format!("the body: {error}"))),
        }
    }

    /// The user that the token stands for, if the request carries it.
    fn holder(&self, request: &Request<Incoming>) -> Option<UserInfo> {
        let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
        let shown = value.strip_prefix("Bearer ")?;
        (fingerprint(shown.as_bytes()) == self.bearer).then(|| self.user.clone())
    }
}
