//! Changes as they happen.
//!
//! A watch is a place in the resource's shared window of changes. It reads on whenever something
//! there may concern it, tells what its selection sees of it, and between changes sends bookmarks: the revision
//! up to which nothing was missed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use http::{Response, StatusCode};
use kontiki_api::{Status, field};
use kontiki_base::fence::PromptBookmarks;
use kontiki_raft::types::Revision;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    accept::{self, Agreed, Encoding, Form},
    bodies, get,
    selection::Selection,
};
use crate::{
    answer::{self, Body, BodyError},
    cache::{
        Resource,
        event::{self, Event, EventType},
        object::Object,
        resource::{Cursor, Expired, Follower},
    },
    core::Core,
    exchange::Exchange,
    flowcontrol::Sending,
    metrics,
    protobuf::encode,
    query::Query,
    streams::readout,
};

/// Changes taken from the window at a time.
const BATCH: usize = 256;
/// Bytes gathered before they are handed to the socket.
const CHUNK_BYTES: usize = 64 << 10;
/// In-process caches learn of a revision that does not concern them after this long, so that
/// several share a bookmark.
const PROMPT: Duration = Duration::from_millis(20);

pub(super) async fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Status> {
    let mut agreed = accept::negotiate_stream(exchange.header(http::header::ACCEPT))?;
    let in_messages = readout::is_wanted(exchange);
    if in_messages {
        agreed.encoding = Encoding::Json;
    }
    let resource = exchange.resource()?.clone();
    let selection = selection(exchange, &resource)?;
    let start = start(core, exchange, &resource, &selection).await?;
    // What is there at the start is a list, and is sent like one.
    let seat = exchange.seat.take();
    let until = Instant::now() + core.options.request_timeout;
    let seat = seat.map(|seat| seat.while_sending(until));
    let watcher = Watcher {
        changes: resource.cache.follow(selection.interest(), start.cursor),
        moved: core.caches.subscribe(),
        ended: core.caches.ended().clone(),
        deadline: Instant::now() + duration(core, exchange),
        bookmarks: bookmarks(core, exchange, start.initial_end.is_some()),
        told: start.revision,
        initial_end: start.initial_end,
        expired: start.expired,
        initial: start.initial,
        query: exchange.query.clone(),
        sent: metrics::WATCH_EVENTS.with_label_values(&[
            &resource.row.group,
            &resource.row.version,
            &resource.row.resource,
        ]),
        resource,
        selection,
        agreed,
        seat,
        done: false,
    };
    let body = Body::stream(lines(watcher));
    let media_type = match agreed.encoding {
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    let answer = answer::typed(StatusCode::OK, media_type, body);
    if in_messages { readout::lines(core, exchange, answer) } else { Ok(answer) }
}

fn selection(exchange: &Exchange, resource: &Resource) -> Result<Selection, Status> {
    let mut selection = Selection::of(exchange, &resource.row)?;
    // `/watch/.../NAME`, and `?watch` on one object.
    let name = &exchange.info.name;
    if !name.is_empty() && selection.fields.exact("metadata.name").is_none() {
        selection.fields.requirements.push(kontiki_api::selector::FieldRequirement {
            field: "metadata.name".to_owned(),
            equal: true,
            value: name.clone(),
        });
    }
    Ok(selection)
}

fn duration(core: &Core, exchange: &Exchange) -> Duration {
    let asked = exchange.query.get("timeoutSeconds").and_then(|text| text.parse().ok());
    match asked {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
        _ => core.options.min_request_timeout.mul_f64(1.0 + rand::random::<f64>()),
    }
}

/// How often to tell the revision while nothing happens; `None` is never.
fn bookmarks(core: &Core, exchange: &Exchange, initial: bool) -> Option<Bookmarks> {
    let prompt = exchange.prompt_bookmarks();
    if prompt.is_none() && !initial && !exchange.query.flag("allowWatchBookmarks") {
        return None;
    }
    let interval = core.options.bookmark_interval;
    let now = Instant::now();
    Some(Bookmarks { prompt, interval, next: now + interval, last: now })
}

struct Bookmarks {
    prompt: Option<PromptBookmarks>,
    interval: Duration,
    next: Instant,
    last: Instant,
}

impl Bookmarks {
    /// When the next revision may be told.
    fn prompt_at(&self) -> Option<Instant> {
        Some(self.last + self.prompt?.every)
    }
}

/// Where a watch begins.
struct Start {
    cursor: Cursor,
    revision: Revision,
    /// Objects that are told as added first.
    initial: Box<dyn Iterator<Item = Arc<Object>> + Send>,
    /// Set when the end of the initial objects must be marked.
    initial_end: Option<Revision>,
    expired: Option<Expired>,
}

async fn start(
    core: &Core,
    exchange: &Exchange,
    resource: &Resource,
    selection: &Selection,
) -> Result<Start, Status> {
    let query = &exchange.query;
    let version = query.get("resourceVersion").unwrap_or_default();
    let send_initial = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
    check_initial(query, send_initial)?;
    if send_initial != Some(true) && !matches!(version, "" | "0") {
        let revision = get::parse_revision(version)?;
        // A client that comes from a server that was ahead must not be told anything twice.
        get::at_least(core, revision).await?;
        let empty = Box::new(std::iter::empty());
        let found = resource.cache.cursor_after(revision);
        let (cursor, expired) = match found {
            Ok(cursor) => (cursor, None),
            Err(expired) => (resource.cache.snapshot(revision).cursor, Some(expired)),
        };
        return Ok(Start { cursor, revision, initial: empty, initial_end: None, expired });
    }
    get::freshness(core, version).await?;
    let snapshot = resource.cache.snapshot(core.caches.revision());
    let (revision, cursor) = (snapshot.revision, snapshot.cursor);
    let wanted = selection.clone();
    let initial: Box<dyn Iterator<Item = Arc<Object>> + Send> = if send_initial == Some(false) {
        Box::new(std::iter::empty())
    } else {
        let walk = snapshot.index.walk(&selection.narrowest_prefix(), "");
        Box::new(walk.filter(move |object| wanted.selects(object)))
    };
    let initial_end = (send_initial == Some(true)).then_some(revision);
    Ok(Start { cursor, revision, initial, initial_end, expired: None })
}

fn check_initial(query: &Query, send_initial: Option<bool>) -> Result<(), Status> {
    if send_initial.is_none() || query.get("resourceVersionMatch") == Some("NotOlderThan") {
        return Ok(());
    }
    let error = field::Error::forbidden(
        &field::Path::new("resourceVersionMatch"),
        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    );
    Err(Status::invalid("meta.k8s.io", "ListOptions", "", &error.into()))
}

struct Watcher {
    resource: Arc<Resource>,
    selection: Selection,
    query: Query,
    agreed: Agreed,
    changes: Follower,
    moved: watch::Receiver<Revision>,
    ended: kontiki_base::CancellationToken,
    deadline: Instant,
    bookmarks: Option<Bookmarks>,
    /// The revision that the client knows to have passed.
    told: Revision,
    initial: Box<dyn Iterator<Item = Arc<Object>> + Send>,
    initial_end: Option<Revision>,
    expired: Option<Expired>,
    sent: prometheus::IntCounter,
    /// Held until the initial objects are told.
    seat: Option<Arc<Sending>>,
    done: bool,
}

fn lines(watcher: Watcher) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    futures::stream::unfold(watcher, |mut watcher| async move {
        let chunk = watcher.next_chunk().await?;
        Some((Ok(chunk), watcher))
    })
}

