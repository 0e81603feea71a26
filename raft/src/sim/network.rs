//! A network that delays, reorders, loses and parts, as the seed says.
//!
//! It behaves as TCP does below gRPC: within a stream, order is kept or the stream breaks; what a
//! partition holds up arrives when it heals, or the connection is given up. Calls beside each
//! other overtake each other freely, and an answer can be lost after its question has worked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, future::BoxFuture};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tonic::Status;

use super::{dice::Dice, gate::Gate, trace::Trace};
use crate::{
    peer::{Call, Caller, Frame, Frames, Method, Outgoing, Pipe, Service, Transport, Upload},
    types::MemberId,
};

/// A connection without a sign of life is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3);
/// Frames under way in one stream.
const IN_FLIGHT_MAX: usize = 64;

/// How messages fare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) least: Duration,
    pub(super) most: Duration,
    /// Connections that break, of ten thousand messages.
    pub(super) breaks: u64,
    /// Messages that take a hundred times as long, of ten thousand.
    pub(super) stragglers: u64,
}

impl Weather {
    /// A quiet local network.
    pub(super) const FAIR: Weather = Weather {
        least: Duration::from_micros(50),
        most: Duration::from_micros(500),
        breaks: 0,
        stragglers: 0,
    };
}

/// All hosts and what connects them.
#[derive(Clone)]
pub(super) struct Network {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    trace: Trace,
}

struct State {
    dice: Dice,
    weather: Weather,
    listening: BTreeMap<String, Endpoint>,
    /// Directions that nothing passes.
    blocked: BTreeSet<(usize, usize)>,
    /// Who has spoken to whom, under which name.
    sessions: BTreeMap<(usize, usize), MemberId>,
}

#[derive(Clone)]
struct Endpoint {
    host: usize,
    service: Arc<Service>,
    gate: Gate,
}

/// What the way of one message is.
enum Fate {
    Arrives(Instant),
    Breaks(Instant),
}

fn broken(reason: &str) -> Status {
    Status::unavailable(reason)
}

