//! Changes of the past, as watches deliver them.
//!
//! A replay is read in steps: each looks at a bounded number of changes and reads a bounded number
//! of bytes, and ends between two revisions, for a revision's changes stay together.

use std::{io, ops::ControlFlow};

use bytes::Bytes;

use super::{
    keys,
    record::{self, Header, Version},
    view::{Space, View},
};
use crate::{
    error::{Corrupt, Error},
    types::{KeyValue, Revision, WatchBatch, WatchEvent, WatchEventKind},
};

/// How much one step may do, except that it always completes a revision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Changes of any keys to look at.
    pub(crate) changes: usize,
    /// Bytes of keys and values to read.
    pub(crate) bytes: usize,
}

/// A piece of the past.
#[derive(Debug)]
pub(crate) struct Replay {
    /// The wanted changes, by revision.
    pub(crate) batches: Vec<WatchBatch>,
    /// Everything before this revision has been looked at.
    pub(crate) next: Revision,
}

/// The changes that are `wanted`, from `from` on; with the values before them, if asked for and
/// not compacted.
pub(crate) fn replay(
    view: &impl View,
    from: Revision,
    wanted: &mut dyn FnMut(WatchEventKind, &[u8]) -> bool,
    previous: bool,
    limits: Limits,
) -> Result<Replay, Error> {
    let header = Header::load(view)?;
    if from < header.floor {
        return Err(Error::Compacted { requested: from, oldest: header.floor });
    }
    if from > header.revision {
        return Ok(Replay { batches: Vec::new(), next: from });
    }
    let (changes, next) = changed(view, from, wanted, limits.changes)?;
    let mut next = next.unwrap_or(Revision(header.revision.0 + 1));
    let mut batches: Vec<WatchBatch> = Vec::new();
    let mut bytes = 0;
    for Change { revision, kind, key } in changes {
        let begun = batches.last().is_some_and(|batch| batch.revision == revision);
        if !begun {
            if bytes >= limits.bytes {
                next = revision;
                break;
            }
            batches.push(WatchBatch { revision, events: Vec::new() });
        }
        let event = event(view, revision, kind, key, previous && revision > header.floor)?;
        bytes += event.kv.key.len() + event.kv.value.len();
        bytes += event.previous.as_ref().map_or(0, |before| before.value.len());
        batches.last_mut().expect("one was begun").events.push(event);
    }
    Ok(Replay { batches, next })
}

struct Change {
    revision: Revision,
    kind: WatchEventKind,
    key: Bytes,
}

/// Wanted changes, and the revision before which it stopped if there are more.
fn changed(
    view: &impl View,
    from: Revision,
    wanted: &mut dyn FnMut(WatchEventKind, &[u8]) -> bool,
    changes_max: usize,
) -> io::Result<(Vec<Change>, Option<Revision>)> {
    let mut found: Vec<Change> = Vec::new();
    let mut problem: Option<Corrupt> = None;
    let mut stopped = None;
    let (mut seen, mut last) = (0, from);
    view.walk(Space::Changes, &keys::change(from, 0), None, &mut |at, value| {
        let parsed = keys::parse_change(at)
            .and_then(|revision| Ok((revision, record::decode_change(value)?)));
        let (revision, (kind, key)) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                problem = Some(error);
                return ControlFlow::Break(());
            }
        };
        if revision != last && seen >= changes_max {
            stopped = Some(revision);
            return ControlFlow::Break(());
        }
        (seen, last) = (seen + 1, revision);
        if wanted(kind, key) {
            found.push(Change { revision, kind, key: Bytes::copy_from_slice(key) });
        }
        ControlFlow::Continue(())
    })?;
    problem.map_or(Ok((found, stopped)), |error| Err(error.into()))
}

fn event(
    view: &impl View,
    revision: Revision,
    kind: WatchEventKind,
    key: Bytes,
    with_previous: bool,
) -> io::Result<WatchEvent> {
    let kv = match kind {
        WatchEventKind::Delete => Version::deletion(revision).into_kv(key.clone()),
        WatchEventKind::Put => written_at(view, &key, revision)?.into_kv(key.clone()),
    };
    let existed = kind == WatchEventKind::Delete || kv.version > 1;
    let previous = if with_previous && existed { replaced_at(view, key, revision)? } else { None };
    Ok(WatchEvent { kind, kv, previous })
}

/// The version that a revision wrote.
fn written_at(view: &impl View, key: &Bytes, revision: Revision) -> io::Result<Version> {
    if let Some(version) = record::current(view, key)?
        && version.modified == revision
    {
        return Ok(version);
    }
    match view.get(Space::History, &keys::history(key, revision))? {
        Some(bytes) => Ok(Version::decode(&bytes)?),
        None => {
            let reason = format!("revision {revision} has a change without its version");
            Err(Corrupt::new("the history", reason).into())
        }
    }
}

/// The version that a revision replaced or deleted: the newest in history before it.
fn replaced_at(view: &impl View, key: Bytes, revision: Revision) -> io::Result<Option<KeyValue>> {
    let mut found = None;
    let end = keys::behind(&keys::history_prefix(&key));
    let start = keys::history(&key, Revision(revision.0 - 1));
    view.walk(Space::History, &start, end.as_deref(), &mut |_, value| {
        found = Some(Bytes::copy_from_slice(value));
        ControlFlow::Break(())
    })?;
    let Some(bytes) = found else { return Ok(None) };
    let version = Version::decode(&bytes)?;
    Ok((version.kind == WatchEventKind::Put).then(|| version.into_kv(key)))
}
