//! Requests that switch protocols, passed on to whoever speaks the new one.
//!
//! The caller's request goes to the other side as it came, but for its credentials. If that side
//! switches protocols too, both connections are joined byte for byte; if not, its refusal is the
//! answer.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use kontiki_api::Status;
use kontiki_base::splice;

use crate::{
    answer::{Body, BodyError},
    core::Core,
    dial::{self, Target},
    exchange::Exchange,
    streams::IDLE_MAX,
};

/// Whether a request wants to switch protocols.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONNECTION).iter();
    values.any(|value| {
        value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("upgrade"))
    })
}

/// Whether the protocol wanted is WebSocket.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    let wanted = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    is_wanted(headers) && wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case("websocket"))
}

/// The caller's connection once it has switched.
pub fn take(exchange: &mut Exchange) -> Result<OnUpgrade, Status> {
    let taken = exchange.parts.extensions.remove::<OnUpgrade>();
    taken.ok_or_else(|| Status::bad_request("this connection cannot be upgraded"))
}

/// What upstream answers when the other side is not reached: an error without a reason.
pub fn plain_error(message: String) -> Status {
    Status { code: 500, reason: "", message, details: None, continue_token: None }
}

/// Asks the other side to switch.
pub async fn ask(
    core: &Core,
    target: &Target,
    method: Method,
    path: &str,
    headers: HeaderMap,
) -> Result<Response<Incoming>, Status> {
    let failed =
        |error: &dyn std::fmt::Display| plain_error(format!("error dialing backend: {error}"));
    let uri: Uri = path.parse().map_err(|error| failed(&error))?;
    let mut request = Request::new(Empty::<Bytes>::new());
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
    if !request.headers().contains_key(header::HOST)
        && let Ok(host) = target.address.to_string().parse()
    {
        request.headers_mut().insert(header::HOST, host);
    }
    let response = core.dialer.send(target, request).await.map_err(|error| failed(&error))?;
    let code = response.status();
    if code != StatusCode::SWITCHING_PROTOCOLS && code.as_u16() < 400 {
        let message = format!("invalid upgrade response: status code {}", code.as_u16());
        return Err(plain_error(message));
    }
    Ok(response)
}

/// Passes a request on and joins the connections.
pub async fn pass_on(
    core: &Core,
    exchange: &mut Exchange,
    target: &Target,
    path: &str,
) -> Result<Response<Body>, Status> {
    let client = take(exchange)?;
    let place = core.streams.place(exchange)?;
    let mut headers = dial::passed_on(&exchange.parts.headers);
    // The request ends with its headers.
    headers.remove(header::CONTENT_LENGTH);
    let mut response = ask(core, target, exchange.parts.method.clone(), path, headers).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(echo(response));
    }
    let backend = hyper::upgrade::on(&mut response);
    core.streams.run(place, async move {
        match tokio::try_join!(client, backend) {
            Ok((client, backend)) => {
                splice::splice(TokioIo::new(client), TokioIo::new(backend), IDLE_MAX).await;
            }
            Err(error) => tracing::debug!("a stream ended before it began: {error}"),
        }
    });
    Ok(response.map(|_| Body::empty()))
}

/// An answer as it came.
pub fn echo(response: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        parts.headers.remove(name);
    }
    parts.version = http::Version::HTTP_11;
    let data = body.into_data_stream();
    let data = futures::TryStreamExt::map_err(data, |error| -> BodyError { error.into() });
    Response::from_parts(parts, Body::stream(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_are_seen_as_upstream_sees_them() {
        let check = |connection: &str, upgrade: &str, expected: (bool, bool)| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONNECTION, connection.parse().unwrap());
            headers.insert(header::UPGRADE, upgrade.parse().unwrap());
            assert_eq!((is_wanted(&headers), is_websocket(&headers)), expected);
        };
        check("Upgrade", "SPDY/3.1", (true, false));
        check("keep-alive, Upgrade", "WebSocket", (true, true));
        check("keep-alive", "websocket", (false, false));
        assert!(!is_wanted(&HeaderMap::new()));
    }
}
