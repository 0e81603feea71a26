//! The loop behind every change of a stored object: read, change, write if still the same.
//!
//! The first attempt trusts the cache. Whatever it leads to other than a write (a refusal, a
//! missing object, nothing to do) is decided again on what the store has now, so that a cache that
//! is a moment behind never shows.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use kontiki_api::{Status, catalogue, meta};
use kontiki_base::Fence;
use kontiki_raft::types::{KeyValue, Revision};
use serde_json::{Value, json};

use super::managed;
use crate::{
    cache::Resource,
    core::{Core, unavailable},
    exchange::Exchange,
    notes::Notes,
    quota::Settlement,
    registry::Claim,
    storage::{Expected, Outcome, Write, relative, upgrade},
    user::UserInfo,
};

/// Most times a change is tried again because somebody else was faster.
pub(super) const ATTEMPTS_MAX: usize = 64;

/// On whose behalf, when and how something is written.
#[derive(Clone)]
pub struct Writer {
    /// Who.
    pub user: Arc<UserInfo>,
    /// When.
    pub now: Timestamp,
    /// Under which leadership.
    pub fence: Option<Fence>,
    /// Whether nothing is written after all.
    pub dry_run: bool,
    /// Where admission notes warnings and annotations.
    pub notes: Arc<Notes>,
    /// Under which name it comes to own what it writes.
    pub manager: Arc<str>,
    /// How.
    pub ownership: Ownership,
}

/// How a write changes who owns which fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The writer comes to own what it changes.
    Update,
    /// The object that is to be written says.
    Decided,
}

impl Writer {
    /// The writer that a request stands for.
    pub fn of(exchange: &Exchange, dry_run: bool) -> Writer {
        Writer {
            user: exchange.user.clone(),
            now: exchange.now,
            fence: exchange.fence(),
            dry_run,
            notes: exchange.notes.clone(),
            manager: managed::manager(exchange).into(),
            ownership: Ownership::Update,
        }
    }

    /// The API server itself.
    pub fn server() -> Writer {
        Writer {
            user: Arc::new(UserInfo::new("system:apiserver", &[crate::user::MASTERS])),
            now: Timestamp::now(),
            fence: None,
            dry_run: false,
            notes: Arc::default(),
            manager: "kube-apiserver".into(),
            ownership: Ownership::Update,
        }
    }
}

/// An object as it stands in the store.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its JSON with resourceVersion.
    pub json: Bytes,
    /// The revision after which a reader sees it so.
    pub revision: Revision,
    /// Whether it was created by this request.
    pub created: bool,
}

/// What a change comes to.
pub enum Change {
    /// The object becomes this.
    Put(Value),
    /// The object is removed; this is what it was last.
    Remove(Value),
    /// Nothing is written.
    Keep,
}

/// What the change is decided on: an object and the revision that wrote it.
pub struct Current {
    /// The object with resourceVersion; `None` if there is none.
    pub object: Option<Value>,
    /// The revision that wrote it.
    pub revision: Revision,
    /// Whether this is what the store has, rather than the cache.
    pub fresh: bool,
}

/// Which object.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Its resource.
    pub resource: &'a Resource,
    /// Its namespace; empty if it has none.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// Changes an object by a function of what it is. `None` is passed for an object that does not
/// exist; it may answer with one to create.
pub async fn change<F>(
    core: &Core,
    writer: &Writer,
    target: Target<'_>,
    decide: F,
) -> Result<Stored, Status>
where
    F: FnMut(Option<&Value>) -> Result<Change, Status>,
{
    let current = first(core, target).await?;
    change_from(core, writer, target, current, decide).await
}

/// Like [`change`], beginning with what somebody believes the object to be.
pub async fn change_from<F>(
    core: &Core,
    writer: &Writer,
    target: Target<'_>,
    mut current: Current,
    mut decide: F,
) -> Result<Stored, Status>
where
    F: FnMut(Option<&Value>) -> Result<Change, Status>,
{
    for _ in 0..ATTEMPTS_MAX {
        let decided = decide(current.object.as_ref());
        let decided = decided.as_ref().map_err(Clone::clone);
        match settle(core, writer, target, &current, decided).await? {
            Settled::Done(stored) => return Ok(stored),
            Settled::Again(next) => current = next,
        }
    }
    Err(outpaced(target))
}

/// What the answer is when somebody else was faster every time.
pub fn outpaced(target: Target<'_>) -> Status {
    let row = &target.resource.row;
    Status::conflict(&row.group, &row.resource, target.name, kontiki_api::status::STALE)
}

/// What the cache has, even if that is nothing.
pub fn from_cache(target: Target<'_>) -> Current {
    match target.resource.cache.get(&relative(target.namespace, target.name)) {
        Some(object) => {
            Current { object: Some(object.value()), revision: object.revision, fresh: false }
        }
        None => Current { object: None, revision: Revision(0), fresh: false },
    }
}

/// The object to decide on first: the cache's, or the store's if the cache has none.
pub async fn first(core: &Core, target: Target<'_>) -> Result<Current, Status> {
    let cached = from_cache(target);
    if cached.object.is_some() { Ok(cached) } else { from_store(core, target).await }
}

/// How far a decision got.
pub enum Settled {
    /// It stands.
    Done(Stored),
    /// It was made on something outdated; decide again on this.
    Again(Current),
}

/// Carries out what was decided on `current`.
pub async fn settle(
    core: &Core,
    writer: &Writer,
    target: Target<'_>,
    current: &Current,
    decided: Result<&Change, Status>,
) -> Result<Settled, Status> {
    let settles = match &decided {
        Err(_) | Ok(Change::Keep) => true,
        Ok(Change::Put(new)) => current.object.as_ref() == Some(new),
        Ok(Change::Remove(_)) => false,
    };
    if settles && !current.fresh {
        return Ok(Settled::Again(from_store(core, target).await?));
    }
    let change = decided?;
    if settles {
        return Ok(Settled::Done(kept(current)));
    }
    write(core, writer, target, current, change).await
}

