//! Forwarding: what callers of this member want from the leader, on one long stream per kind.
//!
//! ```text
//! callers ─▶ queue ─▶ frames of questions ─▶ leader: submitted in order, many frames under way
//!    ▲                                         │
//!    └───── answers in the same order ◀────────┘
//! ```
//!
//! Questions that wait while the connection is busy leave as one frame, and answers that are ready
//! together come back as one, so that under load a write costs no call of its own. When a stream
//! ends, whatever was under way is asked again by its caller: proposals have an identity for that.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use futures::{Stream, StreamExt, stream::BoxStream};
use kontiki_base::tasks::{TaskKind, Tasks};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    Forwarded, Peers, frame,
    handshake::Claim,
    open,
    proto::Frame,
    transport::{Frames, Lane, Outgoing, Pipe},
};
use crate::{
    asking::answer_of,
    command::{Proposal, Reply},
    failpoints::{Step, pass_between},
    store::{Attempt, Inner},
    types::MemberId,
};

/// Questions that wait for one stream: all that a member may have under way.
const QUEUE_MAX: usize = 4_096;
/// Questions in one frame, and their bytes unless one alone is larger.
const FRAME_QUESTIONS_MAX: usize = 1_024;
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Frames of one peer whose answers are not ready yet.
const FRAMES_MAX: usize = 64;

/// What can be asked on a stream of its own.
pub(super) trait Question: Serialize + DeserializeOwned + Send + 'static {
    type Answer: Serialize + DeserializeOwned + Send + 'static;

    /// Its part of a frame, roughly.
    fn bytes(&self) -> usize;

    /// Its stream.
    const PIPE: Pipe;
}

impl Question for Proposal {
    type Answer = Reply;

    const PIPE: Pipe = Pipe::Propose;

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Asks for the log index that a read which begins now must see applied.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct ReadIndex;

impl Question for ReadIndex {
    type Answer = u64;

    const PIPE: Pipe = Pipe::ReadIndex;

    fn bytes(&self) -> usize {
        1
    }
}

struct Asked<Q: Question> {
    question: Q,
    answer: oneshot::Sender<Attempt<Q::Answer>>,
}

/// The lines to all members that were asked something.
pub(super) struct Lines<Q: Question>(Mutex<HashMap<MemberId, mpsc::Sender<Asked<Q>>>>);

impl<Q: Question> Default for Lines<Q> {
    fn default() -> Lines<Q> {
        Lines(Mutex::default())
    }
}

/// Where the streams live: with Raft, whoever asks.
pub(super) struct Home {
    pub(super) tasks: Tasks,
    pub(super) runtime: Handle,
}

impl<Q: Question> Lines<Q> {
    /// Asks a member, on a new stream if there is none.
    pub(super) async fn ask(
        &self,
        peers: &Peers,
        home: &Home,
        to: MemberId,
        question: Q,
    ) -> Attempt<Q::Answer> {
        let (answer, answered) = oneshot::channel();
        let line = self.line(peers, home, to);
        if line.send(Asked { question, answer }).await.is_err() {
            return ended();
        }
        answer_of(&line, answered).await.unwrap_or_else(ended)
    }

