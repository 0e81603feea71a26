//! One stream: its watches, what has arrived for them, and what goes out.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture};
use tokio::time::{Instant, Interval, interval_at};
use tonic::Status;

use super::{
    frame::Frame,
    request::{self, Creation},
};
use crate::{
    environment::blocking,
    error::Error,
    etcd::{
        api::Api,
        errors,
        proto::etcdserverpb::{
            ResponseHeader, WatchCreateRequest, WatchRequest, watch_request::RequestUnion,
        },
    },
    mvcc,
    state::Shared,
    types::{Revision, WatchEventKind},
    watch::{Delivery, Inbox, Index, Picks, Published, REPLAY_LIMITS, Subscription, Wanted},
};

/// The id of answers that are about all watches, and of those that were not created.
const NO_WATCH: i64 = -1;
/// Watches of one stream.
const WATCHES_MAX: usize = 100_000;
/// Questions for progress of one stream that wait for their answer.
const QUESTIONS_MAX: usize = 64;
/// Revisions are joined in one response up to this size.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Where etcd cuts a response for those who ask for fragments.
const FRAGMENT_BYTES_MAX: usize = 2 << 20;

/// A watch of the stream.
struct Watched {
    id: i64,
    wanted: Wanted,
    /// The first revision that was not handed out.
    next: Revision,
    previous: bool,
    fragment: bool,
    progress: bool,
    /// Whether it was sent anything since the last round of progress.
    told: bool,
    /// Whether the mailbox has everything from `next` on.
    fed: bool,
    subscription: Option<Subscription>,
    /// The frame that further events may join: a round of handing out, and a place in it.
    open: (u64, usize),
}

/// Why progress was asked for; answers come in the order of the questions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// By the client.
    Client,
    /// By the clock, for the watches that want to be told.
    Clock,
}

/// What a step of a replay found for whom.
struct Step {
    /// Everything before here has been looked at.
    end: Revision,
    found: Vec<(u64, Arc<Published>, Picks)>,
}

/// A step that is under way, and the watches it is for.
struct Replaying {
    step: BoxFuture<'static, Result<Step, Error>>,
    tags: Vec<u64>,
}

pub(in crate::etcd) struct Session<R> {
    api: Api,
    shared: Arc<Shared>,
    inbox: Inbox,
    /// `None` once the client has said all it wants to.
    requests: Option<R>,
    watches: HashMap<u64, Watched>,
    tags: HashMap<i64, u64>,
    last_tag: u64,
    next_id: i64,
    /// Taken from the mailbox.
    taken: VecDeque<Delivery>,
    /// What headers say, except the revision.
    head: Option<ResponseHeader>,
    /// To be sent.
    out: VecDeque<Frame>,
    round: u64,
    /// Watches that have to read from disk, by what they need next.
    behind: BTreeSet<(Revision, u64)>,
    replaying: Option<Replaying>,
    /// Where the last step began, so that all get their turn.
    turn: Revision,
    /// Watches that are not fed.
    unfed: usize,
    questions: VecDeque<Question>,
    /// The client asked for progress while a watch was not fed: one answer is enough then.
    deferred: bool,
    progress_every: Duration,
    clock: Option<Interval>,
    ended: BoxFuture<'static, Status>,
    over: bool,
}

/// What happened.
enum Happened {
    Ended(Status),
    Asked(Option<Result<WatchRequest, Status>>),
    Arrived,
    Replayed(Result<Step, Error>),
    Ticked,
}

impl<R: Stream<Item = Result<WatchRequest, Status>> + Unpin> Session<R> {
    pub(in crate::etcd) fn new(
        api: Api,
        requests: R,
        wants_leader: bool,
        progress_every: Duration,
    ) -> Session<R> {
        let shared = api.store.shared();
        let inbox = shared.hub().inbox();
        Session {
            ended: Box::pin(api.clone().ended(wants_leader)),
            api,
            shared,
            inbox,
            requests: Some(requests),
            watches: HashMap::new(),
            tags: HashMap::new(),
            last_tag: 0,
            next_id: 0,
            taken: VecDeque::new(),
            head: None,
            out: VecDeque::new(),
            round: 0,
            behind: BTreeSet::new(),
            replaying: None,
            turn: Revision(0),
            unfed: 0,
            questions: VecDeque::new(),
            deferred: false,
            progress_every,
            clock: None,
            over: false,
        }
    }

