//! Changes of the past, as watches deliver them.

use std::{io, ops::ControlFlow};

use bytes::Bytes;

use super::{
    keys,
    record::{self, Header, Version},
    view::{Space, View},
};
use crate::{
    error::{Corrupt, Error},
    types::{KeyRange, KeyValue, Revision, WatchBatch, WatchEvent, WatchEventKind},
};

/// A piece of the past.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Changes within the range, by revision.
    pub(crate) batches: Vec<WatchBatch>,
    /// Everything before this revision has been looked at.
    pub(crate) next: Revision,
}

/// The changes of `range` from `from` on; stops behind `revisions_max` revisions of any keys.
pub(crate) fn replay(
    view: &impl View,
    range: &KeyRange,
    from: Revision,
    revisions_max: u64,
) -> Result<Replay, Error> {
    let header = Header::load(view)?;
    if from < header.floor {
        return Err(Error::Compacted { requested: from, oldest: header.floor });
    }
    let next = Revision(header.revision.0.min(from.0.saturating_add(revisions_max)) + 1);
    if next <= from {
        return Ok(Replay { batches: Vec::new(), next: from });
    }
    let mut batches: Vec<WatchBatch> = Vec::new();
    for (revision, kind, key) in changed(view, range, from, next)? {
        let event = event(view, revision, kind, &key)?;
        match batches.last_mut() {
            Some(batch) if batch.revision == revision => batch.events.push(event),
            _ => batches.push(WatchBatch { revision, events: vec![event] }),
        }
    }
    Ok(Replay { batches, next })
}

fn changed(
    view: &impl View,
    range: &KeyRange,
    from: Revision,
    end: Revision,
) -> io::Result<Vec<(Revision, WatchEventKind, Bytes)>> {
    let mut found = Vec::new();
    let mut problem: Option<Corrupt> = None;
    let (start, end) = (keys::change(from, 0), keys::change(end, 0));
    view.walk(Space::Changes, &start, Some(&end), &mut |at, value| {
        let parsed = keys::parse_change(at)
            .and_then(|revision| Ok((revision, record::decode_change(value)?)));
        match parsed {
            Ok((revision, (kind, key))) => {
                if range.contains(key) {
                    found.push((revision, kind, Bytes::copy_from_slice(key)));
                }
                ControlFlow::Continue(())
            }
            Err(error) => {
                problem = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    problem.map_or(Ok(found), |error| Err(error.into()))
}

fn event(
    view: &impl View,
    revision: Revision,
    kind: WatchEventKind,
    key: &Bytes,
) -> io::Result<WatchEvent> {
    let kv = match kind {
        WatchEventKind::Delete => Version::deletion(revision).into_kv(key.clone()),
        WatchEventKind::Put => version_at(view, key, revision)?
            .filter(|kv| kv.mod_revision == revision)
            .ok_or_else(|| {
                let reason = format!("revision {revision} has a change without its version");
                Corrupt::new("the history", reason)
            })?,
    };
    let previous = version_at(view, key, Revision(revision.0 - 1))?;
    Ok(WatchEvent { kind, kv, previous })
}

/// The version of `key` that was visible at `at`, if it is still known.
fn version_at(view: &impl View, key: &Bytes, at: Revision) -> io::Result<Option<KeyValue>> {
    if let Some(version) = record::current(view, key)?
        && version.modified <= at
    {
        return Ok(Some(version.into_kv(key.clone())));
    }
    let mut found = None;
    let end = keys::behind(&keys::history_prefix(key));
    view.walk(Space::History, &keys::history(key, at), end.as_deref(), &mut |_, value| {
        found = Some(Bytes::copy_from_slice(value));
        ControlFlow::Break(())
    })?;
    let Some(bytes) = found else { return Ok(None) };
    let version = Version::decode(&bytes)?;
    Ok((version.kind == WatchEventKind::Put).then(|| version.into_kv(key.clone())))
}
