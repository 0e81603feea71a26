//! Finds out who asks.

use std::sync::Arc;

use futures::FutureExt;

use super::{Flow, StageFuture};
use crate::{core::Core, exchange::Exchange};

pub(super) fn run<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> StageFuture<'a> {
    let outcome = core.authenticator.authenticate(exchange, &core.caches).map(|user| {
        exchange.user = user;
        Flow::Next
    });
    async { outcome }.boxed()
}
