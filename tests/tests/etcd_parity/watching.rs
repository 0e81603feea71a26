//! A stream of watches and all that it said.

use std::{collections::BTreeMap, time::Duration};

use kontiki_tests::etcd::proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
    watch_client::WatchClient, watch_request::RequestUnion,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use crate::answer::{event, notice};

/// What should come comes sooner than this.
const PATIENCE: Duration = Duration::from_secs(30);

/// The id of the watch that every stream begins with.
const QUIET: i64 = 1_000;

/// One stream.
pub(crate) struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    frames: Streaming<WatchResponse>,
    /// By watch, in the order of their creation: an id may be used again.
    logs: Vec<Log>,
    open: BTreeMap<i64, usize>,
    /// About no watch in particular.
    notices: Vec<String>,
}

/// What one watch was told.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) request: WatchCreateRequest,
    /// By revision, in order of arrival.
    pub(crate) events: Vec<(i64, Vec<String>)>,
    /// Of each response with events: the first one's revision, whether it was a fragment, and how
    /// many there were.
    pub(crate) shape: Vec<(i64, bool, usize)>,
    /// How it ended.
    pub(crate) end: Option<String>,
    fragmented: bool,
}

impl Log {
    /// Adds events; a revision must come in one piece, behind all that came before.
    fn add(&mut self, frame: &WatchResponse) {
        if let Some(first) = frame.events.first() {
            let revision = first.kv.as_ref().unwrap().mod_revision;
            self.shape.push((revision, frame.fragment, frame.events.len()));
        }
        let mut continued = self.fragmented;
        for item in &frame.events {
            let revision = item.kv.as_ref().unwrap().mod_revision;
            match self.events.last_mut() {
                Some((last, events)) if *last == revision => {
                    assert!(continued, "revision {revision} is torn, after {events:?}");
                    events.push(event(item));
                }
                last => {
                    assert!(last.is_none_or(|(last, _)| *last < revision), "{self:?}");
                    self.events.push((revision, vec![event(item)]));
                }
            }
            continued = true;
        }
        self.fragmented = frame.fragment;
    }

    fn count(&self) -> usize {
        self.events.iter().map(|(_, events)| events.len()).sum()
    }
}

impl Stream {
    pub(crate) async fn open(channel: Channel) -> Stream {
        let (requests, queue) = mpsc::channel(16);
        // etcd sends its headers with the first response: to a watch that nothing happens to.
        let quiet = WatchCreateRequest {
            key: "never".into(),
            start_revision: i64::MAX / 2,
            watch_id: QUIET,
            ..WatchCreateRequest::default()
        };
        let request_union = Some(RequestUnion::CreateRequest(quiet));
        requests.send(WatchRequest { request_union }).await.unwrap();
        let mut client = WatchClient::new(channel).max_decoding_message_size(64 << 20);
        let mut frames = client.watch(ReceiverStream::new(queue)).await.unwrap().into_inner();
        assert!(frames.message().await.unwrap().unwrap().created);
        Stream { requests, frames, logs: Vec::new(), open: BTreeMap::new(), notices: Vec::new() }
    }

    async fn send(&self, request: RequestUnion) {
        self.requests.send(WatchRequest { request_union: Some(request) }).await.unwrap();
    }

    /// Reads one response.
    async fn read(&mut self) -> WatchResponse {
        let frame = timeout(PATIENCE, self.frames.message()).await;
        let frame = frame.expect("a response in time").unwrap().expect("the stream goes on");
        let ended = |frame: &WatchResponse| frame.canceled && !frame.created;
        if let Some(at) = self.open.get(&frame.watch_id).copied() {
            self.logs[at].add(&frame);
            if ended(&frame) {
                self.logs[at].end = Some(notice(&frame));
                self.open.remove(&frame.watch_id);
                if frame.compact_revision != 0 {
                    // etcd keeps the id of what it has ended so, until it is canceled as well.
                    let watch_id = frame.watch_id;
                    let cancel = WatchCancelRequest { watch_id };
                    self.send(RequestUnion::CancelRequest(cancel)).await;
                }
            }
        } else if !frame.created {
            self.notices.push(notice(&frame));
        }
        frame
    }

    /// Creates a watch, and says what was answered.
    pub(crate) async fn create(&mut self, request: WatchCreateRequest) -> String {
        self.send(RequestUnion::CreateRequest(request.clone())).await;
        loop {
            let frame = self.read().await;
            if frame.created {
                if !frame.canceled {
                    self.open.insert(frame.watch_id, self.logs.len());
                    self.logs.push(Log { request, ..Log::default() });
                }
                return notice(&frame);
            }
        }
    }

    /// Cancels a watch, and says what was answered.
    pub(crate) async fn cancel(&mut self, watch_id: i64) -> String {
        let Some(at) = self.open.get(&watch_id).copied() else {
            self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id })).await;
            return "nothing to cancel".to_owned();
        };
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id })).await;
        while self.logs[at].end.is_none() {
            self.read().await;
        }
        self.logs[at].end.clone().unwrap()
    }

    /// Asks for progress, and says what was answered.
    pub(crate) async fn progress(&mut self) -> String {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
        loop {
            let frame = self.read().await;
            if frame.watch_id == -1 && !frame.created {
                return notice(&frame);
            }
        }
    }

    /// How many events each watch has had.
    pub(crate) fn counts(&self) -> Vec<(usize, bool)> {
        self.logs.iter().map(|log| (log.count(), log.end.is_some())).collect()
    }

    /// Reads until every watch has had as many events as elsewhere, or nothing more comes.
    pub(crate) async fn follow(&mut self, counts: &[(usize, bool)]) {
        let lacks = |log: &Log, (count, ended): &(usize, bool)| {
            log.count() < *count || (log.end.is_none() && *ended)
        };
        while self.logs.iter().zip(counts).any(|(log, count)| lacks(log, count)) {
            let more = timeout(PATIENCE, self.read()).await;
            assert!(more.is_ok(), "{:?} of {counts:?} events came", self.counts());
        }
    }

    pub(crate) fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// Ids of the watches that go on, with what they ask for.
    pub(crate) fn open_watches(&self) -> impl Iterator<Item = (i64, &WatchCreateRequest)> {
        self.open.iter().map(|(id, at)| (*id, &self.logs[*at].request))
    }
}
