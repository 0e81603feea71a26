//! What is served without gRPC, as etcd does: health, version and metrics, for probes and people.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use prometheus::{Encoder, TextEncoder};
use tonic::body::Body;

use super::{API_VERSION, api::Api};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Answers a plain request.
pub(super) async fn answer(
    api: &Api,
    method: &Method,
    path: &str,
    query: Option<&str>,
) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n");
    }
    match path {
        "/health" => health(api, query.unwrap_or_default()).await,
        "/livez" => respond(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => match problem(api, false).await {
            None => respond(StatusCode::OK, TEXT, "ok\n"),
            Some(problem) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{problem}\n")),
        },
        "/version" => respond(
            StatusCode::OK,
            JSON,
            format!(r#"{{"etcdserver":"{API_VERSION}","etcdcluster":"{API_VERSION}"}}"#),
        ),
        "/metrics" => metrics(),
        _ => respond(StatusCode::NOT_FOUND, TEXT, "404 page not found\n"),
    }
}

/// As etcd reports it: healthy is who can answer a linearizable read, or, if that is asked, any.
async fn health(api: &Api, query: &str) -> Response<Body> {
    let serializable = query.split('&').any(|pair| pair == "serializable=true");
    match problem(api, serializable).await {
        None => respond(StatusCode::OK, JSON, r#"{"health":"true","reason":""}"#),
        Some(problem) => {
            // Reasons are ours and hold nothing that JSON would want escaped, but quotes.
            let reason = problem.replace(['"', '\\'], "'");
            let body = format!(r#"{{"health":"false","reason":"{reason}"}}"#);
            respond(StatusCode::SERVICE_UNAVAILABLE, JSON, body)
        }
    }
}

async fn problem(api: &Api, serializable: bool) -> Option<String> {
    if serializable {
        return None;
    }
    if !api.has_leader() {
        return Some("RAFT NO LEADER".to_owned());
    }
    api.store.read_index().await.err().map(|error| format!("QGET ERROR:{error}"))
}

fn metrics() -> Response<Body> {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&prometheus::gather(), &mut text) {
        Ok(()) => respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
        Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