async fn write(
    core: &Core,
    writer: &Writer,
    target: Target<'_>,
    current: &Current,
    change: &Change,
) -> Result<Settled, Status> {
    let strategy = target.resource.strategy;
    let claims = |object: Option<&Value>| object.map_or(Vec::new(), |o| strategy.claims(o));
    let old_claims = claims(current.object.as_ref());
    let (new, take) = match change {
        Change::Put(new) => (Some(new), claims(Some(new))),
        _ => (None, Vec::new()),
    };
    let take: Vec<Claim> = take
        .into_iter()
        .filter(|claim| !old_claims.iter().any(|old| old.key == claim.key))
        .collect();
    let kept = claims(new);
    let release = old_claims
        .into_iter()
        .map(|claim| claim.key)
        .filter(|key| !kept.iter().any(|claim| claim.key == *key))
        .collect();
    let value = new.map(|new| upgrade::seal(new, &target.resource.row));
    let old = current.object.as_ref();
    let settlement = Settlement { core, writer, target, new, old };
    let free = settlement.concerns_nobody();
    if writer.dry_run {
        if !free {
            settlement.check().await?;
        }
        return Ok(Settled::Done(pretend(current, change)));
    }
    let write = Write {
        key: target.resource.key(target.namespace, target.name),
        expected: match current.object {
            Some(_) => Expected::Revision(current.revision),
            None => Expected::Absent,
        },
        value: value.clone(),
        take: &take,
        release,
        time_to_live: strategy.time_to_live().map(|_| core.options.event_ttl),
        fence: writer.fence,
        charge: None,
    };
    let outcome = if free {
        core.storage.write(write).await.map_err(|error| unavailable(&error))?
    } else {
        settlement.write(write).await?
    };
    match outcome {
        Outcome::Written(revision) => {
            let json = match (value, change) {
                (Some(value), _) => reopen(value, revision, &target.resource.row)?,
                (None, Change::Remove(last)) => at_revision(last, revision),
                (None, _) => Bytes::new(),
            };
            let created = current.object.is_none();
            Ok(Settled::Done(Stored { json, revision, created }))
        }
        Outcome::Changed(found) => Ok(Settled::Again(read_back(target, found)?)),
        // What a write costs is settled above; without a charge there is none to lose.
        Outcome::ChargeLost => Ok(Settled::Again(from_store(core, target).await?)),
        Outcome::ClaimTaken(index) => {
            let row = &target.resource.row;
            let errors = take[index].taken.clone().into();
            Err(Status::invalid(&row.group, &row.kind, target.name, &errors))
        }
    }
}

fn reopen(value: Vec<u8>, revision: Revision, row: &catalogue::Row) -> Result<Bytes, Status> {
    let sealed = upgrade::open(&value.into(), row)
        .map_err(|error| Status::internal_error(&error.to_string()))?;
    Ok(sealed.with_revision(revision))
}

/// The object with another resourceVersion.
fn at_revision(object: &Value, revision: Revision) -> Bytes {
    let mut object = object.clone();
    meta::metadata_mut(&mut object)
        .insert("resourceVersion".to_owned(), revision.to_string().into());
    object.to_string().into()
}

fn kept(current: &Current) -> Stored {
    let object = current.object.as_ref().unwrap_or(&Value::Null);
    Stored { json: object.to_string().into(), revision: current.revision, created: false }
}

fn pretend(current: &Current, change: &Change) -> Stored {
    let json = match change {
        Change::Put(object) | Change::Remove(object) => object.to_string().into(),
        Change::Keep => Bytes::new(),
    };
    Stored { json, revision: current.revision, created: current.object.is_none() }
}

/// Reads an object as the store has it now.
pub async fn from_store(core: &Core, target: Target<'_>) -> Result<Current, Status> {
    let key = target.resource.key(target.namespace, target.name);
    let found = core.storage.read(key).await.map_err(|error| unavailable(&error))?;
    read_back(target, found)
}

/// Reads an object in order to delete it: one that cannot be read any more is only its name.
pub async fn from_store_to_delete(core: &Core, target: Target<'_>) -> Result<Current, Status> {
    let key = target.resource.key(target.namespace, target.name);
    let found = core.storage.read(key).await.map_err(|error| unavailable(&error))?;
    let Some(kv) = &found else { return read_back(target, None) };
    if upgrade::open(&kv.value, &target.resource.row).is_ok() {
        return read_back(target, found);
    }
    let mut object = json!({"metadata": {"name": target.name}});
    if !target.namespace.is_empty() {
        object["metadata"]["namespace"] = target.namespace.into();
    }
    Ok(Current { object: Some(object), revision: kv.mod_revision, fresh: true })
}

fn read_back(target: Target<'_>, found: Option<KeyValue>) -> Result<Current, Status> {
    let Some(kv) = found else {
        return Ok(Current { object: None, revision: Revision(0), fresh: true });
    };
    let unreadable = |error: &dyn std::fmt::Display| {
        let key = String::from_utf8_lossy(&kv.key);
        Status::internal_error(&format!("cannot read {key}: {error}"))
    };
    let sealed =
        upgrade::open(&kv.value, &target.resource.row).map_err(|error| unreadable(&error))?;
    let json = sealed.with_revision(kv.mod_revision);
    let object = serde_json::from_slice(&json).map_err(|error| unreadable(&error))?;
    Ok(Current { object: Some(object), revision: kv.mod_revision, fresh: true })
}
