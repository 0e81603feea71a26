//! How long a request may take, how large it may be, and how many run at a time.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use http::{Response, StatusCode, header};
use kontiki_api::Status;
use prometheus::IntGauge;

use super::{Flow, StageFuture};
use crate::{
    answer::{self, Body},
    core::Core,
    exchange::{BODY_BYTES_MAX, Exchange, Source},
    metrics,
    query::Query,
    request_info::RequestInfo,
    user::MASTERS,
};

/// Requests that change something; what is none of these only reads.
const MUTATING: [&str; 7] =
    ["create", "update", "patch", "delete", "deletecollection", "post", "put"];

/// How long a request may take until its answer begins; `None` if that is for others to say.
pub(super) fn deadline(core: &Core, exchange: &Exchange) -> Option<Duration> {
    let uri = &exchange.parts.uri;
    // Few paths have that segment: only they are read twice.
    if uri.path().split('/').any(|segment| segment == "proxy") {
        let info = RequestInfo::parse(&exchange.parts.method, uri.path(), &Query::default());
        if info.is_resource && info.subresource == "proxy" {
            return None;
        }
    }
    // Read from the raw query: the first stage has not run yet.
    let asked =
        uri.query().and_then(|raw| Query::parse(raw).non_empty("timeout").and_then(parse_duration));
    let limit = core.options.request_timeout;
    Some(asked.map_or(limit, |asked| asked.min(limit)))
}

/// Reads a duration such as `30s`, `1m30s` or `500ms`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (total > 0.0 && total < 1e9).then(|| Duration::from_secs_f64(total))
}

/// Refuses what is too large by its own account.
pub(super) fn run<'a>(_: &'a Arc<Core>, exchange: &'a mut Exchange) -> StageFuture<'a> {
    let outcome = admit(exchange);
    async { outcome }.boxed()
}

/// Counts a request while it is served.
pub struct InFlight(&'static IntGauge);

impl InFlight {
    fn begin(mutates: bool) -> InFlight {
        let kind = if mutates { &metrics::INFLIGHT_MUTATING } else { &metrics::INFLIGHT_READING };
        kind.inc();
        InFlight(kind)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn admit(exchange: &mut Exchange) -> Result<Flow, Status> {
    if exchange.info.is_long_running() {
        // What they carry is not read here but passed on.
        return Ok(Flow::Next);
    }
    let length = exchange.header(header::CONTENT_LENGTH).parse::<usize>().unwrap_or(0);
    if length > BODY_BYTES_MAX {
        let limit = format!("limit is {BODY_BYTES_MAX}");
        return Err(Status::request_entity_too_large(&limit));
    }
    exchange.in_flight = Some(InFlight::begin(mutates(exchange)));
    Ok(Flow::Next)
}

fn mutates(exchange: &Exchange) -> bool {
    MUTATING.contains(&exchange.info.verb)
}

/// Whether there is room for one more of its kind: all there is where requests are not served by
/// priority. Callers in this process limit themselves, and administrators are never kept out, as
/// upstream.
pub(super) fn has_room(core: &Core, exchange: &mut Exchange) -> bool {
    let own = matches!(exchange.source, Source::InProcess { .. });
    let pool = if mutates(exchange) { &core.mutating } else { &core.reading };
    let Some(pool) = pool.as_ref().filter(|_| !own) else { return true };
    match pool.clone().try_acquire_owned() {
        Ok(permit) => {
            exchange.permit = Some(permit);
            true
        }
        Err(_) => exchange.user.in_group(MASTERS),
    }
}

/// What is answered to those who are sent away: as upstream no Status, but a line of text.
pub(super) fn too_many(retry_after_seconds: u64) -> Response<Body> {
    let text = "Too many requests, please try again later.\n";
    let mut response = answer::text(StatusCode::TOO_MANY_REQUESTS, text);
    response.headers_mut().insert(header::RETRY_AFTER, retry_after_seconds.into());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("0s"), None);
        assert_eq!(parse_duration("x"), None);
    }
}