impl Watcher {
    /// The next lines, as soon as there are any; `None` ends the watch.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        if let Some(expired) = self.expired.take() {
            return Some(self.cut(expired));
        }
        if let Some(chunk) = self.initial_chunk() {
            return Some(chunk);
        }
        self.seat = None;
        loop {
            // In this order: what the window holds after reading the revision covers it.
            let passed = *self.moved.borrow_and_update();
            let events = match self.changes.take(BATCH) {
                Ok(events) => events,
                Err(expired) => return Some(self.cut(expired)),
            };
            let drained = events.len() < BATCH;
            let mut lines = self.tell(&events);
            if drained && let Some(bookmark) = self.bookmark(passed, lines.is_empty()) {
                lines.push(bookmark);
            }
            if !lines.is_empty() {
                return Some(join(lines));
            }
            if drained && !self.wait().await {
                return None;
            }
        }
    }

    /// Waits for something to do; false when the watch is over.
    async fn wait(&mut self) -> bool {
        let bookmark = self.bookmarks.as_ref().map(|bookmarks| bookmarks.next);
        let told_with = self.bookmarks.as_ref().and_then(Bookmarks::prompt_at);
        let bookmark = bookmark.unwrap_or(self.deadline).min(self.deadline);
        let told = self.told;
        let moved = async {
            if let Some(at) = told_with {
                let _ = self.moved.wait_for(|revision| *revision > told).await;
                // Whatever else moves the revision meanwhile is told with the same bookmark.
                tokio::time::sleep_until(at.max(Instant::now() + PROMPT)).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! { biased;
            () = self.ended.cancelled() => false,
            () = self.changes.woken() => true,
            () = moved => {
                if let Some(bookmarks) = &mut self.bookmarks {
                    bookmarks.next = Instant::now();
                }
                true
            }
            () = tokio::time::sleep_until(bookmark) => Instant::now() < self.deadline,
        }
    }

    fn initial_chunk(&mut self) -> Option<Bytes> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while bytes < CHUNK_BYTES {
            let Some(object) = self.initial.next() else {
                if let Some(revision) = self.initial_end.take() {
                    lines.push(self.bookmark_line(revision, true));
                }
                break;
            };
            let line = self.written("ADDED", &self.shape(&object));
            bytes += line.len();
            self.sent.inc();
            lines.push(line);
        }
        (!lines.is_empty()).then(|| join(lines))
    }

    fn tell(&mut self, events: &[Arc<Event>]) -> Vec<Bytes> {
        let mut lines = Vec::new();
        for event in events {
            if let Some(kind) = event.seen_by(|object| self.selection.selects(object)) {
                lines.push(self.line(event, kind));
                self.told = self.told.max(event.revision);
            }
        }
        self.sent.inc_by(lines.len() as u64);
        lines
    }

    fn line(&self, event: &Event, kind: EventType) -> Bytes {
        match self.agreed {
            Agreed { form: Form::Object, encoding: Encoding::Json, .. } => event.line(kind),
            _ => self.written(kind.name(), &self.shape(event.object_for(kind))),
        }
    }

    /// One event as it is sent: a line, or a frame of protobuf.
    fn written(&self, kind: &str, object: &[u8]) -> Bytes {
        if self.agreed.encoding != Encoding::Protobuf {
            return event::line(kind, object);
        }
        let value: Option<Value> = serde_json::from_slice(object).ok();
        let frame = value.and_then(|value| encode::frame(kind, &value).ok());
        // Kinds without a message are refused before a watch begins.
        frame.map(Bytes::from).unwrap_or_default()
    }

    fn shape(&self, object: &Object) -> Bytes {
        match self.agreed.form {
            Form::Object => object.json.clone(),
            Form::Metadata => bodies::partial(&object.json, self.agreed.meta),
            Form::Table => {
                let metadata = json!({"resourceVersion": object.revision.to_string()});
                self.table(&[object.value()], &metadata).to_string().into()
            }
        }
    }

    fn table(&self, objects: &[Value], metadata: &Value) -> Value {
        bodies::table(&self.resource, objects, &self.query, metadata, self.agreed.meta)
    }

    fn bookmark(&mut self, passed: Revision, idle: bool) -> Option<Bytes> {
        let bookmarks = self.bookmarks.as_mut()?;
        let due = Instant::now() >= bookmarks.next;
        if !due || passed <= self.told && bookmarks.prompt.is_none() && !idle {
            return None;
        }
        bookmarks.next = Instant::now() + bookmarks.interval;
        if passed <= self.told && bookmarks.prompt.is_some() {
            return None;
        }
        bookmarks.last = Instant::now();
        self.told = self.told.max(passed);
        Some(self.bookmark_line(self.told, false))
    }

    fn bookmark_line(&self, revision: Revision, initial_end: bool) -> Bytes {
        let row = &self.resource.row;
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.agreed.form {
            Form::Object => {
                json!({"kind": row.kind, "apiVersion": row.api_version(), "metadata": metadata})
            }
            Form::Metadata => {
                bodies::metadata_only(&json!({"metadata": metadata}), self.agreed.meta)
            }
            Form::Table => {
                let mut table = self.table(&[], &json!({"resourceVersion": revision.to_string()}));
                if initial_end {
                    let object = json!({"metadata": metadata});
                    let object = bodies::metadata_only(&object, self.agreed.meta);
                    table["rows"] = json!([{"cells": [], "object": object}]);
                }
                table
            }
        };
        self.written("BOOKMARK", object.to_string().as_bytes())
    }

    /// The last line of a watch that cannot go on without a gap.
    fn cut(&mut self, expired: Expired) -> Bytes {
        self.done = true;
        let message = format!("too old resource version: {} ({})", self.told, expired.oldest);
        self.written("ERROR", &Status::expired(message).encode())
    }
}

fn join(mut lines: Vec<Bytes>) -> Bytes {
    if lines.len() == 1 {
        return lines.swap_remove(0);
    }
    lines.concat().into()
}
