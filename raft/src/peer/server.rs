//! Serving peers: the accept loop and what each call does.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt};
use kontiki_base::{
    CancellationToken,
    tasks::{TaskKind, Tasks},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{Duration, Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::Connected},
};

use super::{
    Administration, Forwarded, MESSAGE_BYTES_MAX, campaign, frame,
    handshake::{self, Claim, Verdict},
    open,
    proto::{
        Frame,
        peer_server::{Peer, PeerServer},
    },
    snapshot, tls,
};
use crate::{
    command::Proposal,
    error::Error,
    options::Options,
    state::snapshot::SnapshotFiles,
    store::{Attempt, Inner},
    types::MemberId,
};

/// TLS handshakes under way at once.
const HANDSHAKES_MAX: usize = 64;
/// How often a refused peer is mentioned.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);
/// A peer that takes longer is not one.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Window of a stream: a batch of entries in flight.
const WINDOW_BYTES: u32 = 4 << 20;
/// Calls of one peer under way: as many as it may forward, and Raft's own.
const STREAMS_MAX: u32 = 8_192;
/// A peer that gives no sign of life is let go.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
/// How long calls may finish when the member stops.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// Listens, and serves until the tasks stop.
pub(crate) async fn serve(
    inner: &Arc<Inner>,
    options: &Options,
    tasks: &Tasks,
) -> Result<(), Error> {
    let listen = |reason: String| Error::Listen { address: options.listen.to_string(), reason };
    let config = tls::server(&options.tls).map_err(|error| listen(error.to_string()))?;
    let listener =
        TcpListener::bind(options.listen).await.map_err(|error| listen(error.to_string()))?;
    let (lost, campaigns) = campaign::channel();
    let (accepted, connections) = mpsc::channel(HANDSHAKES_MAX);
    let shutdown = tasks.shutdown();
    let complaints = Complaints::default();
    let accepting = Accepting {
        listener,
        acceptor: TlsAcceptor::from(Arc::new(config)),
        accepted,
        lost,
        tasks: tasks.clone(),
        complaints: complaints.clone(),
    };
    tasks.spawn_infallible(TaskKind::vital("peer listener"), accepting.run(shutdown.clone()));
    let service = Service { inner: inner.clone(), shutdown: shutdown.clone(), complaints };
    let service = PeerServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let server = Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_EVERY))
        .add_service(service)
        .serve_with_incoming_shutdown(
            ReceiverStream::new(connections),
            shutdown.clone().cancelled_owned(),
        );
    tasks.spawn(TaskKind::vital("peer server"), async move {
        tokio::pin!(server);
        tokio::select! { biased;
            ended = &mut server => ended,
            () = shutdown.cancelled() => timeout(DRAIN_MAX, server).await.unwrap_or(Ok(())),
        }
    });
    tasks.spawn_infallible(
        TaskKind::vital("campaigns"),
        campaign::run(inner.clone(), campaigns, tasks.shutdown()),
    );
    Ok(())
}

struct Accepting {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    accepted: mpsc::Sender<std::io::Result<Tracked>>,
    lost: campaign::Lost,
    tasks: Tasks,
    complaints: Complaints,
}

impl Accepting {
    async fn run(self, shutdown: CancellationToken) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let permit = tokio::select! { biased;
                () = shutdown.cancelled() => return,
                permit = handshakes.clone().acquire_owned() => permit,
            };
            let accepted = tokio::select! { biased;
                () = shutdown.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: the others need them back first.
                    tracing::warn!("cannot accept a peer: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (acceptor, accepted, lost) =
                (self.acceptor.clone(), self.accepted.clone(), self.lost.clone());
            let complaints = self.complaints.clone();
            self.tasks.spawn_infallible(TaskKind::logged("peer handshake"), async move {
                let _permit = permit;
                let _ = stream.set_nodelay(true);
                match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let _ = accepted.send(Ok(Tracked::new(stream, lost))).await;
                    }
                    Ok(Err(error)) => complaints.say(&from.ip().to_string(), &error),
                    Err(_) => complaints.say(&from.ip().to_string(), &"no handshake in time"),
                }
            });
        }
    }
}

/// Who is at the other end of a connection, once it has said so.
#[derive(Clone, Default)]
pub(super) struct Session(Arc<Mutex<Option<MemberId>>>);

/// A connection that tells when it is gone.
struct Tracked {
    stream: TlsStream<TcpStream>,
    session: Session,
    lost: campaign::Lost,
}

impl Tracked {
    fn new(stream: TlsStream<TcpStream>, lost: campaign::Lost) -> Tracked {
        Tracked { stream, session: Session::default(), lost }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if let Some(member) = *self.session.0.lock() {
            self.lost.report(member);
        }
    }
}

impl Connected for Tracked {
    type ConnectInfo = Session;

    fn connect_info(&self) -> Session {
        self.session.clone()
    }
}

impl AsyncRead for Tracked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tracked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

struct Service {
    inner: Arc<Inner>,
    shutdown: CancellationToken,
    complaints: Complaints,
}

/// Says who was refused, once a minute each: a stranger tries many times a second.
#[derive(Clone, Default)]
struct Complaints(Arc<Mutex<HashMap<String, Instant>>>);

