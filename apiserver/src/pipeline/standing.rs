//! Whether this server may answer at all: its member may have been removed from the cluster, or have
//! been found to differ from the others. What its caches hold is not to be believed then.
//!
//! Health, metrics and the like are still told.

use std::sync::Arc;

use futures::FutureExt;
use kontiki_api::Status;

use super::{Flow, StageFuture};
use crate::{core::Core, exchange::Exchange};

/// Refuses whoever asks for a resource.
pub(super) fn run<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> StageFuture<'a> {
    let outcome = match core.storage.backend().may_serve() {
        Err(reason) if exchange.info.is_resource => {
            Err(Status::service_unavailable(format!("this server serves no more: {reason}")))
        }
        _ => Ok(Flow::Next),
    };
    async { outcome }.boxed()
}
