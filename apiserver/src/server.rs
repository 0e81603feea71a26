//! The API server as its host sees it: opened on a store, serving sockets and callers in this
//! process.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use kontiki_api::Catalogue;
use kontiki_base::{
    CancellationToken, splice,
    tasks::{TaskKind, Tasks},
    tls,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    admission,
    answer::{Body, BodyError},
    audit,
    authn::{Authenticator, KeyError, certificate},
    authz::{self, Authorizer},
    bootstrap,
    cache::{Caches, feed},
    compaction,
    core::Core,
    dial::Dialer,
    exchange::{Exchange, Source},
    extension::Extension,
    flowcontrol::{self, FlowControl},
    options::Options,
    pipeline, quota,
    storage::{Storage, backend::Backend},
    streams::Streams,
    user::UserInfo,
};

const ACCEPT: TaskKind = TaskKind::vital("API listener");
const CONNECTION: TaskKind = TaskKind::logged("API connection");
const FEED: TaskKind = TaskKind::vital("watch cache");
const COMPACTION: TaskKind = TaskKind::logged("compaction");
const POLICY: TaskKind = TaskKind::vital("access policy");
const QUOTAS: TaskKind = TaskKind::vital("resource quotas");
const FLOW_CONTROL: TaskKind = TaskKind::vital("priority and fairness");
const OIDC: TaskKind = TaskKind::logged("OIDC keys");
const BOOTSTRAP: TaskKind = TaskKind::vital("API bootstrap");

