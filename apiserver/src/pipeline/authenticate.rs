//! Finds out who asks.

use std::sync::Arc;

use futures::FutureExt;
use kontiki_api::Status;

use super::{Flow, StageFuture};
use crate::{core::Core, exchange::Exchange};

pub(super) fn run<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> StageFuture<'a> {
    let outcome = authenticate(core, exchange);
    let lacking = outcome.is_err().then(|| core.authenticator.lacks_key_for(exchange)).flatten();
    let Some(oidc) = lacking else { return async { outcome }.boxed() };
    async move {
        oidc.keys.refresh().await;
        authenticate(core, exchange)
    }
    .boxed()
}

fn authenticate(core: &Core, exchange: &mut Exchange) -> Result<Flow, Status> {
    exchange.user = core.authenticator.authenticate(exchange, &core.caches)?;
    Ok(Flow::Next)
}
