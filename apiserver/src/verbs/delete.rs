//! An object removed, or marked so that whoever holds it lets go.
//!
//! ```text
//! grace period    -> deletionTimestamp ahead; the kubelet removes it with a period of 0
//! finalizers      -> deletionTimestamp now; the update that removes the last one removes the object
//! neither         -> gone
//! ```

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode};
use jiff::Timestamp;
use kontiki_api::{Status, meta};
use serde_json::Value;

use super::{
    accept, bodies,
    options::{self, DeleteOptions, Propagation},
    stored::{self, Change, Stored, Target, Writer},
};
use crate::{
    admission::{self, Attempt, Operation},
    answer::{self, Body},
    core::Core,
    exchange::Exchange,
    registry::{Context, Grace},
};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Longest wait of a deletion for the caches of its own server.
const DELETION_SEEN_MAX: Duration = Duration::from_secs(1);

/// What became of a deletion.
pub struct Deleted {
    /// The object as it was last, or as it is marked.
    pub stored: Stored,
    /// Whether it is gone.
    pub gone: bool,
}

pub(super) async fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Status> {
    let agreed = accept::negotiate(exchange.header(http::header::ACCEPT))?;
    let options = options::delete_options(exchange).await?;
    let resource = exchange.resource()?.clone();
    let writer = Writer::of(exchange, options.dry_run);
    let target = Target {
        resource: &resource,
        namespace: resource.scope(&exchange.info.namespace),
        name: &exchange.info.name,
    };
    let deleted = delete(core, &writer, target, &options).await?;
    let revision = deleted.stored.revision;
    let response = if deleted.gone && !resource.strategy.returns_deleted_object() {
        let object: Value = serde_json::from_slice(&deleted.stored.json).unwrap_or_default();
        let row = &resource.row;
        answer::status(&Status::success(&row.group, &row.resource, target.name, meta::uid(&object)))
    } else {
        bodies::object(StatusCode::OK, &resource, deleted.stored.json, agreed, &exchange.query)?
    };
    Ok(bodies::with_revision(response, revision))
}

/// Deletes an object, or begins to.
pub async fn delete(
    core: &Core,
    writer: &Writer,
    target: Target<'_>,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    let mut object = Value::Null;
    let attempt = Attempt {
        operation: Operation::Delete,
        resource: target.resource,
        subresource: "",
        namespace: target.namespace,
        name: target.name,
        object: &mut object,
        old: None,
        writer,
    };
    admission::validate(core, &attempt).await?;
    let mut gone = false;
    let mut believed = stored::from_cache(target);
    if believed.object.is_none() {
        believed = stored::from_store_to_delete(core, target).await?;
    }
    let stored = stored::change_from(core, writer, target, believed, |current| {
        let row = &target.resource.row;
        let Some(current) = current else {
            return Err(Status::not_found(&row.group, &row.resource, target.name));
        };
        check_preconditions(target, current, options)?;
        let change = decide(target, current, options, writer);
        gone = matches!(change, Change::Remove(_));
        Ok(change)
    })
    .await?;
    // Whoever was told of a deletion finds it respected here at once: admission looks at the
    // caches. Elsewhere it may take the moment that an event takes.
    let seen = core.caches.wait_for(stored.revision);
    let _ = tokio::time::timeout(DELETION_SEEN_MAX, seen).await;
    Ok(Deleted { stored, gone })
}

fn check_preconditions(
    target: Target<'_>,
    current: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let row = &target.resource.row;
    let failed = |what: &str, wanted: &str, found: &str, happened: &str| {
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record \
             ({found}). The object might have been {happened}"
        );
        // Upstream names the kind here, where other conflicts name the resource.
        Err(Status::conflict(&row.group, &row.kind, target.name, &why))
    };
    let (uid, version) = (meta::uid(current), meta::resource_version(current));
    match (&options.uid, &options.resource_version) {
        (Some(wanted), _) if wanted != uid => {
            failed("UID", wanted, uid, "deleted and then recreated")
        }
        (_, Some(wanted)) if wanted != version => {
            failed("ResourceVersion", wanted, version, "modified")
        }
        _ => Ok(()),
    }
}

/// What a deletion makes of an object. Pure.
fn decide(target: Target<'_>, current: &Value, options: &DeleteOptions, writer: &Writer) -> Change {
    let strategy = target.resource.strategy;
    let mut object = current.clone();
    apply_propagation(&mut object, options.propagation);
    let grace = match strategy.graceful_deletion(current, options.grace_period) {
        Grace::Immediate => 0,
        Grace::Period(seconds) => seconds.max(0),
    };
    let held = !meta::finalizers(&object).is_empty() || strategy.holds_deletion(&object);
    if meta::is_deleting(current) {
        let running = current["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if grace >= running && running > 0 {
            // It is being deleted already, and not more slowly than asked now.
            return if object == *current { Change::Keep } else { Change::Put(object) };
        }
        if grace > 0 {
            mark(&mut object, grace, shortened(current, running, grace, writer.now));
            return Change::Put(object);
        }
    } else if grace > 0 {
        mark(&mut object, grace, ahead(writer.now, grace));
        raise(&mut object);
        return Change::Put(object);
    }
    if !held {
        return Change::Remove(object);
    }
    if !meta::is_deleting(current) || current["metadata"]["deletionGracePeriodSeconds"] != 0 {
        let since = current["metadata"]["deletionTimestamp"].as_str().and_then(meta::parse_time);
        let at = since.map_or(writer.now, |since| since.min(writer.now));
        mark(&mut object, 0, at);
        if !meta::is_deleting(current) {
            raise(&mut object);
        }
    }
    let context = Context { now: writer.now, user: &writer.user };
    strategy.begin_deletion(&mut object, &context);
    if object == *current { Change::Keep } else { Change::Put(object) }
}

fn raise(object: &mut Value) {
    if meta::generation(object) > 0 {
        super::metadata::raise_generation(object);
    }
}

fn ahead(now: Timestamp, seconds: i64) -> Timestamp {
    let span = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    now.checked_add(span).unwrap_or(now)
}

/// The end of a grace period that began `running` seconds before the object's present end.
fn shortened(current: &Value, running: i64, grace: i64, now: Timestamp) -> Timestamp {
    let end = current["metadata"]["deletionTimestamp"].as_str().and_then(meta::parse_time);
    let began = end.and_then(|end| {
        end.checked_sub(Duration::from_secs(u64::try_from(running).unwrap_or(0))).ok()
    });
    ahead(began.unwrap_or(now), grace)
}

fn mark(object: &mut Value, grace: i64, at: Timestamp) {
    let metadata = meta::metadata_mut(object);
    metadata.insert("deletionTimestamp".to_owned(), meta::time(at).into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
}

fn apply_propagation(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let mut finalizers: Vec<String> = meta::finalizers(object)
        .into_iter()
        .filter(|name| *name != ORPHAN && *name != FOREGROUND)
        .map(str::to_owned)
        .collect();
    match propagation {
        Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
        Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
        Propagation::Background => {}
    }
    let metadata = meta::metadata_mut(object);
    if finalizers.is_empty() {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), finalizers.into());
    }
}
