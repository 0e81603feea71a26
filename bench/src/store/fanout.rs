//! Watch fan-out: one writer, many watchers spread over the members.
//!
//! Watchers share streams, as those of one client process do. A value begins with its number, so
//! that every event can be told apart; when the writer has ended, every watcher must have seen
//! every write. Latency is counted from the first sign that the write was committed, which is its
//! acknowledgement at the writer or the first event at any watcher, to the event at each watcher.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{FutureExt, future::join_all};
use kontiki_base::tasks::Tasks;
use tokio::sync::Notify;

use super::{
    grpc::{Answers, Grpc, Requests},
    messages::{
        WatchCreateRequest, WatchRequest, WatchResponse, mvccpb::event::EventType,
        watch_request::RequestUnion,
    },
    random::{Random, Values},
    requests::put,
    side::Side,
};
use crate::{latency::Latencies, load::Outcome};

const KEY: &str = "bench/watched";
const VALUE_BYTES: usize = 256;
/// Watch streams to each member.
const STREAMS_PER_MEMBER: usize = 10;
/// Writes that may be on their way to watchers before the writer waits for them.
const AHEAD_MAX: usize = 16;
/// How long watchers may lag behind the last write.
const DELIVERY_MAX: Duration = Duration::from_secs(20);

/// How fast the writer writes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// At this distance.
    Every(Duration),
    /// As fast as watchers keep up.
    Flood,
}

/// Streams with their watches.
pub(super) struct Watchers {
    streams: Vec<Stream>,
    count: usize,
}

struct Stream {
    // Held, because a stream ends when either direction does.
    _requests: Requests,
    answers: Answers,
}

impl Watchers {
    /// Opens them and waits until every one is established.
    pub(super) async fn open(side: &Side, count: usize, tasks: &Tasks) -> Result<Watchers> {
        let streams = (side.endpoints.len() * STREAMS_PER_MEMBER).min(count);
        let connections = side.connect(streams, tasks).await?;
        let opened = connections.iter().enumerate().map(|(number, grpc)| {
            let watches = count / streams + usize::from(number < count % streams);
            open_stream(grpc, watches)
        });
        let streams: Result<Vec<Stream>> = join_all(opened).await.into_iter().collect();
        Ok(Watchers { streams: streams?, count })
    }

    /// Writes for a time while all of them look on. Counts events; a missing one is an error.
    pub(super) async fn run(
        &mut self,
        writer: &Grpc,
        pace: Pace,
        during: Duration,
    ) -> Result<Outcome> {
        let began = Instant::now();
        let progress = Progress::default();
        let mut seen: Vec<Vec<(usize, Instant)>> = vec![Vec::new(); self.streams.len()];
        let readers = self.streams.iter_mut().zip(&mut seen).map(|(stream, seen)| {
            let progress = &progress;
            read(stream, seen, progress).boxed_local()
        });
        let write = async {
            let end = began + during;
            let acknowledged = write(writer, pace, end, self.count, &progress).await?;
            progress.delivered(acknowledged.len() * self.count).await;
            anyhow::Ok(acknowledged)
        };
        let acknowledged = tokio::select! { biased;
            ended = join_all(readers) => {
                bail!("every stream has ended: {:?}", ended.into_iter().find_map(Result::err))
            }
            acknowledged = write => acknowledged?,
        };
        let latencies = delays(&acknowledged, &seen)?;
        let missing = (acknowledged.len() * self.count).saturating_sub(latencies.len());
        let first_error = (missing > 0).then(|| format!("{missing} events are missing"));
        Ok(Outcome { latencies, errors: missing, first_error, elapsed: began.elapsed() })
    }
}

/// How long each event took from the first sign of its write's commit. Writes are numbered.
fn delays(acknowledged: &[Instant], seen: &[Vec<(usize, Instant)>]) -> Result<Latencies> {
    let mut committed = acknowledged.to_vec();
    for (number, when) in seen.iter().flatten() {
        let first = committed.get_mut(*number).context("an event of a write that never was")?;
        *first = (*when).min(*first);
    }
    let mut latencies = Latencies::default();
    for (number, when) in seen.iter().flatten() {
        latencies.record(*when - committed[*number]);
    }
    Ok(latencies)
}

/// How many events have come, and a bell for whoever waits for more.
#[derive(Default)]
struct Progress {
    events: Cell<usize>,
    more: Notify,
}

impl Progress {
    /// Waits until so many events have come, or in vain for as long as that may take.
    async fn delivered(&self, events: usize) {
        let wait = async {
            while self.events.get() < events {
                self.more.notified().await;
            }
        };
        // What is missing then is counted as an error.
        let _ = tokio::time::timeout(DELIVERY_MAX, wait).await;
    }
}

async fn open_stream(grpc: &Grpc, watches: usize) -> Result<Stream> {
    let create = || {
        let create = WatchCreateRequest { key: Bytes::from(KEY), ..WatchCreateRequest::default() };
        WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    };
    let path = "/etcdserverpb.Watch/Watch";
    let (mut requests, mut answers) = grpc.stream(path, &create()).await?;
    for _ in 1..watches {
        requests.send(&create())?;
    }
    let mut created = 0;
    while created < watches {
        let answer: WatchResponse = answers.next().await?.context("the watch stream ended")?;
        ensure!(!answer.canceled, "a watch was cancelled: {}", answer.cancel_reason);
        created += usize::from(answer.created);
    }
    Ok(Stream { _requests: requests, answers })
}

async fn write(
    writer: &Grpc,
    pace: Pace,
    end: Instant,
    watchers: usize,
    progress: &Progress,
) -> Result<Vec<Instant>> {
    let values = Values::default();
    let mut acknowledged = Vec::new();
    while Instant::now() < end {
        match pace {
            Pace::Every(distance) => tokio::time::sleep(distance).await,
            Pace::Flood => {
                let behind = acknowledged.len().saturating_sub(AHEAD_MAX);
                progress.delivered(behind * watchers).await;
            }
        }
        let number = acknowledged.len();
        let mut value = BytesMut::with_capacity(VALUE_BYTES);
        value.put_u64(u64::try_from(number)?);
        let mut random = Random::of(number, 0);
        value.extend_from_slice(&values.cut(VALUE_BYTES - 8, &mut random));
        put(writer, Bytes::from(KEY), value.freeze()).await?;
        acknowledged.push(Instant::now());
    }
    Ok(acknowledged)
}

async fn read(
    stream: &mut Stream,
    seen: &mut Vec<(usize, Instant)>,
    progress: &Progress,
) -> Result<()> {
    loop {
        let answer: WatchResponse =
            stream.answers.next().await?.context("the watch stream ended")?;
        ensure!(!answer.canceled, "a watch was cancelled: {}", answer.cancel_reason);
        let now = Instant::now();
        for event in &answer.events {
            ensure!(event.r#type == i32::from(EventType::Put), "nothing was deleted");
            let value = event.kv.as_ref().map(|kv| kv.value.as_ref()).unwrap_or_default();
            let number = value.first_chunk().context("a value has a number")?;
            seen.push((usize::try_from(u64::from_be_bytes(*number))?, now));
        }
        progress.events.set(progress.events.get() + answer.events.len());
        progress.more.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_come_before_the_acknowledgement() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let seen = [vec![(0, at(12)), (1, at(31))], vec![(0, at(15)), (1, at(38))]];
        let delays = delays(&[at(10), at(35)], &seen).unwrap();
        // The first write is known from its acknowledgement, the second from an event.
        assert_eq!((delays.percentile(50), delays.max()), (at(2) - start, at(7) - start));
        assert!(super::delays(&[], &seen).is_err());
    }
}
