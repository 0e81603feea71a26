//! Gives the request a seat, or has it wait for one, or sends it away.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::time::Instant;

use super::{Flow, StageFuture, limits};
use crate::{
    answer::Body,
    core::Core,
    exchange::Exchange,
    flowcontrol::{
        Admission, FlowControl, Waiting,
        width::{self, List},
    },
};

pub(super) fn run<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> StageFuture<'a> {
    match begin(core, exchange) {
        Ok(None) => async { Ok(Flow::Next) }.boxed(),
        Ok(Some(waiting)) => {
            let limit = FlowControl::wait_max(time_left(core, exchange));
            async move {
                exchange.seat = waiting.seat(limit).await;
                let answer = if exchange.seat.is_some() { Flow::Next } else { sent_away(exchange) };
                Ok(answer)
            }
            .boxed()
        }
        Err(Refused) => {
            let answer = sent_away(exchange);
            async { Ok(answer) }.boxed()
        }
    }
}

struct Refused;

/// Those who are refused are told for how long they had better stay away.
fn sent_away(exchange: &Exchange) -> Flow {
    let seconds = exchange.schema.as_ref().map_or(1, |schema| schema.send_away());
    Flow::Answer(limits::too_many(seconds))
}

fn begin(core: &Core, exchange: &mut Exchange) -> Result<Option<Waiting>, Refused> {
    let info = &exchange.info;
    let Some(control) = &core.flow_control else {
        let served = info.is_long_running() || limits::has_room(core, exchange);
        return if served { Ok(None) } else { Err(Refused) };
    };
    if info.is_long_running() && info.verb != "watch" {
        return Ok(None);
    }
    let Some(schema) = control.classify(&exchange.user, info) else { return Ok(None) };
    let admission = schema.arrive(&exchange.user, info, |most| width_of(core, exchange, most));
    exchange.schema = Some(schema);
    match admission {
        Admission::Served(seat) => {
            exchange.seat = Some(seat);
            Ok(None)
        }
        Admission::Waits(waiting) => Ok(Some(waiting)),
        Admission::Refused => Err(Refused),
    }
}

/// What is left of the request's time; watches have as much as others to begin.
fn time_left(core: &Core, exchange: &Exchange) -> Duration {
    let whole = limits::deadline(core, exchange).unwrap_or(core.options.request_timeout);
    whole.saturating_sub(exchange.started.elapsed())
}

/// How many seats the request takes.
fn width_of(core: &Core, exchange: &Exchange, most: u32) -> u32 {
    let (info, query) = (&exchange.info, &exchange.query);
    let lists = match info.verb {
        "list" => true,
        "watch" => query.flag("sendInitialEvents"),
        _ => false,
    };
    let found = lists.then(|| core.caches.find(&info.group, &info.version, &info.resource));
    let Some(resource) = found.flatten() else { return 1 };
    let (objects, bytes_each) = resource.cache.extent();
    let version = query.get("resourceVersion").unwrap_or_default();
    let limit = query.get("limit").and_then(|text| text.parse().ok()).unwrap_or(0);
    let exact = query.get("resourceVersionMatch") == Some("Exact")
        || (limit > 0
            && !matches!(version, "" | "0")
            && query.non_empty("resourceVersionMatch").is_none());
    let list = List {
        objects: objects as u64,
        bytes_each: bytes_each as u64,
        limit,
        single: !info.name.is_empty(),
        selects: query.non_empty("labelSelector").is_some()
            || query.non_empty("fieldSelector").is_some(),
        cached: info.verb == "watch" || (!exact && query.non_empty("continue").is_none()),
    };
    width::of_list(list, most)
}

/// Tells the client by which objects it was judged, and keeps its seat while a stream is sent.
pub(super) fn answered(
    core: &Core,
    exchange: &mut Exchange,
    mut response: http::Response<Body>,
) -> http::Response<Body> {
    let Some(schema) = &exchange.schema else { return response };
    let headers = response.headers_mut();
    headers.insert("x-kubernetes-pf-flowschema-uid", schema.schema_uid.clone());
    headers.insert("x-kubernetes-pf-prioritylevel-uid", schema.level_uid.clone());
    let Some(seat) = exchange.seat.take() else { return response };
    if exchange.info.is_long_running() || response.body().is_whole() {
        return response;
    }
    let sending = seat.while_sending(Instant::now() + core.options.request_timeout);
    response.map(|body| body.holding(sending))
}