    /// The next response; `None` when there is nothing more to say.
    pub(in crate::etcd) async fn next(&mut self) -> Option<Result<Frame, Status>> {
        if self.over {
            return None;
        }
        loop {
            if let Some(frame) = self.out.pop_front() {
                return Some(Ok(self.first_part(frame)));
            }
            if !self.taken.is_empty() {
                self.hand_out();
                continue;
            }
            self.go_on();
            let outcome = match self.happened().await {
                Happened::Ended(status) => Err(status),
                Happened::Asked(Some(Ok(request))) => self.ask(request),
                Happened::Asked(Some(Err(status))) => Err(status),
                // Who says nothing more may still listen.
                Happened::Asked(None) => {
                    self.requests = None;
                    Ok(())
                }
                Happened::Arrived => {
                    self.inbox.take(&mut self.taken).map_err(|_| errors::STOPPED.into())
                }
                Happened::Replayed(step) => self.replayed(step),
                Happened::Ticked => {
                    self.question(Question::Clock);
                    Ok(())
                }
            };
            if let Err(status) = outcome {
                self.over = true;
                return Some(Err(status));
            }
        }
    }

    /// What of a response goes out first, if its watch takes it in fragments.
    fn first_part(&mut self, frame: Frame) -> Frame {
        if !frame.divisible {
            return frame;
        }
        let (first, rest) = frame.fragments(FRAGMENT_BYTES_MAX);
        for part in rest.into_iter().rev() {
            self.out.push_front(part);
        }
        first
    }

    async fn happened(&mut self) -> Happened {
        let listening = self.questions.len() < QUESTIONS_MAX;
        let requests = async {
            match &mut self.requests {
                Some(requests) if listening => requests.next().await,
                _ => std::future::pending().await,
            }
        };
        let replaying = async {
            match &mut self.replaying {
                Some(replaying) => (&mut replaying.step).await,
                None => std::future::pending().await,
            }
        };
        let clock = async {
            match &mut self.clock {
                Some(clock) => clock.tick().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { biased;
            status = &mut self.ended => Happened::Ended(status),
            request = requests => Happened::Asked(request),
            () = self.inbox.ready() => Happened::Arrived,
            step = replaying => Happened::Replayed(step),
            _ = clock => Happened::Ticked,
        }
    }

    fn ask(&mut self, request: WatchRequest) -> Result<(), Status> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(&request)?,
            Some(RequestUnion::CancelRequest(request)) => {
                if let Some(tag) = self.tags.get(&request.watch_id).copied() {
                    self.remove(tag);
                    let header = self.api.header_now();
                    let watch_id = request.watch_id;
                    self.out.push_back(Frame {
                        header,
                        watch_id,
                        canceled: true,
                        ..Frame::default()
                    });
                }
            }
            Some(RequestUnion::ProgressRequest(_)) => self.question(Question::Client),
            None => {}
        }
        Ok(())
    }

    fn create(&mut self, request: &WatchCreateRequest) -> Result<(), Status> {
        let now = self.shared.applied().revision;
        let creation = request::creation(request).and_then(|creation| match creation.id {
            id if id != 0 && self.tags.contains_key(&id) => Err(request::DUPLICATE_ID),
            _ => Ok(creation),
        });
        let header = self.api.header(now);
        let creation = match creation {
            Ok(_) if self.watches.len() >= WATCHES_MAX => {
                return Err(Status::resource_exhausted("etcdserver: too many watches on a stream"));
            }
            Ok(creation) => creation,
            Err(reason) => {
                self.out.push_back(Frame {
                    header,
                    watch_id: NO_WATCH,
                    created: true,
                    canceled: true,
                    cancel_reason: reason.to_owned(),
                    ..Frame::default()
                });
                return Ok(());
            }
        };
        let watch_id = self.choose_id(creation.id);
        self.out.push_back(Frame { header, watch_id, created: true, ..Frame::default() });
        self.add(watch_id, creation, now);
        Ok(())
    }

