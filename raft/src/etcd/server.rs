//! Serving: mutual TLS, connections, and which service a request belongs to.
//!
//! Requests go from hyper straight to the service of their path; what is rare takes tonic's
//! router. On the same port, a request that is no gRPC is answered by [`super::plain`].

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use kontiki_base::{
    CancellationToken,
    tasks::{TaskKind, Tasks},
    tls::{self, ClientCertificates},
};
use tokio::{
    io::BufReader,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tonic::{body::Body, service::Routes};
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, HealthService},
};
use tower::Service;

use super::{
    Options,
    api::Api,
    auth::NoAuth,
    cluster::Members,
    election::Elections,
    kv::Keys,
    lease::Leases,
    lock::Locks,
    maintenance::Care,
    plain,
    proto::{
        self,
        etcdserverpb::{
            auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
            lease_server::LeaseServer, maintenance_server::MaintenanceServer,
            watch_server::WatchServer,
        },
        v3electionpb::election_server::ElectionServer,
        v3lockpb::lock_server::LockServer,
    },
    queue::Queues,
    requests::REQUEST_BYTES_MAX,
    watch::Watches,
};
use crate::{error::Error, store::Store};

const LISTENER: TaskKind = TaskKind::vital("etcd API listener");
const CONNECTION: TaskKind = TaskKind::logged("etcd API connection");
const HEALTH: TaskKind = TaskKind::logged("etcd API health");

/// Connections at once. A client has one or two.
const CONNECTIONS_MAX: usize = 16_384;
/// A client that takes longer to shake hands is not one.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Calls of one connection that are under way; the next ones wait at the client.
const STREAMS_MAX: u32 = 16_384;
/// Bytes that a client may send ahead of being read, by call and by connection: more than the
/// largest request.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// What is read from a connection at once: many small requests, or a large one in few calls.
const READ_BYTES: usize = 16 << 10;
/// Calls that a client may cancel before they were looked at: a test harness cancels in bursts.
const CANCELLED_MAX: usize = 1_024;
/// A client that gives no sign of life is let go.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(30);
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(20);
/// Messages that are looked at before they are refused for their size.
const MESSAGE_BYTES_MAX: usize = REQUEST_BYTES_MAX + (512 << 10);
/// How long calls may finish when the member stops.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// After a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the API on a listener until the tasks are stopped.
pub fn serve(
    store: &Store,
    listener: TcpListener,
    options: Options,
    tasks: &Tasks,
) -> Result<(), Error> {
    let refused = |reason: String| Error::Listen {
        address: listener.local_addr().map_or_else(|_| String::new(), |at| at.to_string()),
        reason,
    };
    let config = tls::server_config(
        &options.identity,
        &options.roots,
        ClientCertificates::Required,
        &[b"h2", b"http/1.1"],
    )
    .map_err(|error| refused(error.to_string()))?;
    let api = Api::new(store.clone(), options.read_only, tasks.shutdown());
    let progress_every = options.progress_notify_interval;
    let reporter = HealthReporter::new();
    let services = Services::new(api.clone(), progress_every, reporter.clone(), tasks)
        .map_err(|error| refused(format!("the API's descriptors: {error}")))?;
    tasks.spawn_infallible(HEALTH, report(api, reporter));
    let accepting = Accepting {
        listener,
        acceptor: TlsAcceptor::from(Arc::new(config)),
        services: Arc::new(services),
        connections: tasks.child(),
    };
    tasks.spawn_infallible(LISTENER, accepting.run(tasks.shutdown()));
    Ok(())
}

/// Tells the health service whether there is a leader, so whether requests make sense.
async fn report(api: Api, reporter: HealthReporter) {
    let mut leadership = api.store.leadership();
    loop {
        let led = leadership.borrow_and_update().leader.is_some();
        let status = if led { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        tokio::select! { biased;
            () = api.shutdown.cancelled() => return,
            changed = leadership.changed() => if changed.is_err() { return },
        }
    }
}

/// All services of one member.
struct Services {
    api: Api,
    kv: KvServer<Keys>,
    lease: LeaseServer<Leases>,
    watch: WatchServer<Watches>,
    others: Routes,
}

macro_rules! bounded {
    ($server:ident, $service:expr) => {
        $server::new($service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(usize::MAX)
    };
}

impl Services {
    fn new(
        api: Api,
        progress_every: Duration,
        reporter: HealthReporter,
        tasks: &Tasks,
    ) -> Result<Services, tonic_reflection::server::Error> {
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let health = tonic_health::pb::health_server::HealthServer::new(
            HealthService::from_health_reporter(reporter),
        );
        let queues = Queues { api: api.clone(), tasks: tasks.clone() };
        let others = Routes::new(bounded!(ClusterServer, Members(api.clone())))
            .add_service(bounded!(MaintenanceServer, Care(api.clone())))
            .add_service(bounded!(AuthServer, NoAuth(api.clone())))
            .add_service(bounded!(ElectionServer, Elections(queues.clone())))
            .add_service(bounded!(LockServer, Locks(queues)))
            .add_service(health)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?)
            .prepare();
        Ok(Services {
            kv: bounded!(KvServer, Keys(api.clone())),
            lease: bounded!(LeaseServer, Leases(api.clone())),
            watch: bounded!(WatchServer, Watches::new(api.clone(), progress_every)),
            others,
            api,
        })
    }

    /// Answers one request.
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        if !is_grpc(&request) {
            let (method, uri) = (request.method(), request.uri());
            return Ok(plain::answer(&self.api, method, uri.path(), uri.query()).await);
        }
        let service = request.uri().path().trim_start_matches('/').split('/').next();
        match service.unwrap_or_default() {
            "etcdserverpb.KV" => self.kv.clone().call(request).await,
            "etcdserverpb.Lease" => self.lease.clone().call(request).await,
            "etcdserverpb.Watch" => self.watch.clone().call(request).await,
            _ => self.others.clone().call(request).await,
        }
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let content = request.headers().get(header::CONTENT_TYPE);
    content.is_some_and(|content| content.as_bytes().starts_with(b"application/grpc"))
}

struct Accepting {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    services: Arc<Services>,
    connections: Tasks,
}

impl Accepting {
    async fn run(self, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! { biased;
                () = shutdown.cancelled() => break,
                accepted = self.accept(&places) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let (acceptor, services) = (self.acceptor.clone(), self.services.clone());
                    let shutdown = self.connections.shutdown();
                    self.connections.spawn_infallible(CONNECTION, async move {
                        let _place = place;
                        connection(stream, acceptor, services, shutdown).await;
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: the others need them back first.
                    tracing::warn!("cannot accept a client: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        self.connections.stop().await;
    }

    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        Ok((self.listener.accept().await?.0, place))
    }
}

/// One connection: handshake, requests, and an end that leaves them time.
async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    services: Arc<Services>,
    shutdown: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let stream = BufReader::with_capacity(READ_BYTES, stream);
    let stream = match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!("a client's handshake failed: {error}"),
        Err(_) => return tracing::debug!("a client's handshake took too long"),
    };
    let service = hyper::service::service_fn(move |request| {
        let services = services.clone();
        async move { services.answer(request).await }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(CANCELLED_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! { biased;
        outcome = connection.as_mut() => {
            if let Err(error) = outcome {
                tracing::debug!("a client's connection ended: {error}");
            }
            return;
        }
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = timeout(DRAIN_MAX, connection).await;
}