impl Network {
    pub(super) fn new(dice: Dice, trace: Trace) -> Network {
        let state = State {
            dice,
            weather: Weather::FAIR,
            listening: BTreeMap::new(),
            blocked: BTreeSet::new(),
            sessions: BTreeMap::new(),
        };
        Network { state: Arc::new(Mutex::new(state)), changed: Arc::default(), trace }
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// Lets nothing pass from one host to another.
    pub(super) fn block(&self, from: usize, to: usize) {
        self.state.lock().blocked.insert((from, to));
    }

    /// Ends all partitions.
    pub(super) fn heal(&self) {
        self.state.lock().blocked.clear();
        self.changed.notify_waiters();
    }

    /// Serves a process at an address.
    pub(super) fn listen(&self, address: &str, host: usize, service: Service, gate: Gate) {
        let endpoint = Endpoint { host, service: Arc::new(service), gate };
        self.state.lock().listening.insert(address.to_owned(), endpoint);
    }

    /// A process is gone: nobody listens any more, and whoever had a connection from it sees it
    /// end.
    pub(super) fn gone(&self, host: usize) {
        let mut reports = Vec::new();
        {
            let mut state = self.state.lock();
            state.listening.retain(|_, endpoint| endpoint.host != host);
            let sessions = std::mem::take(&mut state.sessions);
            for ((from, to), member) in sessions {
                if from == host
                    && let Some(endpoint) = state.at(to)
                {
                    reports.push((endpoint, from, member));
                } else if to != host {
                    state.sessions.insert((from, to), member);
                }
            }
        }
        for (endpoint, from, member) in reports {
            let network = self.clone();
            endpoint.gate.clone().start(async move {
                if network.pass(from, endpoint.host).await.is_ok() {
                    endpoint.service.lost().report(member);
                }
            });
        }
    }

    fn fate(&self) -> Fate {
        let mut state = self.state.lock();
        let Weather { least, most, breaks, stragglers } = state.weather;
        let mut delay = state.dice.time(least, most);
        if state.dice.chance(stragglers) {
            delay *= 100;
        }
        let due = Instant::now() + delay;
        if state.dice.chance(breaks) { Fate::Breaks(due) } else { Fate::Arrives(due) }
    }

    /// Waits while the way is blocked.
    async fn open(&self, from: usize, to: usize) -> Result<(), Status> {
        let given_up = Instant::now() + GIVEN_UP_AFTER;
        loop {
            let changed = self.changed.notified();
            if !self.state.lock().blocked.contains(&(from, to)) {
                return Ok(());
            }
            timeout_at(given_up, changed).await.map_err(|_| broken("keep-alive timed out"))?;
            // What was lost is sent again a little later.
            let pause = self.state.lock().dice.millis(0, 200);
            sleep(pause).await;
        }
    }

    /// Carries one message.
    async fn pass(&self, from: usize, to: usize) -> Result<(), Status> {
        match self.fate() {
            Fate::Arrives(due) => {
                sleep_until(due).await;
                self.open(from, to).await
            }
            Fate::Breaks(due) => {
                sleep_until(due).await;
                self.report_lost(from, to);
                Err(broken("connection reset"))
            }
        }
    }

    /// Tells a host that a connection from another has broken.
    fn report_lost(&self, from: usize, to: usize) {
        let (endpoint, member) = {
            let mut state = self.state.lock();
            (state.at(to), state.sessions.remove(&(from, to)))
        };
        if let (Some(endpoint), Some(member)) = (endpoint, member) {
            endpoint.service.lost().report(member);
        }
    }

    /// Carries a stream of frames in their order: the first part runs at the sender, the second
    /// at the receiver.
    fn pipe(
        &self,
        from: usize,
        to: usize,
        what: &'static str,
        mut input: impl Stream<Item = Result<Frame, Status>> + Send + Unpin + 'static,
    ) -> (BoxFuture<'static, ()>, Frames) {
        let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
        let network = self.clone();
        let pump = async move {
            let mut last = Instant::now();
            loop {
                let frame = tokio::select! { biased;
                    () = sender.closed() => return,
                    frame = input.next() => frame,
                };
                let ends = !matches!(frame, Some(Ok(_)));
                let fate = network.fate();
                let (Fate::Arrives(due) | Fate::Breaks(due)) = fate;
                last = last.max(due);
                let frame = match fate {
                    Fate::Arrives(_) => frame,
                    Fate::Breaks(_) => {
                        network.report_lost(from, to);
                        Some(Err(broken("connection reset")))
                    }
                };
                if sender.send((last, frame)).await.is_err() || ends {
                    return;
                }
            }
        };
        let network = self.clone();
        let output = futures::stream::unfold(Some(receiver), move |receiver| {
            let network = network.clone();
            async move {
                let mut receiver = receiver?;
                // Its sender died without a word.
                let gone = (Instant::now(), Some(Err(broken("connection closed"))));
                let (due, frame) = receiver.recv().await.unwrap_or(gone);
                sleep_until(due).await;
                let frame = match network.open(from, to).await {
                    Ok(()) => frame?,
                    Err(status) => Err(status),
                };
                network.trace_frame(from, to, what, frame.as_ref());
                let rest = frame.is_ok().then_some(receiver);
                Some((frame, rest))
            }
        });
        (Box::pin(pump), output.boxed())
    }

    fn trace_frame(&self, from: usize, to: usize, what: &str, frame: Result<&Frame, &Status>) {
        match frame {
            Ok(frame) => {
                let bytes: &Bytes = &frame.payload;
                let checksum = crc32fast::hash(bytes);
                let line = format_args!("{from}>{to} {what} {} {checksum:08x}", bytes.len());
                self.trace.line(line);
            }
            Err(status) => {
                self.trace.line(format_args!("{from}>{to} {what} {}", status.message()));
            }
        }
    }

    /// Who listens at an address.
    fn endpoint(&self, call: &Call, from: usize) -> Result<Endpoint, Status> {
        let mut state = self.state.lock();
        let endpoint = state.listening.get(&call.address).cloned();
        let endpoint = endpoint.ok_or_else(|| broken("connection refused"))?;
        state.sessions.insert((from, endpoint.host), call.claim.last_hop());
        Ok(endpoint)
    }

    /// Where an address leads, whether or not somebody listens there.
    fn host_of(address: &str) -> Result<usize, Status> {
        let host = address.strip_prefix("host-").and_then(|host| host.split(':').next());
        host.and_then(|host| host.parse().ok()).ok_or_else(|| broken("unknown host"))
    }
}

impl State {
    fn at(&self, host: usize) -> Option<Endpoint> {
        self.listening.values().find(|endpoint| endpoint.host == host).cloned()
    }
}

/// The network as one process sees it.
pub(super) struct SimTransport {
    pub(super) network: Network,
    pub(super) host: usize,
    pub(super) gate: Gate,
}

/// Ends what a caller no longer waits for, or not: both happen.
struct Abandoned {
    work: tokio::task::AbortHandle,
    noticed: bool,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if self.noticed {
            self.work.abort();
        }
    }
}

