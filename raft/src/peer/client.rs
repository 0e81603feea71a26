//! Raft's side of dialling: openraft's network on top of [`Peers`].

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures::{Stream, StreamExt};
use openraft::{
    OptionalSend, RaftNetworkFactory,
    base::{BoxFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, v2::RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    Peers, frame,
    handshake::Claim,
    open,
    proto::Frame,
    snapshot,
    transport::{Call, Frames, Lane, Method, Outgoing, Pipe, Upload},
};
use crate::{
    failpoints::{Step, pass_between},
    metrics,
    raft_types::{MemberNode, Snapshot, TypeConfig, Vote},
    state::snapshot::SnapshotFiles,
    types::MemberId,
};

type C = TypeConfig;

/// Setting a stream up may take a connection first.
const STREAM_SETUP_MAX: Duration = Duration::from_secs(2);

/// The way to one member on one lane.
pub(crate) struct Connection {
    peers: Peers,
    to: MemberId,
    lane: Lane,
    round_trip: prometheus::Histogram,
    beats: Mutex<Option<Beats>>,
}

/// The stream that heartbeats of one leadership share: a question leaves once the last one is
/// answered. Whatever goes wrong, the next heartbeat begins a new one.
struct Beats {
    claim: Claim,
    questions: mpsc::Sender<Frame>,
    answers: Frames,
}

impl Beats {
    async fn ask(&mut self, question: Frame) -> Result<Frame, Status> {
        let ended = || Status::unavailable("the stream of heartbeats ended");
        pass_between(Step::PeerCall, self.claim.next_hop())
            .map_err(|error| Status::unavailable(error.to_string()))?;
        self.questions.send(question).await.map_err(|_| ended())?;
        self.answers.next().await.unwrap_or_else(|| Err(ended()))
    }
}

impl RaftNetworkFactory<C> for Peers {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &MemberNode) -> Connection {
        self.connection(target, node, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &MemberNode) -> Connection {
        self.connection(target, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &MemberNode) -> Connection {
        self.connection(target, node, Lane::Snapshot)
    }
}

impl Peers {
    fn connection(&self, target: u64, node: &MemberNode, lane: Lane) -> Connection {
        let to = MemberId(target);
        self.learn(to, &node.peer_address);
        let round_trip = &metrics::store().peer_round_trip_seconds;
        let round_trip = round_trip.with_label_values(&[&to.to_string()]);
        Connection { peers: self.clone(), to, lane, round_trip, beats: Mutex::default() }
    }
}

/// Unreachable backs off; anything else is tried again at once.
fn rpc_error(status: &Status) -> RPCError<C> {
    let unreachable = matches!(
        status.code(),
        Code::Unavailable
            | Code::FailedPrecondition
            | Code::Unknown
            | Code::PermissionDenied
            | Code::ResourceExhausted
    );
    if unreachable {
        RPCError::Unreachable(Unreachable::from_string(status.message()))
    } else {
        RPCError::Network(NetworkError::from_string(status.message()))
    }
}

fn late() -> Status {
    Status::deadline_exceeded("no answer in time")
}

/// Openraft takes an end without an error for word that what it sent will be sent again by
/// itself, and may have purged it by then: only when it has said all is an end no error.
fn ended_early(complete: Arc<AtomicBool>) -> impl Stream<Item = Result<Frame, Status>> + Send {
    let end = async move {
        let early = || Err(Status::unavailable("the stream of entries ended early"));
        (!complete.load(Ordering::Relaxed)).then(early)
    };
    futures::stream::once(end).filter_map(std::future::ready)
}

impl Connection {
    /// One question, one answer, in time.
    async fn ask<Q, A>(
        &self,
        method: Method,
        question: &Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<C>>
    where
        Q: Serialize,
        A: DeserializeOwned,
    {
        let asked = async {
            let answer = self.peers.ask(self.to, self.lane, method, frame(question)).await?;
            open(&answer)
        };
        let answer = timeout(option.hard_ttl(), asked).await.unwrap_or_else(|_| Err(late()));
        answer.map_err(|status| rpc_error(&status))
    }

    /// One heartbeat.
    async fn beat(
        &self,
        request: &AppendEntriesRequest<C>,
        option: &RPCOption,
    ) -> Result<StreamAppendResult<C>, RPCError<C>> {
        let call = self.peers.call(self.to, self.lane).map_err(|status| {
            self.peers.heard(self.to, Some(&status));
            rpc_error(&status)
        })?;
        let claim = call.claim;
        let beaten = async {
            // Taken out, so that a stream on which an answer is overdue is not used again.
            let beats = self.beats.lock().take().filter(|beats| beats.claim == claim);
            let mut beats = match beats {
                Some(beats) => beats,
                None => self.open_beats(call).await?,
            };
            let answer = open(&beats.ask(frame(request)).await?)?;
            Ok((answer, beats))
        };
        let start = Instant::now();
        let beaten = timeout(option.hard_ttl(), beaten).await.unwrap_or_else(|_| Err(late()));
        self.peers.heard(self.to, beaten.as_ref().err());
        self.peers.report(&claim, beaten.as_ref().err());
        let (answer, beats) = beaten.map_err(|status| rpc_error(&status))?;
        self.round_trip.observe(start.elapsed().as_secs_f64());
        // An answer that is an error is the last of its stream.
        *self.beats.lock() = StreamAppendResult::<C>::is_ok(&answer).then_some(beats);
        Ok(answer)
    }

    async fn open_beats(&self, call: Call) -> Result<Beats, Status> {
        let (questions, frames) = mpsc::channel(1);
        let frames = Outgoing::new(ReceiverStream::new(frames));
        let claim = call.claim;
        let answers = self.peers.transport().stream(call, Pipe::Append, frames).await?;
        Ok(Beats { claim, questions, answers })
    }

    async fn open_stream<S>(
        &self,
        mut input: S,
    ) -> Result<BoxStream<'static, Result<StreamAppendResult<C>, RPCError<C>>>, Status>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
    {
        // The first request is where openraft waits after a failure: dialling comes behind it.
        let Some(first) = input.next().await else {
            return Ok(Box::pin(futures::stream::empty()));
        };
        let complete = Arc::new(AtomicBool::new(false));
        let completed = complete.clone();
        let end = futures::stream::poll_fn(move |_| {
            completed.store(true, Ordering::Relaxed);
            Poll::Ready(None)
        });
        let requests = futures::stream::once(std::future::ready(first)).chain(input).chain(end);
        let call = self.peers.call(self.to, self.lane)?;
        let hop = call.claim.next_hop();
        let requests = requests
            .take_while(move |_| std::future::ready(pass_between(Step::PeerCall, hop).is_ok()));
        let frames = Outgoing::new(requests.map(|request| frame(&request)));
        let way = call.clone();
        let opened = self.peers.transport().stream(call, Pipe::Append, frames);
        let opened = timeout(STREAM_SETUP_MAX, opened).await.unwrap_or_else(|_| Err(late()));
        // That it is open says nothing yet where another member passes it on.
        if opened.is_err() {
            self.peers.report(&way.claim, opened.as_ref().err());
        }
        let answers = opened.map_err(|status| self.peers.note(self.to, status))?;
        let (peers, claim) = (self.peers.clone(), way.claim);
        let answers = way.while_best(answers).chain(ended_early(complete)).map(move |answer| {
            if answer.is_err() {
                peers.report(&claim, answer.as_ref().err());
            }
            answer
                .and_then(|answer| open::<StreamAppendResult<C>>(&answer))
                .map_err(|status| rpc_error(&status))
        });
        Ok(Box::pin(answers))
    }
}

impl RaftNetworkV2<C> for Connection {
    type SnapshotData = SnapshotFiles;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        self.ask(Method::Append, &request, &option).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            if self.lane == Lane::Heartbeat {
                let mut input = input;
                let Some(request) = input.next().await else {
                    return Ok(futures::stream::empty().boxed());
                };
                let answer = self.beat(&request, &option).await;
                return Ok(futures::stream::once(std::future::ready(answer)).boxed());
            }
            let answers = self.open_stream(input).await.map_err(|status| rpc_error(&status))?;
            let answers: BoxStream<'s, _> = answers;
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.ask(Method::Vote, &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.ask(Method::PreVote, &request, &option).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        self.ask(Method::TransferLeader, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let unreachable = |status: Status| {
            StreamingError::Unreachable(Unreachable::from_string(status.message()))
        };
        let (member, index) = (self.to, snapshot.meta.last_log_id.map_or(0, |id| id.index));
        tracing::info!(%member, index, "sending a snapshot");
        let held = self.peers.held_files(self.to).await;
        let frames = Outgoing::new(snapshot::send(vote, snapshot, held, self.peers.pace()));
        let call = self.peers.call(self.to, self.lane).map_err(unreachable)?;
        let sent = self.peers.transport().upload(call, Upload::InstallSnapshot, frames);
        tokio::select! { biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = sent => {
                open(&answer.map_err(unreachable)?).map_err(unreachable)
            }
        }
    }
}
