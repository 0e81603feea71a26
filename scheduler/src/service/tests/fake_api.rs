//! An API server of a few lines: objects in memory, lists, watches, bindings, fences.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kontiki_base::Fence;
use kontiki_client::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    log: Vec<(u64, String, Value)>,
    revision: u64,
    leader: Option<Fence>,
    failures: usize,
    bindings: Vec<(String, Option<Fence>)>,
}

/// The fake. Cheap to clone.
#[derive(Clone)]
pub(super) struct FakeApi {
    state: Arc<Mutex<State>>,
    moved: Arc<watch::Sender<u64>>,
}

impl FakeApi {
    pub(super) fn new() -> FakeApi {
        let fake = FakeApi { state: Arc::default(), moved: Arc::new(watch::Sender::new(0)) };
        fake.put("/api/v1/namespaces/default", json!({"metadata": {"name": "default"}}));
        fake
    }

    pub(super) fn client(&self) -> Client {
        let fake = self.clone();
        Client::in_process(tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        }))
    }

    /// Only writes under this leadership are accepted.
    pub(super) fn set_leader(&self, leader: Fence) {
        self.state.lock().leader = Some(leader);
    }

    /// The next bindings fail.
    pub(super) fn fail_bindings(&self, times: usize) {
        self.state.lock().failures = times;
    }

    /// Who bound what.
    pub(super) fn bindings(&self) -> Vec<(String, Option<Fence>)> {
        self.state.lock().bindings.clone()
    }

    pub(super) fn add_node(&self, name: &str, cpu: &str) {
        let node = json!({
            "metadata": { "name": name },
            "status": { "allocatable": { "cpu": cpu, "memory": "8Gi", "pods": "110" } },
        });
        self.put(&format!("/api/v1/nodes/{name}"), node);
    }

    pub(super) fn add_pod(&self, name: &str, cpu: &str) {
        self.add_important_pod(name, cpu, 0);
    }

    pub(super) fn add_important_pod(&self, name: &str, cpu: &str, priority: i32) {
        let pod = json!({
            "metadata": { "name": name, "namespace": "default", "uid": name },
            "spec": {
                "schedulerName": "default-scheduler",
                "priority": priority,
                "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }],
            },
        });
        self.put(&pod_path(name), pod);
    }

    pub(super) fn delete_pod(&self, name: &str) {
        let mut state = self.state.lock();
        let path = pod_path(name);
        let object = state.objects.remove(&path).expect("the pod exists");
        self.log(&mut state, "DELETED", &path, object);
    }

    /// Waits until something about an object at a path holds.
    pub(super) async fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut moved = self.moved.subscribe();
        loop {
            moved.borrow_and_update();
            if let Some(object) = self.state.lock().objects.get(path)
                && holds(object)
            {
                return object.clone();
            }
            moved.changed().await.expect("the fake lives");
        }
    }

    /// Waits for the node of a pod.
    pub(super) async fn node_of(&self, pod: &str) -> String {
        let object =
            self.until(&pod_path(pod), |object| object["spec"]["nodeName"].is_string()).await;
        object["spec"]["nodeName"].as_str().expect("a name").to_owned()
    }

    /// Waits for an Event with a reason; its message.
    pub(super) async fn event(&self, reason: &str) -> String {
        let mut moved = self.moved.subscribe();
        loop {
            moved.borrow_and_update();
            let found = self
                .state
                .lock()
                .objects
                .values()
                .find(|object| object["reason"] == reason)
                .map(|event| event["message"].as_str().unwrap_or_default().to_owned());
            if let Some(message) = found {
                return message;
            }
            moved.changed().await.expect("the fake lives");
        }
    }

    fn put(&self, path: &str, object: Value) {
        let mut state = self.state.lock();
        let kind = if state.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        self.log(&mut state, kind, path, object);
    }

    fn log(&self, state: &mut State, kind: &str, path: &str, mut object: Value) {
        state.revision += 1;
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        let event = json!({ "type": kind, "object": object });
        state.log.push((state.revision, resource_of(path).to_owned(), event));
        if kind != "DELETED" {
            state.objects.insert(path.to_owned(), object);
        }
        self.moved.send_replace(state.revision);
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let fence = request.extensions().get::<Fence>().copied();
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default());
        let is_collection =
            matches!(path.rsplit('/').next(), Some("pods" | "nodes" | "namespaces"));
        match parts.method {
            Method::GET if query.contains("watch=true") => self.watch(&path, query),
            Method::GET if is_collection => self.list(&path),
            Method::GET => match self.state.lock().objects.get(&path) {
                Some(object) => ok(object),
                None => refuse(StatusCode::NOT_FOUND, "NotFound"),
            },
            _ if self.state.lock().leader.is_some_and(|leader| Some(leader) != fence) => {
                refuse(StatusCode::CONFLICT, "Conflict")
            }
            Method::POST if path.ends_with("/binding") => self.bind(&path, &body, fence),
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().expect("a name"));
                self.put(&path, body.clone());
                ok(&body)
            }
            Method::PUT => {
                self.put(&path, body.clone());
                ok(&body)
            }
            Method::PATCH => self.patch(&path, &body),
            Method::DELETE => {
                self.delete_pod(path.rsplit('/').next().unwrap_or_default());
                ok(&json!({ "kind": "Status", "status": "Success" }))
            }
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn bind(&self, path: &str, body: &Value, fence: Option<Fence>) -> Answer {
        let path = path.trim_end_matches("/binding");
        let mut state = self.state.lock();
        if state.failures > 0 {
            state.failures -= 1;
            return refuse(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests");
        }
        let Some(mut pod) = state.objects.get(path).cloned() else {
            return refuse(StatusCode::NOT_FOUND, "NotFound");
        };
        if pod["spec"]["nodeName"].is_string() {
            return refuse(StatusCode::CONFLICT, "Conflict");
        }
        pod["spec"]["nodeName"] = body["target"]["name"].clone();
        let name = body["metadata"]["name"].as_str().expect("a name").to_owned();
        state.bindings.push((name, fence));
        self.log(&mut state, "MODIFIED", path, pod);
        ok(&json!({ "kind": "Status", "status": "Success" }))
    }

    fn patch(&self, path: &str, body: &Value) -> Answer {
        let path = path.trim_end_matches("/status");
        let Some(mut object) = self.state.lock().objects.get(path).cloned() else {
            return refuse(StatusCode::NOT_FOUND, "NotFound");
        };
        if body["status"].is_object() {
            object["status"] = body["status"].clone();
        }
        self.put(path, object.clone());
        ok(&object)
    }

    fn list(&self, path: &str) -> Answer {
        let state = self.state.lock();
        let wanted = path.rsplit('/').next().unwrap_or_default();
        let items: Vec<&Value> = state
            .objects
            .iter()
            .filter(|(path, _)| resource_of(path) == wanted)
            .map(|(_, object)| object)
            .collect();
        let revision = state.revision.to_string();
        ok(&json!({ "metadata": { "resourceVersion": revision }, "items": items }))
    }

    fn watch(&self, path: &str, query: &str) -> Answer {
        let wanted = path.rsplit('/').next().unwrap_or_default().to_owned();
        let from = query.split('&').find_map(|p| p.strip_prefix("resourceVersion="));
        let seen: u64 = from.and_then(|v| v.parse().ok()).expect("a resourceVersion");
        let (fake, moved) = (self.clone(), self.moved.subscribe());
        let lines = futures::stream::unfold((seen, moved), move |(seen, mut moved)| {
            let (fake, wanted) = (fake.clone(), wanted.clone());
            async move {
                moved.wait_for(|revision| *revision > seen).await.ok()?;
                let state = fake.state.lock();
                let mut text = String::new();
                for (revision, resource, event) in &state.log {
                    if *revision > seen && *resource == wanted {
                        text.push_str(&format!("{event}\n"));
                    }
                }
                let version = state.revision.to_string();
                let bookmark = json!({ "metadata": { "resourceVersion": version } });
                text.push_str(&format!("{}\n", json!({ "type": "BOOKMARK", "object": bookmark })));
                Some((text, (state.revision, moved)))
            }
        });
        let frames = lines.map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

/// The collection an object's path belongs to.
fn resource_of(path: &str) -> &str {
    path.rsplit('/').nth(1).unwrap_or_default()
}

pub(super) fn pod_path(name: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{name}")
}

fn ok(object: &Value) -> Answer {
    Response::new(Full::new(Bytes::from(object.to_string())).boxed_unsync())
}

fn refuse(code: StatusCode, reason: &str) -> Answer {
    let status =
        json!({ "kind": "Status", "code": code.as_u16(), "reason": reason, "message": reason });
    let mut response = ok(&status);
    *response.status_mut() = code;
    response
}
