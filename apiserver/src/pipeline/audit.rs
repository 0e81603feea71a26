//! Begins and ends a request's record in the audit log.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use http::{HeaderValue, Response};
use http_body_util::BodyDataStream;

use super::{Flow, StageFuture};
use crate::{
    answer::Body,
    audit::{Answer, Record, Stage},
    core::Core,
    exchange::Exchange,
};

/// Looks up what the policy wants to know of the request, and logs that it came.
pub(super) fn received<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> StageFuture<'a> {
    if let Some(log) = &core.audit
        && let Some(record) = Record::begin(log, exchange)
    {
        record.tell(Stage::RequestReceived, exchange, None);
        exchange.audit = Some(record);
    }
    async { Ok(Flow::Next) }.boxed()
}

/// Logs how the request was answered: at once, or when its stream ends.
pub(super) fn answered(
    exchange: &mut Exchange,
    response: Response<Body>,
    panicked: bool,
) -> Response<Body> {
    let Some(mut record) = exchange.audit.take() else { return response };
    record.request_object = exchange.notes.request_object();
    let mut response = response;
    if let Ok(id) = HeaderValue::from_str(record.id()) {
        response.headers_mut().insert("audit-id", id);
    }
    let answer =
        Answer { code: response.status().as_u16(), body: response.body().as_full().cloned() };
    if panicked {
        record.tell(Stage::Panic, exchange, Some(&answer));
        return response;
    }
    let ends_here = answer.body.is_some() || http_body::Body::is_end_stream(response.body());
    if ends_here {
        record.tell(Stage::ResponseComplete, exchange, Some(&answer));
        return response;
    }
    if exchange.info.is_long_running() {
        record.tell(Stage::ResponseStarted, exchange, Some(&answer));
    }
    let Some(end) = record.at_end(exchange, &answer) else { return response };
    response.map(|body| {
        Body::stream(BodyDataStream::new(body).map(move |data| {
            // Dropped with the stream, however it ends.
            let _held = &end;
            data
        }))
    })
}