impl Complaints {
    fn say(&self, about: &str, reason: &dyn std::fmt::Display) {
        let now = Instant::now();
        let mut said = self.0.lock();
        said.retain(|_, at| now.duration_since(*at) < COMPLAINT_EVERY);
        if !said.contains_key(about) {
            said.insert(about.to_owned(), now);
            tracing::warn!(from = about, "refused a peer: {reason}");
        }
    }
}

type Answer = Result<Response<Frame>, Status>;

impl Service {
    /// Admits a call, or says why not.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let claim = Claim::read(request.metadata())?;
        let own = &self.inner.identified;
        match handshake::judge(&claim, own.member, own.cluster()) {
            Ok(Verdict::Admit) => {}
            Ok(Verdict::Adopt) => {
                let adopted =
                    own.adopt(claim.cluster).map_err(|e| Status::internal(e.to_string()))?;
                if !adopted {
                    return Err(Status::failed_precondition("it joined another cluster just now"));
                }
                tracing::info!(cluster = format!("{:016x}", claim.cluster.id), "joined a cluster");
            }
            Err(stranger) => {
                self.complaints.say(&claim.from.to_string(), &stranger);
                return Err(Status::failed_precondition(stranger.to_string()));
            }
        }
        if let Some(session) = request.extensions().get::<Session>() {
            session.0.lock().get_or_insert(claim.from);
        }
        Ok(())
    }

    /// Admits a request that a member has on behalf of its callers: one that was removed has none.
    fn admit_member<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.admit(request)?;
        let from = Claim::read(request.metadata())?.from;
        if self.inner.is_member(from) {
            return Ok(());
        }
        Err(Status::permission_denied(format!("{from} is no member of this cluster")))
    }
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

fn forwarded<T: serde::Serialize>(attempt: Attempt<T>) -> Answer {
    let answer = match attempt {
        Attempt::Done(answer) => Forwarded::Done(answer),
        Attempt::Again(reason) => Forwarded::Again(reason),
        Attempt::Refused(reason) => Forwarded::Refused(reason),
        Attempt::Stopped => Forwarded::Again("the store there is stopping".to_owned()),
    };
    Ok(Response::new(frame(&answer)))
}

#[tonic::async_trait]
impl Peer for Service {
    type AppendStreamStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn hello(&self, request: Request<Frame>) -> Answer {
        self.admit(&request)?;
        Ok(Response::new(Frame::default()))
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        self.admit(&request)?;
        let frames = request.into_inner();
        // A message that cannot be read ends the stream: the leader begins again.
        let requests = tokio_stream::StreamExt::map_while(frames, |read| {
            read.and_then(|frame| open(&frame)).ok()
        });
        let answers = self
            .inner
            .raft
            .stream_append(requests)
            .map(|answer| answer.map(|answer| frame(&answer)).map_err(stopped))
            .take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(answers)))
    }

    async fn append(&self, request: Request<Frame>) -> Answer {
        self.admit(&request)?;
        let append = open(request.get_ref())?;
        let answer = self.inner.raft.append_entries(append).await.map_err(stopped)?;
        Ok(Response::new(frame(&answer)))
    }

    async fn vote(&self, request: Request<Frame>) -> Answer {
        self.admit(&request)?;
        let vote = open(request.get_ref())?;
        let answer = self.inner.raft.vote(vote).await.map_err(stopped)?;
        Ok(Response::new(frame(&answer)))
    }

    async fn pre_vote(&self, request: Request<Frame>) -> Answer {
        self.admit(&request)?;
        let vote = open(request.get_ref())?;
        let answer = self.inner.raft.pre_vote(vote).await.map_err(stopped)?;
        Ok(Response::new(frame(&answer)))
    }

    async fn transfer_leader(&self, request: Request<Frame>) -> Answer {
        self.admit(&request)?;
        let transfer = open(request.get_ref())?;
        let answer = self.inner.raft.handle_transfer_leader(transfer).await.map_err(stopped)?;
        Ok(Response::new(frame(&answer)))
    }

    async fn install_snapshot(&self, request: Request<Streaming<Frame>>) -> Answer {
        self.admit(&request)?;
        let files = SnapshotFiles::reserve(&self.inner.shared.snapshot_folder())
            .map_err(|error| Status::internal(error.to_string()))?;
        let (vote, snapshot) = snapshot::receive(request.into_inner(), files).await?;
        let answer =
            self.inner.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(frame(&answer)))
    }

    async fn propose(&self, request: Request<Frame>) -> Answer {
        self.admit_member(&request)?;
        let proposal: Proposal = open(request.get_ref())?;
        forwarded(self.inner.propose_here(proposal).await)
    }

    async fn read_index(&self, request: Request<Frame>) -> Answer {
        self.admit_member(&request)?;
        forwarded(self.inner.read_index_here().await)
    }

    async fn administer(&self, request: Request<Frame>) -> Answer {
        self.admit_member(&request)?;
        let what: Administration = open(request.get_ref())?;
        forwarded(self.inner.administer_here(&what).await)
    }
}