    fn choose_id(&mut self, wanted: i64) -> i64 {
        if wanted != 0 {
            return wanted;
        }
        while self.tags.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn add(&mut self, id: i64, creation: Creation, now: Revision) {
        let Creation { wanted, from, previous, progress, fragment, .. } = creation;
        if progress && self.clock.is_none() {
            let every = self.progress_every;
            self.clock = Some(interval_at(Instant::now() + every, every));
        }
        self.last_tag += 1;
        let tag = self.last_tag;
        let watch = Watched {
            id,
            wanted,
            next: from.unwrap_or(Revision(now.0 + 1)),
            previous,
            fragment,
            progress,
            told: false,
            fed: false,
            subscription: None,
            open: (0, 0),
        };
        self.tags.insert(id, tag);
        self.watches.insert(tag, watch);
        self.unfed += 1;
        self.join(tag);
    }

    fn remove(&mut self, tag: u64) {
        let Some(watch) = self.watches.remove(&tag) else { return };
        self.tags.remove(&watch.id);
        self.behind.remove(&(watch.next, tag));
        if !watch.fed {
            self.unfed -= 1;
            self.ask_again();
        }
    }

    /// Lets the hub feed a watch, or notes what it has to read first.
    fn join(&mut self, tag: u64) {
        let Some(watch) = self.watches.get_mut(&tag) else { return };
        let applied = self.shared.applied();
        if watch.next < applied.floor && watch.next <= applied.revision {
            let watch_id = watch.id;
            let compact_revision = i64::try_from(applied.floor.0).unwrap_or(i64::MAX);
            self.remove(tag);
            // As etcd's, of no revision: the stream is not there yet.
            let header = self.api.header(Revision(0));
            let canceled = true;
            self.out.push_back(Frame {
                header,
                watch_id,
                canceled,
                compact_revision,
                ..Frame::default()
            });
            return;
        }
        // When the hub is closed, the mailbox says so.
        let hub = self.shared.hub();
        let Ok(joined) = hub.subscribe(&self.inbox, tag, &watch.wanted, watch.next) else { return };
        watch.subscription = joined;
        if watch.subscription.is_none() {
            self.behind.insert((watch.next, tag));
        }
    }

    /// Begins the next step of reading from disk, if there is one to do.
    fn go_on(&mut self) {
        if self.behind.is_empty() || self.replaying.is_some() {
            return;
        }
        let after = (Revision(self.turn.0 + 1), 0);
        let first = self.behind.range(after..).next().or_else(|| self.behind.first());
        let Some((from, _)) = first.copied() else { return };
        self.turn = from;
        let mut readers = Index::default();
        let (mut tags, mut previous) = (Vec::new(), false);
        for (next, tag) in self.behind.range((from, 0)..) {
            if let Some(watch) = self.watches.get(tag) {
                let reader = (watch.wanted.clone(), *next);
                readers.insert(*tag, &watch.wanted.range, reader);
                tags.push(*tag);
                previous |= watch.previous;
            }
        }
        let shared = self.shared.clone();
        let step = blocking(move || step(&shared, &readers, from, previous));
        let step = step.map(|outcome| outcome.unwrap_or(Err(Error::ShutDown))).boxed();
        self.replaying = Some(Replaying { step, tags });
    }

    fn replayed(&mut self, step: Result<Step, Error>) -> Result<(), Status> {
        let tags = self.replaying.take().map(|replaying| replaying.tags).unwrap_or_default();
        let Step { end, found } = match step {
            Ok(step) => step,
            // Whose past it was is found where they join.
            Err(Error::Compacted { .. }) => Step { end: Revision(0), found: Vec::new() },
            Err(error) => return Err(errors::status(error)),
        };
        // Those that were canceled meanwhile are gone.
        for tag in &tags {
            if let Some(watch) = self.watches.get(tag) {
                self.behind.remove(&(watch.next, *tag));
            }
        }
        self.begin();
        for (tag, batch, picks) in found {
            self.events(tag, &batch, &picks);
        }
        for tag in tags {
            if let Some(watch) = self.watches.get_mut(&tag) {
                watch.next = watch.next.max(end);
                self.join(tag);
            }
        }
        Ok(())
    }

    /// The header of what tells of `revision`.
    fn header(&self, revision: Revision) -> Option<ResponseHeader> {
        let revision = i64::try_from(revision.0).unwrap_or(i64::MAX);
        self.head.map(|head| ResponseHeader { revision, ..head })
    }

    /// Begins to hand out: what is added to one response from here on has the same header.
    fn begin(&mut self) {
        self.round += 1;
        self.head = self.api.header_now();
    }

    /// Makes frames of all that was taken from the mailbox.
    fn hand_out(&mut self) {
        self.begin();
        for delivery in std::mem::take(&mut self.taken) {
            match delivery {
                Delivery::Changes { tag, batch, picks } => self.events(tag, &batch, &picks),
                Delivery::Joined { tag } => {
                    if let Some(watch) = self.watches.get_mut(&tag) {
                        watch.fed = true;
                        self.unfed -= 1;
                        self.ask_again();
                    }
                }
                Delivery::Behind { tag } => {
                    if let Some(watch) = self.watches.get_mut(&tag) {
                        (watch.fed, watch.subscription) = (false, None);
                        self.unfed += 1;
                        self.join(tag);
                    }
                }
                Delivery::Progress(revision) => {
                    self.round += 1;
                    self.progress(revision);
                }
            }
        }
    }

    /// Adds a revision's events to what goes out.
    fn events(&mut self, tag: u64, batch: &Published, picks: &Picks) {
        let header = self.header(batch.revision);
        let Some(watch) = self.watches.get_mut(&tag) else { return };
        if batch.revision < watch.next {
            return;
        }
        watch.next = Revision(batch.revision.0 + 1);
        watch.told = true;
        let previous = watch.previous;
        let events = picks.of(batch).map(|shared| shared.encoded(previous).clone());
        let (round, at) = watch.open;
        let open = if round == self.round { self.out.get_mut(at) } else { None };
        if let Some(frame) = open
            && prost::Message::encoded_len(frame) < FRAME_BYTES_MAX
        {
            frame.header = header;
            frame.events.extend(events);
            return;
        }
        let (watch_id, divisible) = (watch.id, watch.fragment);
        let mut frame = Frame { header, watch_id, divisible, ..Frame::default() };
        frame.events.extend(events);
        watch.open = (self.round, self.out.len());
        self.out.push_back(frame);
    }

    fn question(&mut self, question: Question) {
        self.questions.push_back(question);
        self.inbox.request_progress(self.shared.applied().revision);
    }

    /// Asks what could not be answered, once it can be.
    fn ask_again(&mut self) {
        if self.unfed == 0 && std::mem::take(&mut self.deferred) {
            self.question(Question::Client);
        }
    }

    /// Everything up to `revision` has been handed out to all watches that are fed.
    fn progress(&mut self, revision: Revision) {
        let Some(question) = self.questions.pop_front() else { return };
        let header = self.header(revision);
        match question {
            Question::Client if self.unfed > 0 => self.deferred = true,
            Question::Client => {
                self.out.push_back(Frame { header, watch_id: NO_WATCH, ..Frame::default() });
            }
            Question::Clock => {
                let watches = self.watches.values_mut();
                for watch in watches.filter(|watch| watch.progress && watch.fed) {
                    if !std::mem::replace(&mut watch.told, false) {
                        let (header, watch_id) = (header, watch.id);
                        self.out.push_back(Frame { header, watch_id, ..Frame::default() });
                    }
                }
            }
        }
    }
}

type Readers = Index<(Wanted, Revision)>;

/// Reads a piece of the past for all readers at once.
fn step(shared: &Shared, readers: &Readers, from: Revision, previous: bool) -> Result<Step, Error> {
    let wanted = &mut |kind: WatchEventKind, key: &[u8]| {
        let mut any = false;
        readers.visit(key, &mut |_, (wanted, _)| any |= wanted.kind(kind));
        any
    };
    let replay = mvcc::replay::replay(&shared.db().read(), from, wanted, previous, REPLAY_LIMITS)?;
    let mut found = Vec::new();
    for batch in replay.batches {
        let batch = Arc::new(Published::from(batch));
        let mut picked: HashMap<u64, Vec<u32>> = HashMap::new();
        for (at, shared) in batch.events.iter().enumerate() {
            let at = u32::try_from(at).expect("changes count in u32");
            readers.visit(&shared.event.kv.key, &mut |tag, (wanted, next)| {
                if wanted.kind(shared.event.kind) && *next <= batch.revision {
                    picked.entry(tag).or_default().push(at);
                }
            });
        }
        for (tag, positions) in picked {
            let picks = Picks::new(positions, batch.events.len());
            found.push((tag, batch.clone(), picks));
        }
    }
    Ok(Step { end: replay.next, found })
}
