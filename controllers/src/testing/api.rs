//! A fake API server behind a client: lists, watches, writes, fences, faults; and a kubelet that
//! makes pods run.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use jiff::Timestamp;
use kontiki_base::Fence;
use kontiki_client::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::objects::{Objects, Refusal, key_of};
use crate::world::{Key, Kind};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

struct State {
    objects: Objects,
    leader: Option<Fence>,
    events: Vec<String>,
    writes: usize,
    /// Every how many writes one is carried out, but answered with a time-out.
    lost_answers: usize,
    /// Every how many writes one is not carried out, and answered with a time-out.
    lost_requests: usize,
    refuse_pods: bool,
}

/// The fake. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
    moved: Arc<watch::Sender<u64>>,
}

impl FakeApi {
    pub(crate) fn new() -> FakeApi {
        let state = State {
            objects: Objects::new(),
            leader: None,
            events: Vec::new(),
            writes: 0,
            lost_answers: 0,
            lost_requests: 0,
            refuse_pods: false,
        };
        FakeApi { state: Arc::new(Mutex::new(state)), moved: Arc::new(watch::Sender::new(0)) }
    }

    pub(crate) fn client(&self) -> Client {
        let fake = self.clone();
        Client::in_process(tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        }))
    }

    /// Only writes under this leadership are accepted from now on.
    pub(crate) fn set_leader(&self, leader: Fence) {
        self.state.lock().leader = Some(leader);
    }

    pub(crate) fn lose(&self, answers: usize, requests: usize) {
        let mut state = self.state.lock();
        state.lost_answers = answers;
        state.lost_requests = requests;
    }

    pub(crate) fn refuse_pods(&self, refuse: bool) {
        self.state.lock().refuse_pods = refuse;
    }

    /// The objects, to be looked at or changed.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Objects) -> T) -> T {
        let mut state = self.state.lock();
        let result = act(&mut state.objects);
        self.moved.send_replace(state.objects.revision);
        result
    }

    /// Stores what a line describes, created now.
    pub(crate) fn apply(&self, line: &str) {
        let (kind, mut object) = super::parse::line(line);
        object["metadata"]["creationTimestamp"] = json!(Timestamp::now().to_string());
        self.with(|objects| objects.put(kind, object));
    }

    /// Waits until the objects are as wanted.
    pub(crate) async fn until(&self, holds: impl Fn(&Objects) -> bool) {
        let mut moved = self.moved.subscribe();
        loop {
            moved.borrow_and_update();
            if holds(&self.state.lock().objects) {
                return;
            }
            moved.changed().await.expect("the fake lives");
        }
    }

    /// Reasons of all Events so far.
    pub(crate) fn events(&self) -> Vec<String> {
        self.state.lock().events.clone()
    }

    /// Makes pods run, and ends them when they are to end, as long as it is polled.
    pub(crate) async fn kubelet(self, node: &'static str) {
        let mut moved = self.moved.subscribe();
        loop {
            moved.borrow_and_update();
            self.with_pods(node);
            if moved.changed().await.is_err() {
                return;
            }
        }
    }

    fn with_pods(&self, node: &str) {
        let mut state = self.state.lock();
        let before = state.objects.revision;
        for mut pod in state.objects.list(Kind::Pod, "") {
            let bound = pod["spec"]["nodeName"].as_str();
            let deleting = !pod["metadata"]["deletionTimestamp"].is_null();
            if deleting && bound == Some(node) {
                state.objects.remove(Kind::Pod, &key_of(&pod));
            } else if !deleting && bound.is_none() {
                pod["spec"]["nodeName"] = json!(node);
                pod["status"] = json!({"phase": "Running", "podIP": "10.42.0.9",
                    "conditions": [{"type": "Ready", "status": "True",
                        "lastTransitionTime": Timestamp::now().to_string()}]});
                state.objects.put(Kind::Pod, pod);
            }
        }
        if state.objects.revision > before {
            self.moved.send_replace(state.objects.revision);
        }
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let fence = request.extensions().get::<Fence>().copied();
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        if let Some(discovery) = discovery(path) {
            return ok(0, &discovery);
        }
        let Some(place) = Place::parse(path) else {
            if parts.method == Method::POST && path.ends_with("/events") {
                let reason = body["reason"].as_str().unwrap_or_default().to_owned();
                self.state.lock().events.push(reason);
            }
            return ok(0, &body);
        };
        match parts.method {
            Method::GET if query.contains("watch=true") => self.watch(place.kind, query),
            Method::GET => self.read(&place),
            method => self.write(&method, &place, body, fence),
        }
    }

    fn read(&self, place: &Place) -> Answer {
        let state = self.state.lock();
        if place.key.name.is_empty() {
            let items = state.objects.list(place.kind, &place.key.namespace);
            let version = state.objects.revision.to_string();
            return ok(0, &json!({ "metadata": { "resourceVersion": version }, "items": items }));
        }
        match state.objects.get(place.kind, &place.key) {
            Some(object) => ok(0, object),
            None => refuse(StatusCode::NOT_FOUND, "NotFound", "not found"),
        }
    }

    fn write(&self, method: &Method, place: &Place, body: Value, fence: Option<Fence>) -> Answer {
        let mut state = self.state.lock();
        if state.leader.is_some_and(|leader| Some(leader) != fence) {
            return refuse(StatusCode::CONFLICT, "Conflict", "the leadership has ended");
        }
        if state.refuse_pods && place.kind == Kind::Pod && *method == Method::POST {
            return refuse(StatusCode::FORBIDDEN, "Forbidden", "exceeded quota");
        }
        state.writes += 1;
        let every = |count: usize| count > 0 && state.writes.is_multiple_of(count);
        let timed_out = || refuse(StatusCode::GATEWAY_TIMEOUT, "Timeout", "timed out");
        if every(state.lost_requests) {
            return timed_out();
        }
        let lost_answer = every(state.lost_answers);
        let result = carry_out(&mut state.objects, method, place, body);
        self.moved.send_replace(state.objects.revision);
        if lost_answer {
            return timed_out();
        }
        match result {
            Ok(object) => ok(state.objects.revision, &object),
            Err(Refusal::NotFound) => refuse(StatusCode::NOT_FOUND, "NotFound", "not found"),
            Err(Refusal::AlreadyExists) => {
                refuse(StatusCode::CONFLICT, "AlreadyExists", "already exists")
            }
            Err(Refusal::Conflict) => refuse(StatusCode::CONFLICT, "Conflict", "it was changed"),
        }
    }

    fn watch(&self, kind: Kind, query: &str) -> Answer {
        let from = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
        let seen: u64 = from.and_then(|text| text.parse().ok()).expect("a resourceVersion");
        let (fake, moved) = (self.clone(), self.moved.subscribe());
        let lines = futures::stream::unfold((seen, moved), move |(seen, mut moved)| {
            let fake = fake.clone();
            async move {
                moved.wait_for(|revision| *revision > seen).await.ok()?;
                let state = fake.state.lock();
                let mut text = String::new();
                for happened in &state.objects.log {
                    if happened.revision > seen && happened.kind == kind {
                        let event = json!({ "type": happened.what, "object": happened.object });
                        text.push_str(&format!("{event}\n"));
                    }
                }
                let version = state.objects.revision.to_string();
                let bookmark = json!({ "metadata": { "resourceVersion": version } });
                text.push_str(&format!("{}\n", json!({ "type": "BOOKMARK", "object": bookmark })));
                Some((text, (state.objects.revision, moved)))
            }
        });
        let frames = lines.map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

fn carry_out(
    objects: &mut Objects,
    method: &Method,
    place: &Place,
    body: Value,
) -> Result<Value, Refusal> {
    let now = Timestamp::now();
    match *method {
        Method::POST => objects.create(place.kind, body, now),
        Method::PATCH => objects.patch(place.kind, &place.key, &body),
        Method::PUT if place.subresource == "finalize" => objects.finalize(&place.key, body),
        Method::PUT => objects.patch(place.kind, &place.key, &body),
        Method::DELETE if place.key.name.is_empty() => {
            for object in objects.list(place.kind, &place.key.namespace) {
                objects.delete(place.kind, &key_of(&object), &body, now)?;
            }
            Ok(json!({}))
        }
        _ => objects.delete(place.kind, &place.key, &body, now),
    }
}

/// What a path names.
struct Place {
    kind: Kind,
    key: Key,
    subresource: String,
}

impl Place {
    fn parse(path: &str) -> Option<Place> {
        let mut parts = path.trim_start_matches('/').split('/').peekable();
        if parts.next() == Some("apis") {
            parts.next();
        }
        parts.next();
        let parts: Vec<&str> = parts.collect();
        let (namespace, rest) = match parts.as_slice() {
            ["namespaces", namespace, rest @ ..]
                if !rest.is_empty() && !matches!(rest, ["finalize" | "status"]) =>
            {
                (*namespace, rest)
            }
            rest => ("", rest),
        };
        let plural = rest.first()?;
        let kind = Kind::ALL.iter().find(|kind| kind.resource().plural == *plural)?;
        Some(Place {
            kind: *kind,
            key: Key::new(namespace, rest.get(1).copied().unwrap_or_default()),
            subresource: rest.get(2).copied().unwrap_or_default().to_owned(),
        })
    }
}

fn discovery(path: &str) -> Option<Value> {
    let groups = ["apps", "discovery.k8s.io", "rbac.authorization.k8s.io", "coordination.k8s.io"];
    let group = match path {
        "/apis" => {
            let groups: Vec<Value> = groups
                .iter()
                .map(|name| {
                    json!({"name": name,
                    "preferredVersion": {"groupVersion": format!("{name}/v1")}})
                })
                .collect();
            return Some(json!({ "groups": groups }));
        }
        "/api/v1" => "",
        _ => groups.iter().find(|name| path == format!("/apis/{name}/v1"))?,
    };
    let of_group = Kind::ALL.iter().map(|kind| kind.resource()).filter(|r| r.group == group);
    let resources: Vec<Value> = of_group
        .map(|resource| {
            json!({"name": resource.plural, "namespaced": resource.namespaced,
                "kind": resource.kind, "verbs": ["list", "delete", "deletecollection"]})
        })
        .collect();
    Some(json!({ "resources": resources }))
}

fn ok(revision: u64, body: &Value) -> Answer {
    let response = Response::builder().header("kontiki-revision", revision);
    response.body(full(body)).expect("a valid response")
}

fn refuse(status: StatusCode, reason: &str, message: &str) -> Answer {
    let body = json!({ "kind": "Status", "reason": reason, "message": message });
    Response::builder().status(status).body(full(&body)).expect("a valid response")
}

fn full(body: &Value) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(body.to_string())).boxed_unsync()
}