/// How long a handshake may take.
const HANDSHAKE_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// Why an API server cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service account key is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The choice of admission plugins makes no sense.
    #[error(transparent)]
    Admission(#[from] admission::PluginError),
    /// The audit log cannot be written.
    #[error("cannot open the audit log")]
    Audit(#[source] std::io::Error),
    /// The identity for kubelets is not usable.
    #[error("cannot set up the client of kubelets")]
    Kubelets(#[from] tls::Error),
}

/// An API server. Cheap to clone.
#[derive(Clone)]
pub struct ApiServer {
    core: Arc<Core>,
}

impl ApiServer {
    /// Opens an API server on a store. It answers `/livez` at once and everything else when its
    /// caches are filled.
    pub fn new(
        options: Options,
        store: kontiki_raft::Store,
        tasks: &Tasks,
    ) -> Result<ApiServer, Error> {
        ApiServer::on_backend(options, Arc::new(store), tasks)
    }

    /// Opens an API server on anything that behaves like the store.
    pub fn on_backend(
        options: Options,
        backend: Arc<dyn Backend>,
        tasks: &Tasks,
    ) -> Result<ApiServer, Error> {
        let storage = Arc::new(Storage::new(backend, &options.prefix));
        let catalogue = Arc::new(Catalogue::builtin());
        let caches = Arc::new(Caches::new(&catalogue, storage.keys()));
        let (enable, disable) =
            (&options.enable_admission_plugins, &options.disable_admission_plugins);
        let admission = admission::Chain::select(enable, disable)?;
        let log = options.audit.clone().map(audit::Log::open).transpose().map_err(Error::Audit)?;
        let core = Arc::new(Core {
            audit: log.map(Arc::new),
            admission,
            quota_turns: quota::Turns::default(),
            authenticator: Authenticator::new(&options)?,
            authorizer: ArcSwap::from_pointee(Authorizer {
                modes: options.authorization_modes.clone(),
                ..Authorizer::default()
            }),
            dialer: Dialer::new(&options.cluster_roots, &options.kubelet_client, tasks)?,
            streams: Streams::new(tasks),
            extensions: parking_lot::RwLock::default(),
            ready: watch::Sender::new(false),
            policy_compiler: parking_lot::Mutex::default(),
            policy_compiled: watch::Sender::new(0),
            flow_control: options
                .priority_and_fairness
                .then(|| FlowControl::new(options.max_mutating_inflight + options.max_inflight)),
            mutating: room(options.max_mutating_inflight),
            reading: room(options.max_inflight),
            shutdown: tasks.shutdown(),
            catalogue,
            storage,
            caches,
            options,
        });
        let (caches, storage) = (core.caches.clone(), core.storage.clone());
        tasks.spawn_infallible(FEED, feed::run(caches, storage, tasks.shutdown()));
        tasks.spawn_infallible(COMPACTION, compaction::run(core.clone(), tasks.shutdown()));
        tasks.spawn_infallible(POLICY, authz::follow::run(core.clone(), tasks.shutdown()));
        tasks.spawn_infallible(QUOTAS, quota::recount(core.clone(), tasks.shutdown()));
        if let Some(oidc) = &core.authenticator.oidc {
            tasks.spawn_infallible(OIDC, oidc.keys.clone().run(tasks.clone(), tasks.shutdown()));
        }
        tasks.spawn_infallible(
            FLOW_CONTROL,
            flowcontrol::follow::run(core.clone(), tasks.shutdown()),
        );
        tasks.spawn_infallible(BOOTSTRAP, bootstrap::run(core.clone(), tasks.shutdown()));
        Ok(ApiServer { core })
    }

    /// How many conversations such as `exec` are open.
    pub fn open_streams(&self) -> usize {
        self.core.streams.count()
    }

    /// Adds endpoints below a path prefix such as `/kontiki/v1/`.
    pub fn extend(&self, prefix: &str, extension: Arc<dyn Extension>) {
        self.core.extensions.write().push((prefix.to_owned(), extension));
    }

    /// Becomes true when everything is served.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.core.ready.subscribe()
    }

    /// Moves when the access policy has been brought in line with the RBAC objects.
    pub fn policy_compiled(&self) -> watch::Receiver<u64> {
        self.core.policy_compiled.subscribe()
    }

    /// The server as a service for callers in this process, who act as `user`.
    pub fn in_process(&self, user: UserInfo) -> InProcess {
        InProcess { core: self.core.clone(), user: Arc::new(user) }
    }

    /// Serves a listener until the tasks are stopped.
    pub fn serve(&self, listener: TcpListener, config: rustls::ServerConfig, tasks: &Tasks) {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let connections = tasks.child();
        let (core, shutdown) = (self.core.clone(), tasks.shutdown());
        tasks.spawn_infallible(ACCEPT, async move {
            loop {
                let accepted = tokio::select! { biased;
                    () = shutdown.cancelled() => break,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, _)) => {
                        let connection = connection(
                            core.clone(),
                            acceptor.clone(),
                            stream,
                            connections.shutdown(),
                        );
                        connections.spawn_infallible(CONNECTION, connection);
                    }
                    Err(error) => {
                        // Out of descriptors, most likely: give the others time to return some.
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
            }
            drop(listener);
            connections.stop().await;
        });
    }
}

/// Room for so many requests; zero is no limit, as upstream.
fn room(number: usize) -> Option<Arc<Semaphore>> {
    (number > 0).then(|| Arc::new(Semaphore::new(number)))
}

/// One connection: handshake, requests, and a graceful end.
async fn connection(
    core: Arc<Core>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    shutdown: CancellationToken,
) {
    let peer = stream.peer_addr().ok().map(|peer| audit::Peer(peer.ip()));
    let _ = stream.set_nodelay(true);
    // Only a comfort: without it a dead peer is noticed later.
    let _ = splice::keep_alive(&stream);
    let handshake = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await;
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!("TLS handshake failed: {error}"),
        Err(_) => return tracing::debug!("TLS handshake timed out"),
    };
    let chain = stream.get_ref().1.peer_certificates();
    let certificate = chain.and_then(|chain| certificate::user_of(chain.first()?)).map(Arc::new);
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let (core, certificate) = (core.clone(), certificate.clone());
        async move { Ok::<_, Infallible>(answer(core, Source::Network { certificate }, request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(1_000);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! { biased;
        outcome = connection.as_mut() => {
            if let Err(error) = outcome {
                tracing::debug!("connection ended: {error}");
            }
            return;
        }
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer<B>(core: Arc<Core>, source: Source, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let (parts, body) = request.into_parts();
    let body = body.map_err(Into::into).boxed_unsync();
    pipeline::handle(core, Exchange::new(parts, body, source)).await
}

/// The API server for callers in this process: the whole pipeline but authentication.
#[derive(Clone)]
pub struct InProcess {
    core: Arc<Core>,
    user: Arc<UserInfo>,
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let source = Source::InProcess { user: self.user.clone() };
        let core = self.core.clone();
        Box::pin(async move { Ok(answer(core, source, request).await) })
    }
}
