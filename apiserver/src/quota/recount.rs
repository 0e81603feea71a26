//! Counting from nothing: brings `status.hard` and `status.used` of every quota in line with its
//! spec and with what is there.
//!
//! Only the server whose member leads counts. It does so where the caches of all resources show
//! one revision: whatever was charged up to the revision of the quota that it read is in its
//! count, and a later charge makes the write of the count fail, so no charge is ever lost.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kontiki_api::{
    Status, meta,
    quota::{self, Counted},
};
use kontiki_base::CancellationToken;
use kontiki_raft::types::Revision;
use serde_json::Value;

use super::with_status;
use crate::{
    cache::{Resource, object::Object},
    core::{Core, unavailable},
    verbs::stored::{self, Change, Target, Writer},
};

/// How often everything is counted again, as upstream's `--resource-quota-sync-period`.
const RESYNC: Duration = Duration::from_secs(300);
/// How soon a count that did not succeed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Counts until `shutdown`.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) {
    let Some(quotas) = core.caches.served("", "resourcequotas").cloned() else { return };
    let mut changed = quotas.cache.subscribe();
    let mut full = tokio::time::Instant::now() + RESYNC;
    // Every quota was settled at this revision: of the many charges only the changed one is read.
    let mut settled = Revision(0);
    loop {
        changed.mark_unchanged();
        let seen = core.caches.revision();
        let everything = tokio::time::Instant::now() >= full;
        if everything {
            full = tokio::time::Instant::now() + RESYNC;
        }
        let done = if core.storage.backend().leads() {
            turn(&core, everything, settled).await
        } else {
            // Whoever leads settles them; it may yet become this one.
            changed_since(&core, settled).all(|quota| is_settled(&quota.value()))
        };
        if done {
            settled = seen;
        }
        let wake = if done { full } else { tokio::time::Instant::now() + RETRY };
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            _ = changed.changed() => {}
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

fn changed_since(core: &Core, revision: Revision) -> impl Iterator<Item = Arc<Object>> {
    let all = core.in_namespace("", "resourcequotas", "").into_iter();
    all.filter(move |quota| quota.revision > revision)
}

/// Counts what needs it; says whether all of that succeeded.
async fn turn(core: &Core, everything: bool, settled: Revision) -> bool {
    let mut done = true;
    for object in changed_since(core, if everything { Revision(0) } else { settled }) {
        let quota = object.value();
        if !everything && is_settled(&quota) {
            continue;
        }
        let mut counted = count(core, &object, &quota).await;
        if counted.is_ok() && !is_settled(&quota) {
            // What was written uncharged while the quota was new is there by now.
            counted = again(core, &object).await;
        }
        if let Err(status) = counted {
            done &= status.reason == "NotFound";
            tracing::debug!(quota = %object.key, "cannot count: {}", status.message);
        }
    }
    done
}

/// Whether the status is about the spec as it is.
fn is_settled(quota: &Value) -> bool {
    let (hard, used) = (quota::read(&quota["spec"]["hard"]), quota::read(&quota["status"]["used"]));
    hard == quota::read(&quota["status"]["hard"]) && hard.keys().all(|name| used.contains_key(name))
}

/// Counts a quota as it is after a count.
async fn again(core: &Core, object: &Object) -> Result<(), Status> {
    core.catch_up().await?;
    let now = core.look_up("", "resourcequotas", object.namespace(), object.name());
    match now {
        Some(now) => count(core, &now, &now.value()).await,
        None => Ok(()),
    }
}

/// A resource that is served in two versions is counted once.
fn is_counted(resource: &&Arc<Resource>) -> bool {
    resource.row.namespaced() && resource.row.stored_as.is_none()
}

async fn count(core: &Core, object: &Object, quota: &Value) -> Result<(), Status> {
    let namespace = object.namespace();
    // What was charged together with this version of the quota is in the caches now.
    core.caches.wait_for(object.revision).await.map_err(|error| unavailable(&error))?;
    let mut objects: Vec<(Counted<'_>, Value)> = Vec::new();
    let hard = quota::read(&quota["spec"]["hard"]);
    for resource in core.caches.resources().iter().filter(is_counted) {
        let kind = Counted { group: &resource.row.group, resource: &resource.row.resource };
        if hard.keys().any(|name| kind.concerns(name)) {
            let all = core.in_namespace(kind.group, kind.resource, namespace);
            objects.extend(all.iter().map(|object| (kind, object.value())));
        }
    }
    let counted = objects.iter().map(|(kind, object)| (*kind, object));
    let used = quota::counted(quota, counted, Timestamp::now());
    let updated = with_status(quota, &used);
    if updated["status"] == quota["status"] {
        return Ok(());
    }
    let resource = core.builtin("", "resourcequotas");
    let target = Target { resource, namespace, name: object.name() };
    stored::change(core, &Writer::server(), target, |current| match current {
        None => Err(Status::not_found("", "resourcequotas", object.name())),
        Some(now) if meta::resource_version(now) == meta::resource_version(quota) => {
            Ok(Change::Put(updated.clone()))
        }
        // Somebody charged it meanwhile: count again.
        Some(_) => Err(stored::outpaced(target)),
    })
    .await
    .map(drop)
}
