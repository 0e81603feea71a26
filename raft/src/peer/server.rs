//! Serving peers on the network: the accept loop, and gRPC's view of the service.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::StreamExt;
use kontiki_base::{
    CancellationToken,
    tasks::{TaskKind, Tasks},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{Duration, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::Connected},
};

use super::{
    MESSAGE_BYTES_MAX, READ_BYTES, campaign,
    handshake::Claim,
    proto::{
        Frame,
        peer_server::{Peer, PeerServer},
    },
    service::{Caller, Complaints, Service, Session},
    tls,
    transport::{Frames, Method, Pipe},
};
use crate::{error::Error, options::Options};

/// TLS handshakes under way at once.
const HANDSHAKES_MAX: usize = 64;
/// A peer that takes longer is not one.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Window of a stream: a batch of entries in flight.
const WINDOW_BYTES: u32 = 4 << 20;
/// A batch of entries is one frame: each begins with a write of its own.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Calls of one peer under way: as many as it may forward, and Raft's own.
const STREAMS_MAX: u32 = 8_192;
/// A peer that gives no sign of life is let go.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
/// How long calls may finish when the member stops.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// Listens, and serves until the tasks stop.
pub(crate) async fn listen(
    service: Service,
    options: &Options,
    tasks: &Tasks,
) -> Result<(), Error> {
    let listen = |reason: String| Error::Listen { address: options.listen.to_string(), reason };
    let config = tls::server(&options.tls).map_err(|error| listen(error.to_string()))?;
    let listener =
        TcpListener::bind(options.listen).await.map_err(|error| listen(error.to_string()))?;
    let (accepted, connections) = mpsc::channel(HANDSHAKES_MAX);
    let shutdown = tasks.shutdown();
    let accepting = Accepting {
        listener,
        acceptor: TlsAcceptor::from(Arc::new(config)),
        accepted,
        lost: service.lost(),
        tasks: tasks.clone(),
        complaints: service.complaints(),
    };
    tasks.spawn_infallible(TaskKind::vital("peer listener"), accepting.run(shutdown.clone()));
    let service = PeerServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let server = Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(Some(FRAME_BYTES_MAX))
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
                let stream = BufReader::with_capacity(READ_BYTES, stream);
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

type Encrypted = TlsStream<BufReader<TcpStream>>;

/// A connection that tells when it is gone.
struct Tracked {
    stream: Encrypted,
    session: Session,
    lost: campaign::Lost,
}

impl Tracked {
    fn new(stream: Encrypted, lost: campaign::Lost) -> Tracked {
        Tracked { stream, session: Session::default(), lost }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if let Some(member) = self.session.member() {
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

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

type Answer = Result<Response<Frame>, Status>;

/// Who calls, and the call's message.
fn parts<T>(request: Request<T>) -> Result<(Caller, T), Status> {
    let claim = Claim::read(request.metadata())?;
    let session = request.extensions().get::<Session>().cloned();
    Ok((Caller { claim, session }, request.into_inner()))
}

impl Service {
    async fn unary(&self, method: Method, request: Request<Frame>) -> Answer {
        let (caller, question) = parts(request)?;
        self.answer(method, &caller, question).await.map(Response::new)
    }

    fn pipe(
        &self,
        what: Pipe,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Frames>, Status> {
        let (caller, frames) = parts(request)?;
        self.stream(what, &caller, frames.boxed()).map(Response::new)
    }
}

#[tonic::async_trait]
impl Peer for Service {
    type AppendStreamStream = Frames;
    type ProposeStream = Frames;
    type ReadIndexStream = Frames;

    async fn hello(&self, request: Request<Frame>) -> Answer {
        self.unary(Method::Hello, request).await
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Frames>, Status> {
        self.pipe(Pipe::Append, request)
    }

    async fn append(&self, request: Request<Frame>) -> Answer {
        self.unary(Method::Append, request).await
    }

    async fn vote(&self, request: Request<Frame>) -> Answer {
        self.unary(Method::Vote, request).await
    }

    async fn pre_vote(&self, request: Request<Frame>) -> Answer {
        self.unary(Method::PreVote, request).await
    }

    async fn transfer_leader(&self, request: Request<Frame>) -> Answer {
        self.unary(Method::TransferLeader, request).await
    }

    async fn held_files(&self, request: Request<Frame>) -> Answer {
        self.unary(Method::HeldFiles, request).await
    }

    async fn install_snapshot(&self, request: Request<Streaming<Frame>>) -> Answer {
        let (caller, parts) = parts(request)?;
        self.install(&caller, parts.boxed()).await.map(Response::new)
    }

    async fn propose(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Frames>, Status> {
        self.pipe(Pipe::Propose, request)
    }

    async fn read_index(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Frames>, Status> {
        self.pipe(Pipe::ReadIndex, request)
    }

    async fn administer(&self, request: Request<Frame>) -> Answer {
        self.unary(Method::Administer, request).await
    }

    async fn lease(&self, request: Request<Frame>) -> Answer {
        self.unary(Method::Lease, request).await
    }

    async fn examine(&self, request: Request<Frame>) -> Answer {
        self.unary(Method::Examine, request).await
    }
}
