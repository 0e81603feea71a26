//! The least of an API server that a kubelet can talk to: objects in a map, watches, patches.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kontiki_client::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

/// An API server in memory.
#[derive(Clone)]
pub(crate) struct FakeApi(Arc<State>);

struct State {
    objects: Mutex<BTreeMap<String, Value>>,
    changes: broadcast::Sender<(String, &'static str, Value)>,
    revision: watch::Sender<u64>,
    /// Whether everything is refused.
    down: AtomicBool,
    /// The range that a node gets when it registers.
    pod_cidr: String,
}

type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

impl FakeApi {
    pub(crate) fn new(pod_cidr: &str) -> FakeApi {
        FakeApi(Arc::new(State {
            objects: Mutex::default(),
            changes: broadcast::channel(10_000).0,
            revision: watch::Sender::new(1),
            down: AtomicBool::new(false),
            pod_cidr: pod_cidr.to_owned(),
        }))
    }

    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        Client::in_process(tower::service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        }))
    }

    /// Takes the control plane away, or brings it back.
    pub(crate) fn set_down(&self, down: bool) {
        self.0.down.store(down, Ordering::SeqCst);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.0.objects.lock().get(path).cloned()
    }

    pub(crate) fn list(&self, prefix: &str) -> Vec<Value> {
        let objects = self.0.objects.lock();
        objects.iter().filter(|(path, _)| path.contains(prefix)).map(|(_, o)| o.clone()).collect()
    }

    /// Stores an object at `collection/NAME`.
    pub(crate) fn put(&self, collection: &str, mut object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        if let Some(namespace) = collection.split("/namespaces/").nth(1) {
            object["metadata"]["namespace"] = json!(namespace.split('/').next().unwrap());
        }
        if object["metadata"]["uid"].is_null() {
            let stamp = jiff::Timestamp::now();
            object["metadata"]["uid"] = json!(format!("{name}-{}", stamp.as_microsecond()));
            object["metadata"]["creationTimestamp"] = json!(stamp.to_string());
        }
        self.store(&format!("{collection}/{name}"), object);
    }

    fn store(&self, path: &str, mut object: Value) -> Value {
        let mut objects = self.0.objects.lock();
        let revision = *self.0.revision.borrow() + 1;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        let kind = if objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        objects.insert(path.to_owned(), object.clone());
        let _ = self.0.changes.send((path.to_owned(), kind, object.clone()));
        self.0.revision.send_replace(revision);
        object
    }

    pub(crate) fn remove(&self, path: &str) -> Option<Value> {
        let mut objects = self.0.objects.lock();
        let mut object = objects.remove(path)?;
        let revision = *self.0.revision.borrow() + 1;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        let _ = self.0.changes.send((path.to_owned(), "DELETED", object.clone()));
        self.0.revision.send_replace(revision);
        Some(object)
    }

    /// Marks a pod for deletion, as the API server does.
    pub(crate) fn delete_gracefully(&self, path: &str, seconds: i64) {
        let mut object = self.get(path).unwrap();
        object["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string());
        object["metadata"]["deletionGracePeriodSeconds"] = json!(seconds);
        self.store(path, object);
    }

    /// Waits until `check` finds what it looks for.
    pub(crate) async fn wait<T>(&self, what: &str, check: impl Fn(&FakeApi) -> Option<T>) -> T {
        let mut revisions = self.0.revision.subscribe();
        let waiting = async {
            loop {
                revisions.mark_unchanged();
                if let Some(found) = check(self) {
                    return found;
                }
                revisions.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(std::time::Duration::from_secs(90), waiting).await {
            Ok(found) => found,
            Err(_) => {
                for pod in self.list("/pods/") {
                    eprintln!("{:#}", pod["status"]);
                }
                for event in self.list("/events/") {
                    eprintln!("{} {}", event["reason"], event["message"]);
                }
                panic!("waited too long for {what}")
            }
        }
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<AnyBody>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: std::fmt::Debug,
    {
        if self.0.down.load(Ordering::SeqCst) {
            let status = json!({ "kind": "Status", "code": 503, "reason": "ServiceUnavailable" });
            return answer(503, status);
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().replace("%3D", "=");
        match parts.method {
            Method::GET if query.contains("watch=") => self.watch(&path, &query),
            Method::GET => match self.get(&path) {
                Some(object) => answer(200, object),
                None if is_collection(&path) => self.list_answer(&path, &query),
                None => not_found(&path),
            },
            Method::POST if path.ends_with("/token") => answer(201, token()),
            Method::POST if path.ends_with("/tokenreviews") => answer(201, review_token(&body)),
            Method::POST if path.ends_with("/subjectaccessreviews") => {
                answer(201, review_access(&body))
            }
            Method::POST => self.create(&path, body),
            Method::PATCH => self.patch(&path, &body),
            Method::DELETE => match self.remove(&path) {
                Some(object) => answer(200, object),
                None => not_found(&path),
            },
            _ => answer(405, json!({ "kind": "Status", "code": 405 })),
        }
    }

    fn create(&self, collection: &str, mut object: Value) -> Response<AnyBody> {
        if object["metadata"]["name"].is_null() {
            let stamp = jiff::Timestamp::now().as_nanosecond();
            object["metadata"]["name"] = json!(format!("generated-{stamp}"));
        }
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let path = format!("{collection}/{name}");
        if self.get(&path).is_some() {
            let status = json!({ "kind": "Status", "code": 409, "reason": "AlreadyExists", "message": "already exists" });
            return answer(409, status);
        }
        if collection.ends_with("/nodes") {
            object["spec"]["podCIDR"] = json!(self.0.pod_cidr);
            object["spec"]["podCIDRs"] = json!([self.0.pod_cidr]);
        }
        self.put(collection, object);
        answer(201, self.get(&path).unwrap())
    }

    fn patch(&self, path: &str, patch: &Value) -> Response<AnyBody> {
        let path = path.trim_end_matches("/status");
        let Some(mut object) = self.get(path) else { return not_found(path) };
        merge(&mut object, patch);
        answer(200, self.store(path, object))
    }

    fn matching(path: &str, object: &Value, collection: &str, query: &str) -> bool {
        let last = collection.rsplit('/').next().unwrap();
        let in_collection = if collection.contains("/namespaces/") {
            path.starts_with(&format!("{collection}/"))
        } else {
            path.contains(&format!("/{last}/"))
        };
        let selector = query.split('&').find_map(|part| part.strip_prefix("fieldSelector="));
        let selected = selector.is_none_or(|selector| {
            let (field, value) = selector.split_once('=').unwrap();
            object.pointer(&format!("/{}", field.replace('.', "/"))) == Some(&json!(value))
        });
        in_collection && selected
    }

    fn list_answer(&self, path: &str, query: &str) -> Response<AnyBody> {
        let objects = self.0.objects.lock();
        let items: Vec<&Value> = objects
            .iter()
            .filter(|(at, object)| Self::matching(at, object, path, query))
            .map(|(_, object)| object)
            .collect();
        let revision = self.0.revision.borrow().to_string();
        answer(200, json!({ "metadata": { "resourceVersion": revision }, "items": items }))
    }

    fn watch(&self, path: &str, query: &str) -> Response<AnyBody> {
        let objects = self.0.objects.lock();
        let changes = self.0.changes.subscribe();
        let from: u64 = query
            .split('&')
            .find_map(|part| part.strip_prefix("resourceVersion="))
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let revision = |object: &Value| -> u64 {
            object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
        };
        let (path, query) = (path.to_owned(), query.to_owned());
        // What changed between the list and this watch is still in the map.
        let missed: Vec<(String, &'static str, Value)> = objects
            .iter()
            .filter(|(_, object)| revision(object) > from)
            .map(|(at, object)| (at.clone(), "MODIFIED", object.clone()))
            .collect();
        drop(objects);
        let later =
            tokio_stream::wrappers::BroadcastStream::new(changes).filter_map(|c| async { c.ok() });
        let lines =
            futures::stream::iter(missed).chain(later).filter_map(move |(at, kind, object)| {
                let wanted =
                    revision(&object) > from && Self::matching(&at, &object, &path, &query);
                let line = format!("{}\n", json!({ "type": kind, "object": object }));
                async move { wanted.then(|| Ok(Frame::data(Bytes::from(line)))) }
            });
        respond(200, lines)
    }
}

fn is_collection(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap();
    matches!(
        last,
        "pods"
            | "nodes"
            | "services"
            | "configmaps"
            | "secrets"
            | "leases"
            | "namespaces"
            | "events"
    )
}

fn token() -> Value {
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    json!({ "status": { "token": "TOKEN", "expirationTimestamp": expires.to_string() } })
}

fn not_found(path: &str) -> Response<AnyBody> {
    let status = json!({ "kind": "Status", "code": 404, "reason": "NotFound", "message": format!("{path} not found") });
    answer(404, status)
}

#[expect(clippy::needless_pass_by_value, reason = "json! makes a value where it stands")]
fn answer(code: u16, value: Value) -> Response<AnyBody> {
    let frame = Frame::data(Bytes::from(value.to_string()));
    respond(code, futures::stream::once(async { Ok(frame) }))
}

fn respond(
    code: u16,
    stream: impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static,
) -> Response<AnyBody> {
    let body = BodyExt::boxed_unsync(StreamBody::new(stream));
    Response::builder().status(code).body(body).unwrap()
}

/// A merge patch that knows the two lists which merge by a key.
fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in fields {
        match (field.as_str(), value) {
            ("conditions", Value::Array(list)) => merge_list(target, "conditions", "type", list),
            ("podIPs" | "hostIPs", Value::Array(list)) => merge_list(target, field, "ip", list),
            (_, Value::Null) => {
                target.as_object_mut().unwrap().remove(field);
            }
            _ => merge(&mut target[field], value),
        }
    }
}

fn merge_list(target: &mut Value, field: &str, key: &str, patches: &[Value]) {
    let mut list = target[field].as_array().cloned().unwrap_or_default();
    for patch in patches {
        let at = list.iter().position(|entry| entry[key] == patch[key]);
        match (at, patch["$patch"].as_str()) {
            (Some(at), Some("delete")) => {
                list.remove(at);
            }
            (None, Some("delete")) => {}
            (Some(at), _) => merge(&mut list[at], patch),
            (None, _) => list.push(patch.clone()),
        }
    }
    target[field] = Value::Array(list);
}

/// The token `good` is the collector's.
fn review_token(review: &Value) -> Value {
    if review["spec"]["token"] != "good" {
        return json!({ "status": { "user": {}, "error": "invalid bearer token" } });
    }
    json!({ "status": { "authenticated": true, "user": { "username": "collector" } } })
}

/// The collector reads metrics, and nobody anything else.
fn review_access(review: &Value) -> Value {
    let (user, asked) = (&review["spec"]["user"], &review["spec"]["resourceAttributes"]);
    let allowed = user == "collector" && asked["subresource"] == "metrics";
    json!({ "status": { "allowed": allowed } })
}
