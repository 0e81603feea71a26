//! `componentstatuses`: how the parts of the control plane are, asked now; nothing is stored.
//!
//! The store says so itself; the scheduler and the controllers say it by renewing their Leases.

use std::sync::Arc;

use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kontiki_api::{Status, meta};
use serde_json::{Value, json};

use super::ServeFuture;
use crate::{
    answer::Body,
    core::Core,
    exchange::Exchange,
    verbs::{
        accept::{self, Form},
        bodies,
    },
};

/// What a component is called, and its Lease in `kube-system`.
const LEASED: [(&str, &str); 2] =
    [("controller-manager", "kube-controller-manager"), ("scheduler", "kube-scheduler")];

pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> ServeFuture<'a> {
    Box::pin(run(core, exchange))
}

async fn run(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let agreed = accept::negotiate(exchange.header(http::header::ACCEPT))?;
    let resource = exchange.resource()?.clone();
    let store = core.catch_up().await.map(|_| ()).map_err(|status| status.message);
    let mut all = vec![component("etcd-0", store)];
    for (name, lease) in LEASED {
        let lease = core.cached("coordination.k8s.io", "leases", "kube-system", lease);
        all.push(component(name, renewed(lease.map(|lease| lease.value()), exchange.now)));
    }
    all.sort_by(|one, other| meta::name(one).cmp(meta::name(other)));
    let name = exchange.info.name.clone();
    if !name.is_empty() {
        let found = all.into_iter().find(|one| meta::name(one) == name);
        let found = found.ok_or_else(|| Status::row_not_found(&resource.row, &name))?;
        let json = found.to_string().into();
        return bodies::object(StatusCode::OK, &resource, json, agreed, &exchange.query);
    }
    let list = match agreed.form {
        Form::Object => json!({
            "kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": all,
        }),
        Form::Table => bodies::table(&resource, &all, &exchange.query, &json!({}), agreed.meta),
        Form::Metadata => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": agreed.meta, "metadata": {},
            "items": all
                .iter()
                .map(|one| bodies::metadata_only(one, agreed.meta))
                .collect::<Vec<_>>(),
        }),
    };
    bodies::encoded(StatusCode::OK, list.to_string().into(), agreed)
}

fn component(name: &str, health: Result<(), String>) -> Value {
    let (status, message) = match health {
        Ok(()) => ("True", "ok".to_owned()),
        Err(why) => ("False", why),
    };
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": status, "message": message}],
    })
}

/// Whether whoever holds a Lease still renews it.
fn renewed(lease: Option<Value>, now: Timestamp) -> Result<(), String> {
    let lease = lease.ok_or_else(|| "nobody holds its lease".to_owned())?;
    let spec = &lease["spec"];
    let seconds = spec["leaseDurationSeconds"].as_i64().unwrap_or_default();
    let at = spec["renewTime"].as_str().and_then(meta::parse_time);
    match at {
        Some(at) if now.duration_since(at) <= SignedDuration::from_secs(seconds) => Ok(()),
        _ => Err("its lease has run out".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_well_while_it_renews_its_lease() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let lease = |at: &str| json!({"spec": {"leaseDurationSeconds": 15, "renewTime": at}});
        assert_eq!(renewed(Some(lease("2026-01-01T00:00:00.000000Z")), now), Ok(()));
        assert!(renewed(Some(lease("2025-12-31T23:59:00.000000Z")), now).is_err());
        assert!(renewed(None, now).is_err());
    }
}
