//! Reads method, path and query once for all.

use std::sync::Arc;

use futures::FutureExt;

use super::{Flow, StageFuture};
use crate::{core::Core, exchange::Exchange, query, request_info::RequestInfo};

pub(super) fn run<'a>(_: &'a Arc<Core>, exchange: &'a mut Exchange) -> StageFuture<'a> {
    exchange.query = query::Query::parse(exchange.parts.uri.query().unwrap_or_default());
    let path = query::decode_path(exchange.parts.uri.path());
    exchange.info = RequestInfo::parse(&exchange.parts.method, &path, &exchange.query);
    async { Ok(Flow::Next) }.boxed()
}
