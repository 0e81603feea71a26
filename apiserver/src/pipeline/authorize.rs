//! Asks whether the user may.

use std::sync::Arc;

use futures::FutureExt;
use kontiki_api::Status;

use super::{Flow, StageFuture};
use crate::{
    authz::Attributes,
    core::Core,
    exchange::{Exchange, Source},
    user::UNAUTHENTICATED,
};

/// What everyone may see, whoever they are: whether this server lives, and what it is.
const PUBLIC: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

pub(super) fn run<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> StageFuture<'a> {
    let outcome = judge(core, exchange);
    async { outcome }.boxed()
}

fn judge(core: &Core, exchange: &Exchange) -> Result<Flow, Status> {
    let info = &exchange.info;
    if !info.is_resource && PUBLIC.contains(&info.path.trim_end_matches('/')) {
        return Ok(Flow::Next);
    }
    // Until the caches are filled, roles are unknown and nobody but the server's own loops gets in.
    if !*core.ready.borrow() && matches!(exchange.source, Source::Network { .. }) {
        return Err(Status::service_unavailable("the server is starting"));
    }
    if core.extension_for(&info.path).is_some() {
        // These decide for themselves, but nothing there is for strangers.
        if exchange.user.in_group(UNAUTHENTICATED) {
            return Err(Status::unauthorized());
        }
        return Ok(Flow::Next);
    }
    let attributes = Attributes::of_request(&exchange.user, info);
    let allowed = core.allows(&attributes);
    if exchange.audit.is_some() {
        let (decision, reason) = if allowed {
            ("allow", core.authorizer.load().reason(&attributes))
        } else {
            ("forbid", String::new())
        };
        exchange.notes.annotate("authorization.k8s.io/decision", decision);
        exchange.notes.annotate("authorization.k8s.io/reason", reason);
    }
    if allowed {
        return Ok(Flow::Next);
    }
    let why = attributes.forbidden_text();
    Err(Status::forbidden(&info.group, &info.resource, &info.name, &why))
}