    fn line(&self, peers: &Peers, home: &Home, to: MemberId) -> mpsc::Sender<Asked<Q>> {
        let mut lines = self.0.lock();
        if let Some(line) = lines.get(&to)
            && !line.is_closed()
        {
            return line.clone();
        }
        let (line, queue) = mpsc::channel(QUEUE_MAX);
        lines.insert(to, line.clone());
        let (peers, shutdown) = (peers.clone(), home.tasks.shutdown());
        let _runtime = home.runtime.enter();
        home.tasks.spawn_infallible(TaskKind::logged("forwarding"), async move {
            tokio::select! { biased;
                () = shutdown.cancelled() => {}
                () = run(&peers, to, queue) => {}
            }
        });
        line
    }
}

fn ended<A>() -> Attempt<A> {
    Attempt::Again("the stream to the leader ended".to_owned())
}

/// Whose answers are outstanding, in the order of their questions.
type Waiting<A> = Arc<Mutex<VecDeque<oneshot::Sender<Attempt<A>>>>>;

/// One stream, for as long as it holds.
async fn run<Q: Question>(peers: &Peers, to: MemberId, queue: mpsc::Receiver<Asked<Q>>) {
    let waiting = Waiting::<Q::Answer>::default();
    let call = match peers.call(to, Lane::Forward) {
        Ok(call) => call,
        Err(status) => return give_up::<Q::Answer>(&waiting, &status),
    };
    let way = call.clone();
    let frames = Outgoing::new(outgoing(queue, way.claim.next_hop(), waiting.clone()));
    let mut answers = match peers.transport().stream(call, Q::PIPE, frames).await {
        Ok(answers) => way.while_best(answers),
        Err(status) => {
            peers.report(&way.claim, Some(&status));
            return give_up::<Q::Answer>(&waiting, &peers.note(to, status));
        }
    };
    let mut reached = false;
    loop {
        let answered = match answers.next().await {
            Some(Ok(frame)) => open::<Vec<Forwarded<Q::Answer>>>(&frame),
            Some(Err(status)) => Err(status),
            None => Err(Status::unavailable("the leader ended the stream")),
        };
        match answered {
            Ok(answered) => {
                let mut waiting = waiting.lock();
                for answer in answered {
                    if let Some(caller) = waiting.pop_front() {
                        // A caller that has gone needs no answer.
                        let _ = caller.send(answer.into());
                    }
                }
            }
            Err(status) => {
                peers.report(&way.claim, Some(&status));
                return give_up::<Q::Answer>(&waiting, &peers.note(to, status));
            }
        }
        if !std::mem::replace(&mut reached, true) {
            peers.report(&way.claim, None);
        }
    }
}

fn give_up<A>(waiting: &Waiting<A>, status: &Status) {
    for caller in waiting.lock().drain(..) {
        let _ = caller.send(Attempt::Again(status.message().to_owned()));
    }
}

/// Questions as frames: what has queued up while the connection was busy goes together.
fn outgoing<Q: Question>(
    queue: mpsc::Receiver<Asked<Q>>,
    hop: MemberId,
    waiting: Waiting<Q::Answer>,
) -> impl Stream<Item = Frame> + Send {
    futures::stream::unfold((queue, waiting), move |(mut queue, waiting)| async move {
        let first = queue.recv().await?;
        pass_between(Step::PeerCall, hop).ok()?;
        let mut questions = Vec::new();
        {
            let mut waiting = waiting.lock();
            let (mut bytes, mut next) = (0, Some(first));
            while let Some(Asked { question, answer }) = next {
                bytes += question.bytes();
                questions.push(question);
                waiting.push_back(answer);
                let full = questions.len() == FRAME_QUESTIONS_MAX || bytes >= FRAME_BYTES_MAX;
                next = if full { None } else { queue.try_recv().ok() };
            }
        }
        Some((frame(&questions), (queue, waiting)))
    })
}

impl<A> From<Forwarded<A>> for Attempt<A> {
    fn from(forwarded: Forwarded<A>) -> Attempt<A> {
        match forwarded {
            Forwarded::Done(answer) => Attempt::Done(answer),
            Forwarded::Again(reason) => Attempt::Again(reason),
            Forwarded::Refused(reason) => Attempt::Refused(reason),
        }
    }
}

impl<A> From<Attempt<A>> for Forwarded<A> {
    fn from(attempt: Attempt<A>) -> Forwarded<A> {
        match attempt {
            Attempt::Done(answer) => Forwarded::Done(answer),
            Attempt::Again(reason) => Forwarded::Again(reason),
            Attempt::Refused(reason) => Forwarded::Refused(reason),
            Attempt::Stopped => Forwarded::Again("the store there is stopping".to_owned()),
        }
    }
}

/// Answers of one frame, as they become ready.
type Answers<A> = BoxStream<'static, Attempt<A>>;

/// Serves a stream: `submit` begins a frame's work and says where its answers will come.
pub(super) fn serve<Q, S>(
    inner: &Arc<Inner>,
    claim: Claim,
    frames: Frames,
    submit: impl Fn(Arc<Inner>, Vec<Q>) -> S + Send + 'static,
) -> Frames
where
    Q: Question,
    S: Future<Output = Answers<Q::Answer>> + Send,
{
    let (submitted, answers) = mpsc::channel(FRAMES_MAX);
    let inner = inner.clone();
    let tasks = inner.tasks().clone();
    let (shutdown, stopping) = (tasks.shutdown(), tasks.shutdown());
    let reading = async move {
        let mut frames = frames;
        while let Some(Ok(frame)) = frames.next().await {
            // A member that was removed meanwhile has no callers; it is asked to begin again.
            let Ok(questions) = open::<Vec<Q>>(&frame) else { return };
            let arrives = pass_between(Step::PeerServe, claim.last_hop()).is_ok();
            if !inner.is_member(claim.from) || !arrives {
                return;
            }
            let answers = submit(inner.clone(), questions).await;
            if submitted.send(answers).await.is_err() {
                return;
            }
        }
    };
    tasks.spawn_infallible(TaskKind::logged("forwarded questions"), async move {
        tokio::select! { biased;
            () = stopping.cancelled() => {}
            () = reading => {}
        }
    });
    let answers = ReceiverStream::new(answers)
        .flatten()
        .map(Forwarded::from)
        .ready_chunks(FRAME_QUESTIONS_MAX)
        .map(|answers| Ok(frame(&answers)))
        .take_until(shutdown.cancelled_owned());
    answers.boxed()
}

/// Submits forwarded proposals as one message to Raft.
pub(super) async fn propose(inner: Arc<Inner>, proposals: Vec<Proposal>) -> Answers<Reply> {
    let count = proposals.len();
    inner.propose_many_here(proposals).await.unwrap_or_else(|| {
        let stopped = std::iter::repeat_with(|| Attempt::Stopped).take(count);
        futures::stream::iter(stopped).boxed()
    })
}

/// One read index answers all that asked for it in one frame.
pub(super) async fn read_index(inner: Arc<Inner>, asked: Vec<ReadIndex>) -> Answers<u64> {
    let round = async move { inner.read_index_here().await };
    let answers = futures::stream::once(round).flat_map(move |answer| {
        let answers: Vec<Attempt<u64>> = match answer {
            Attempt::Done(index) => asked.iter().map(|_| Attempt::Done(index)).collect(),
            Attempt::Again(reason) | Attempt::Refused(reason) => {
                asked.iter().map(|_| Attempt::Again(reason.clone())).collect()
            }
            Attempt::Stopped => asked.iter().map(|_| Attempt::Stopped).collect(),
        };
        futures::stream::iter(answers)
    });
    answers.boxed()
}
