//! `pods/NAME/proxy`, `services/NAME/proxy` and `nodes/NAME/proxy`: HTTP to what runs on nodes.
//!
//! NAME is `[SCHEME:]NAME[:PORT]`, and whatever stands behind `proxy` in the path is what the other
//! side is asked for, by any method and with any body. Its answer is passed on as it comes; only
//! links are bent so that they lead through here again ([`links`]). A request that wants to switch
//! protocols is joined to the other side like a conversation.

mod html;
mod links;
mod target;

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kontiki_api::Status;

use self::{html::Rewriter, links::Links};
use super::ServeFuture;
use crate::{
    answer::{Body, BodyError},
    core::Core,
    dial,
    exchange::Exchange,
    streams::Place,
    upgrade,
};

/// What is meant for one hop only.
const HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What the other side says about who may read it is not true for us.
const CORS: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> ServeFuture<'a> {
    Box::pin(run(core, exchange))
}

async fn run(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let target = target::of(core, &exchange.info).await?;
    let uri = exchange.parts.uri.clone();
    let (before, rest) = split(uri.path());
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if upgrade::is_wanted(&exchange.parts.headers) {
        let path = if rest.is_empty() { "/" } else { rest };
        return upgrade::pass_on(core, exchange, &target, &format!("{path}{query}")).await;
    }
    if rest.is_empty() && matches!(exchange.parts.method, Method::GET | Method::HEAD) {
        return moved(&format!("{}/{query}", uri.path()));
    }
    let place = core.streams.place(exchange)?;
    let path = if rest.is_empty() { "/" } else { rest };
    let host = host_of(exchange, &uri);
    let failed = |error: &dyn std::fmt::Display| {
        Status::service_unavailable(format!("error trying to reach service: {error}"))
    };
    let asked: Uri = format!("{path}{query}").parse().map_err(|error| failed(&error))?;
    let mut request = Request::new(exchange.take_body());
    *request.method_mut() = exchange.parts.method.clone();
    *request.uri_mut() = asked;
    *request.headers_mut() = headers_for(&exchange.parts.headers, &host, uri.path());
    let response = core.dialer.send(&target, request).await.map_err(|error| failed(&error))?;
    let links =
        Links { backend: target.address.to_string(), asked: host, before: before.to_owned() };
    Ok(answer(response, links, place))
}

/// Splits a path behind its `proxy` segment: `/api/v1/[namespaces/NS/]RESOURCE/NAME/proxy`.
fn split(path: &str) -> (&str, &str) {
    let segments = if path.starts_with("/api/v1/namespaces/") { 7 } else { 5 };
    let end = path.match_indices('/').nth(segments).map_or(path.len(), |(at, _)| at);
    path.split_at(end)
}

/// A page without a slash at its end could not have relative links.
fn moved(location: &str) -> Result<Response<Body>, Status> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = HeaderValue::from_str(location);
    let location = location.map_err(|error| Status::bad_request(error.to_string()))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// The host that the client asked; HTTP/2 has it in the URI.
fn host_of(exchange: &Exchange, uri: &Uri) -> String {
    match exchange.header(header::HOST) {
        "" => uri.authority().map(ToString::to_string).unwrap_or_default(),
        host => host.to_owned(),
    }
}

fn without_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP {
        headers.remove(name);
    }
}

fn headers_for(headers: &HeaderMap, host: &str, path: &str) -> HeaderMap {
    let mut passed = dial::passed_on(headers);
    without_hop(&mut passed);
    for (name, value) in [("host", host), ("x-forwarded-uri", path)] {
        if let Ok(value) = HeaderValue::from_str(value)
            && !value.is_empty()
        {
            passed.insert(name, value);
        }
    }
    passed
}

fn answer(response: Response<Incoming>, links: Links, place: Place) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    without_hop(&mut parts.headers);
    for name in CORS {
        parts.headers.remove(name);
    }
    parts.version = http::Version::HTTP_11;
    let text = |name: HeaderName| {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (location, kind) = (text(header::LOCATION), text(header::CONTENT_TYPE));
    let data = body.into_data_stream().map_err(|error| -> BodyError { error.into() });
    // The conversation lasts as long as its body is read.
    let data = data.inspect(move |_| {
        let _ = &place;
    });
    if !location.is_empty() {
        if let Ok(bent) = HeaderValue::from_str(&links.bend(&location)) {
            parts.headers.insert(header::LOCATION, bent);
        }
        return Response::from_parts(parts, Body::stream(data));
    }
    let is_html = kind.split(';').next().unwrap_or_default().trim() == "text/html";
    let rewriter = is_html.then(|| Rewriter::new(&text(header::CONTENT_ENCODING), links)).flatten();
    let Some(mut rewriter) = rewriter else {
        return Response::from_parts(parts, Body::stream(data));
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    let ends = futures::stream::iter([None]);
    let bent = data.map(Some).chain(ends).map(move |piece| match piece {
        Some(Ok(bytes)) => rewriter.feed(&bytes).map_err(Into::into),
        Some(Err(error)) => Err(error),
        None => rewriter.finish().map_err(Into::into),
    });
    Response::from_parts(parts, Body::stream(bent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_behind_proxy() {
        let check = |path: &str, before: &str, rest: &str| {
            assert_eq!(split(path), (before, rest), "{path}");
        };
        check("/api/v1/nodes/n/proxy", "/api/v1/nodes/n/proxy", "");
        check("/api/v1/nodes/n/proxy/", "/api/v1/nodes/n/proxy", "/");
        let pod = "/api/v1/namespaces/a/pods/https:p:1/proxy";
        check(&format!("{pod}/a%2Fb/proxy/c"), pod, "/a%2Fb/proxy/c");
    }

    #[test]
    fn what_is_for_one_hop_or_nobody_else_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("authorization", "Bearer secret"),
            ("impersonate-user", "jane"),
            ("accept", "*/*"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let passed = headers_for(&headers, "api:6443", "/x/proxy/y");
        let mut seen: Vec<String> = passed
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        seen.sort();
        assert_eq!(seen, ["accept=*/*", "host=api:6443", "x-forwarded-uri=/x/proxy/y"]);
    }
}