impl SimTransport {
    /// Gets a call to whoever listens at its address: which host that is, and who.
    async fn reach(&self, call: &Call) -> Result<(usize, Endpoint), Status> {
        let to = Network::host_of(&call.address)?;
        self.network.pass(self.host, to).await?;
        Ok((to, self.network.endpoint(call, self.host)?))
    }

    /// Has the other side do something, and brings what comes of it.
    async fn remote<T, F>(&self, endpoint: &Endpoint, work: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let task = endpoint.gate.start(async move {
            let _ = sender.send(work.await);
        });
        let noticed = self.network.state.lock().dice.chance(5_000);
        let _abandoned = Abandoned { work: task.abort_handle(), noticed };
        receiver.await.map_err(|_| broken("connection closed"))
    }
}

impl Transport for SimTransport {
    fn ask(
        &self,
        call: Call,
        method: Method,
        question: Frame,
    ) -> BoxFuture<'_, Result<Frame, Status>> {
        Box::pin(async move {
            let (network, from) = (&self.network, self.host);
            let (to, endpoint) = self.reach(&call).await?;
            let what = format!("{method:?}?");
            network.trace_frame(from, to, &what, Ok(&question));
            let service = endpoint.service.clone();
            let caller = Caller::new(call.claim);
            let answered = self
                .remote(&endpoint, async move { service.answer(method, &caller, question).await });
            let answer = answered.await?;
            network.pass(to, from).await?;
            let what = format!("{method:?}!");
            network.trace_frame(to, from, &what, answer.as_ref());
            answer
        })
    }

    fn stream(
        &self,
        call: Call,
        what: Pipe,
        questions: Outgoing,
    ) -> BoxFuture<'_, Result<Frames, Status>> {
        Box::pin(async move {
            let (network, from) = (&self.network, self.host);
            let (to, endpoint) = self.reach(&call).await?;
            let (asked, answered) = match what {
                Pipe::Append => ("append?", "append!"),
                Pipe::Propose => ("propose?", "propose!"),
                Pipe::ReadIndex => ("read index?", "read index!"),
            };
            let (pump, frames) = network.pipe(from, to, asked, questions.map(Ok));
            self.gate.start(pump);
            let caller = Caller::new(call.claim);
            let service = endpoint.service.clone();
            let opened = async move { service.stream(what, &caller, frames) };
            let answers = self.remote(&endpoint, opened).await??;
            let (pump, answers) = network.pipe(to, from, answered, answers);
            endpoint.gate.start(pump);
            network.pass(to, from).await?;
            Ok(answers)
        })
    }

    fn upload(
        &self,
        call: Call,
        what: Upload,
        parts: Outgoing,
    ) -> BoxFuture<'_, Result<Frame, Status>> {
        Box::pin(async move {
            let (network, from) = (&self.network, self.host);
            let (to, endpoint) = self.reach(&call).await?;
            let (pump, parts) = network.pipe(from, to, "upload?", parts.map(Ok));
            self.gate.start(pump);
            let caller = Caller::new(call.claim);
            let service = endpoint.service.clone();
            let answered = self.remote(&endpoint, async move {
                match what {
                    Upload::InstallSnapshot => service.install(&caller, parts).await,
                }
            });
            let answer = answered.await?;
            network.pass(to, from).await?;
            network.trace_frame(to, from, "upload!", answer.as_ref());
            answer
        })
    }
}
