//! Fills the caches from the store and keeps them up to date.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kontiki_base::CancellationToken;
use kontiki_base::backoff::Backoff;
use kontiki_raft::types::{KeyRange, KeyValue, Revision, WatchBatch, WatchEventKind, WatchRequest};

use super::{Caches, Resource, object::Object};
use crate::{
    metrics,
    storage::{
        Storage,
        backend::{BackendError, Changes},
    },
};

/// After a start, watches may resume this many revisions back, so that a restarted server can go
/// on where its clients were.
const HISTORY: u64 = 2_000;
/// Keys fetched at once while a cache is filled.
const PAGE: u64 = 1_000;

/// Loads everything, then follows the store until `shutdown`, or until what it says is not to be
/// believed any more.
pub async fn run(caches: Arc<Caches>, storage: Arc<Storage>, shutdown: CancellationToken) {
    let _ended = caches.ended.clone().drop_guard();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut position: Option<Revision> = None;
    loop {
        let attempt = follow(&caches, &storage, &mut position);
        let failed = tokio::select! { biased;
            () = shutdown.cancelled() => return,
            reason = storage.backend().dismissed() => {
                tracing::error!("this API server serves no more: {reason}");
                return;
            }
            error = attempt => error,
        };
        if let BackendError::Compacted { .. } = failed {
            position = None;
        }
        tracing::debug!("the watch cache starts over: {failed}");
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}

async fn follow(
    caches: &Caches,
    storage: &Storage,
    position: &mut Option<Revision>,
) -> BackendError {
    let outcome = async {
        let from = match *position {
            Some(revision) => revision,
            None => load(caches, storage).await?,
        };
        *position = Some(from);
        let mut changes = watch(storage, from).await?;
        caches.passed.send_if_modified(|passed| moved(passed, from));
        loop {
            let batch = changes.next().await?;
            let revision = batch.revision;
            apply(caches, batch);
            *position = Some(revision.max(position.unwrap_or_default()));
            caches.passed.send_if_modified(|passed| moved(passed, revision));
        }
    };
    let outcome: Result<std::convert::Infallible, BackendError> = outcome.await;
    match outcome {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn moved(passed: &mut Revision, to: Revision) -> bool {
    let moved = to > *passed;
    *passed = to.max(*passed);
    moved
}

async fn watch(storage: &Storage, after: Revision) -> Result<Box<dyn Changes>, BackendError> {
    // The whole key space: every revision passes here, so caches know how far they are even
    // where nothing of theirs was written.
    let everything = KeyRange::prefix(Bytes::new());
    let from = Some(Revision(after.0 + 1));
    storage.backend().watch(WatchRequest { range: everything, from, previous: false }).await
}

/// Fills all caches as of one revision, a little in the past if history allows.
async fn load(caches: &Caches, storage: &Storage) -> Result<Revision, BackendError> {
    let now = storage.backend().read_index().await?;
    if now == Revision(0) {
        return load_at(caches, storage, now).await;
    }
    let past = Revision(now.0.saturating_sub(HISTORY).max(1).min(now.0));
    match load_at(caches, storage, past).await {
        Err(BackendError::Compacted { oldest, .. }) => {
            let oldest = oldest.max(past).min(now);
            match load_at(caches, storage, oldest).await {
                Err(BackendError::Compacted { .. }) => load_at(caches, storage, now).await,
                other => other,
            }
        }
        other => other,
    }
}

async fn load_at(
    caches: &Caches,
    storage: &Storage,
    revision: Revision,
) -> Result<Revision, BackendError> {
    if revision == Revision(0) {
        // Nothing was ever written.
        for resource in &caches.resources {
            resource.cache.reset(Vec::new(), revision);
        }
        return Ok(revision);
    }
    for resource in &caches.resources {
        let kvs = fetch(storage, &resource.prefix, revision).await?;
        let objects = kvs.iter().filter_map(|kv| open(resource, kv)).collect();
        resource.cache.reset(objects, revision);
    }
    let claims = fetch(storage, &caches.claims_prefix, revision).await?;
    let names = claims.iter().filter_map(|kv| {
        let key = std::str::from_utf8(&kv.key).ok()?;
        key.strip_prefix(&caches.claims_prefix).map(str::to_owned)
    });
    *caches.claims.write() = names.collect();
    Ok(revision)
}

async fn fetch(
    storage: &Storage,
    prefix: &str,
    revision: Revision,
) -> Result<Vec<KeyValue>, BackendError> {
    let mut range = KeyRange::prefix(prefix.to_owned());
    let mut all = Vec::new();
    loop {
        let page = storage.page(range.clone(), revision, PAGE).await?;
        if let Some(last) = page.kvs.last() {
            let mut next = last.key.to_vec();
            next.push(0);
            range.start = next.into();
        }
        all.extend(page.kvs);
        if !page.more {
            return Ok(all);
        }
    }
}

fn open(resource: &Resource, kv: &KeyValue) -> Option<Object> {
    let key = std::str::from_utf8(&kv.key).ok()?.strip_prefix(&resource.prefix)?;
    match Object::open(key, &kv.value, kv.mod_revision, &resource.row) {
        Ok(object) => Some(object),
        Err(error) => {
            metrics::UNDECODABLE.with_label_values(&[&resource.row.resource]).inc();
            tracing::error!(key = %String::from_utf8_lossy(&kv.key), "left out an object: {error}");
            None
        }
    }
}

fn apply(caches: &Caches, batch: WatchBatch) {
    for event in batch.events {
        let Ok(key) = std::str::from_utf8(&event.kv.key) else { continue };
        if let Some(claim) = key.strip_prefix(&caches.claims_prefix) {
            let mut claims = caches.claims.write();
            match event.kind {
                WatchEventKind::Put => claims.insert(claim.to_owned()),
                WatchEventKind::Delete => claims.remove(claim),
            };
            continue;
        }
        if key.starts_with(&caches.servers_prefix) {
            // A renewal is no news.
            if event.kind == WatchEventKind::Delete || event.kv.version == 1 {
                caches.servers.send_modify(|changes| *changes += 1);
            }
            continue;
        }
        for (resource, prefix) in caches.by_key(key) {
            let object = match event.kind {
                WatchEventKind::Put => open(resource, &event.kv),
                WatchEventKind::Delete => None,
            };
            match object {
                Some(object) => resource.cache.put(object),
                // An unreadable object vanishes from view, and can still be deleted by name.
                None => resource.cache.delete(&key[prefix..], batch.revision),
            }
        }
    }
}
