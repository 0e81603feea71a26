//! What every cluster has from its first minute: namespaces, priorities, what flow control tells
//! apart, roles, and the Service under which the API itself is found.
//!
//! Every server goes through this at its start; whatever is there already is left alone, but roles
//! that are kept up to date automatically get the rules of this version.

mod objects;

#[cfg(test)]
pub(crate) use objects::schemas as flow_schemas;

use std::{sync::Arc, time::Duration};

use futures::future::{try_join_all, try_join3};
use kontiki_api::{Status, meta};
use kontiki_base::{CancellationToken, backoff::Backoff};
use serde_json::{Value, json};

use crate::{
    authz,
    core::Core,
    endpoints, flowcontrol,
    verbs::{
        create,
        stored::{Target, Writer},
        update::{self, Part},
    },
};

const RBAC: &str = "rbac.authorization.k8s.io";
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Brings the cluster into its initial state, then keeps the API's own endpoints up to date.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        let attempt = tokio::select! { biased;
            () = shutdown.cancelled() => return,
            attempt = ensure(&core) => attempt,
        };
        match attempt {
            Ok(()) => break,
            // Until a leader is there nothing can be written; that is no fault.
            Err(status) if status.code >= 500 || status.code == 409 => {
                tracing::debug!("not set up yet: {}", status.message);
            }
            Err(status) => tracing::error!("cannot set up the cluster: {}", status.message),
        }
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
    endpoints::run(core, shutdown).await;
}

async fn ensure(core: &Core) -> Result<(), Status> {
    core.catch_up().await?;
    let writer = Writer::server();
    for name in NAMESPACES {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {},
        });
        create_missing(core, &writer, "", "namespaces", namespace).await?;
    }
    // Side by side, so that they share the store's syncs.
    let objects = objects::all(&core.options).into_iter();
    let objects = objects
        .map(|(group, resource, object)| create_missing(core, &writer, group, resource, object));
    let roles = authz::policy::cluster_roles().into_iter();
    let roles = roles.map(|role| ensure_role(core, &writer, role));
    let bindings = authz::policy::cluster_role_bindings().into_iter();
    let bindings =
        bindings.map(|binding| create_missing(core, &writer, RBAC, "clusterrolebindings", binding));
    try_join3(try_join_all(objects), try_join_all(roles), try_join_all(bindings)).await?;
    range_is_ready(core, &writer).await?;
    core.catch_up().await?;
    authz::follow::compile(core);
    flowcontrol::follow::compile(core);
    core.ready.send_replace(true);
    create_missing(core, &writer, "", "services", endpoints::service(&core.options)).await
}

/// Says that Services may be given addresses of the range.
async fn range_is_ready(core: &Core, writer: &Writer) -> Result<(), Status> {
    let resource = core.builtin("networking.k8s.io", "servicecidrs");
    let target = Target { resource, namespace: "", name: "kubernetes" };
    let since = meta::time(writer.now);
    update::modify(core, writer, target, Part::Status, |old| {
        let mut new = old.clone();
        if new["status"]["conditions"].is_null() {
            new["status"] = json!({"conditions": objects::ready(&since)});
        }
        Ok(new)
    })
    .await
    .map(|_| ())
}

async fn create_missing(
    core: &Core,
    writer: &Writer,
    group: &str,
    resource: &str,
    object: Value,
) -> Result<(), Status> {
    let (namespace, name) = (meta::namespace(&object), meta::name(&object));
    if core.find(group, resource, namespace, name).await?.is_some() {
        return Ok(());
    }
    match create::create(core, writer, core.builtin(group, resource), object).await {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        _ => Ok(()),
    }
}

async fn ensure_role(core: &Core, writer: &Writer, role: Value) -> Result<(), Status> {
    let name = meta::name(&role).to_owned();
    let Some(found) = core.find(RBAC, "clusterroles", "", &name).await? else {
        return create_missing(core, writer, RBAC, "clusterroles", role).await;
    };
    let found = found.value();
    // The rules of a role that is made of others are its controller's.
    let aggregated = !role["aggregationRule"].is_null();
    let field = if aggregated { "aggregationRule" } else { "rules" };
    if meta::annotation(&found, AUTOUPDATE) != Some("true") || found[field] == role[field] {
        return Ok(());
    }
    let resource = core.builtin(RBAC, "clusterroles");
    let target = Target { resource, namespace: "", name: &name };
    update::modify(core, writer, target, Part::Main, |old| {
        let mut new = old.clone();
        new[field] = role[field].clone();
        Ok(new)
    })
    .await
    .map(|_| ())
}
