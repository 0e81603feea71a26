//! Reading keys: as they are, or as they were at a revision.

use std::{collections::BTreeMap, io, ops::ControlFlow};

use bytes::Bytes;

use super::{
    keys,
    record::{Header, Version},
    view::{Space, View},
};
use crate::{
    error::{Corrupt, Error},
    types::{KeyRange, RangeReply, RangeRequest, Revision, WatchEventKind},
};

/// Which version of every key of the range was visible, within limits.
struct Walk {
    found: BTreeMap<Bytes, Version>,
    problem: Option<Corrupt>,
}

impl Walk {
    fn new() -> Walk {
        Walk { found: BTreeMap::new(), problem: None }
    }

    fn fail(&mut self, error: Corrupt) -> ControlFlow<()> {
        self.problem = Some(error);
        ControlFlow::Break(())
    }

    fn finish(self) -> io::Result<BTreeMap<Bytes, Version>> {
        self.problem.map_or(Ok(self.found), |error| Err(error.into()))
    }
}

/// Answers a read from a consistent view; freshness is the caller's business.
pub(crate) fn range(view: &impl View, request: &RangeRequest) -> Result<RangeReply, Error> {
    let header = Header::load(view)?;
    let at = request.revision.unwrap_or(header.revision);
    if at < header.floor {
        return Err(Error::Compacted { requested: at, oldest: header.floor });
    }
    if at > header.revision {
        return Err(Error::FutureRevision { requested: at, current: header.revision });
    }
    let limit = match usize::try_from(request.limit) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(limit) => limit,
    };
    let latest = at == header.revision;
    let with_values = !request.keys_only && !request.count_only;
    let keep = if request.count_only { 0 } else { limit };
    let (found, upper) = from_current(view, &request.range, at, keep, with_values)?;
    let mut visible = found;
    if !latest && keep > 0 {
        let part = KeyRange { start: request.range.start.clone(), end: upper.clone() };
        from_history(view, &part, at, &mut visible)?;
    }
    let reached_end = upper == request.range.end;
    let count = if reached_end && keep > 0 && visible.len() <= limit {
        visible.len() as u64
    } else {
        count(view, &request.range, at, latest)?
    };
    let kvs: Vec<_> = visible
        .into_iter()
        .take(limit)
        .map(|(key, mut version)| {
            if !with_values {
                version.value = Bytes::new();
            }
            version.into_kv(key)
        })
        .collect();
    let more = !request.count_only && (kvs.len() as u64) < count;
    Ok(RangeReply { revision: header.revision, kvs, more, count })
}

/// Keys whose current version was visible at `at`, until one more than `limit` visible keys were
/// seen; and the end of the part of the range that was looked at.
fn from_current(
    view: &impl View,
    range: &KeyRange,
    at: Revision,
    limit: usize,
    with_values: bool,
) -> io::Result<(BTreeMap<Bytes, Version>, Option<Bytes>)> {
    let mut walk = Walk::new();
    let mut seen = 0usize;
    let mut upper = range.end.clone();
    if limit == 0 {
        return Ok((walk.found, upper));
    }
    view.walk(Space::Current, &range.start, range.end.as_deref(), &mut |key, value| {
        let version = match Version::decode_head(value) {
            Ok(version) => version,
            Err(error) => return walk.fail(error),
        };
        // A key that was created by then is visible, if not in this version, in an older one.
        seen += usize::from(version.create <= at);
        if seen > limit {
            upper = Some(Bytes::copy_from_slice(key));
            return ControlFlow::Break(());
        }
        if version.modified <= at {
            let version = if with_values {
                match Version::decode(&Bytes::copy_from_slice(value)) {
                    Ok(version) => version,
                    Err(error) => return walk.fail(error),
                }
            } else {
                version
            };
            walk.found.insert(Bytes::copy_from_slice(key), version);
        }
        ControlFlow::Continue(())
    })?;
    Ok((walk.finish()?, upper))
}

/// Adds keys whose visible version has been replaced or deleted since.
fn from_history(
    view: &impl View,
    range: &KeyRange,
    at: Revision,
    visible: &mut BTreeMap<Bytes, Version>,
) -> io::Result<()> {
    let mut walk = Walk::new();
    let mut decided: Option<Bytes> = None;
    let start = keys::history_bound(&range.start);
    let end = range.end.as_deref().map(keys::history_bound);
    view.walk(Space::History, &start, end.as_deref(), &mut |key, value| {
        let (key, revision) = match keys::parse_history(key) {
            Ok(parsed) => parsed,
            Err(error) => return walk.fail(error),
        };
        if revision > at || decided.as_ref() == Some(&key) {
            return ControlFlow::Continue(());
        }
        decided = Some(key.clone());
        if visible.contains_key(&key) {
            return ControlFlow::Continue(());
        }
        match Version::decode(&Bytes::copy_from_slice(value)) {
            Ok(version) if version.kind == WatchEventKind::Put => {
                walk.found.insert(key, version);
                ControlFlow::Continue(())
            }
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => walk.fail(error),
        }
    })?;
    visible.extend(walk.finish()?);
    Ok(())
}

/// How many keys of the range were visible.
fn count(view: &impl View, range: &KeyRange, at: Revision, latest: bool) -> io::Result<u64> {
    if !latest {
        let (mut visible, _) = from_current(view, range, at, usize::MAX, false)?;
        from_history(view, range, at, &mut visible)?;
        return Ok(visible.len() as u64);
    }
    let mut count = 0;
    view.walk(Space::Current, &range.start, range.end.as_deref(), &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}
