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
    types::{
        KeyRange, KeyValue, Range, RangeReply, RangeRequest, Revision, Sort, SortOrder, SortTarget,
        WatchEventKind,
    },
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
    read(view, &Header::load(view)?, &request.query, request.counted)
}

/// The revision that a query means, if it can be read.
pub(crate) fn readable(header: &Header, asked: Option<Revision>) -> Result<Revision, Error> {
    let at = asked.unwrap_or(header.revision);
    if at < header.floor {
        return Err(Error::Compacted { requested: at, oldest: header.floor });
    }
    if at > header.revision {
        return Err(Error::FutureRevision { requested: at, current: header.revision });
    }
    Ok(at)
}

/// Answers a query from a view whose counters are known.
pub(crate) fn read(
    view: &impl View,
    header: &Header,
    query: &Range,
    counted: bool,
) -> Result<RangeReply, Error> {
    let at = readable(header, query.revision)?;
    let limit = match usize::try_from(query.limit) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(limit) => limit,
    };
    let filtered = !query.mod_revisions.is_unbounded() || !query.create_revisions.is_unbounded();
    // What is left out by its contents can only be told once everything was seen.
    let seen_max = if query.sort.is_some() || filtered { usize::MAX } else { limit };
    let by_value = query.sort.is_some_and(|sort| sort.target == SortTarget::Value);
    let latest = at == header.revision;
    let with_values = !query.keys_only || by_value;
    let keep = if query.count_only { 0 } else { seen_max };
    let (found, upper) = from_current(view, &query.range, at, keep, with_values)?;
    let mut visible = found;
    if !latest && keep > 0 {
        let part = KeyRange { start: query.range.start.clone(), end: upper.clone() };
        from_history(view, &part, at, &mut visible)?;
    }
    let reached_end = upper == query.range.end;
    let count = if reached_end && keep > 0 && visible.len() <= seen_max {
        visible.len() as u64
    } else if counted || query.count_only {
        count(view, &query.range, at, latest)?
    } else {
        (limit as u64).saturating_add(1)
    };
    let mut kvs: Vec<KeyValue> = visible
        .into_iter()
        .filter(|(_, version)| {
            query.mod_revisions.contains(version.modified)
                && query.create_revisions.contains(version.create)
        })
        .map(|(key, version)| version.into_kv(key))
        .collect();
    if let Some(order) = query.sort {
        sort(&mut kvs, order);
    }
    let more = !query.count_only && (kvs.len() > limit || (!filtered && count > limit as u64));
    kvs.truncate(limit);
    if query.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    Ok(RangeReply { revision: header.revision, kvs, more, count })
}

fn sort(kvs: &mut [KeyValue], by: Sort) {
    let compare = |a: &KeyValue, b: &KeyValue| match by.target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::CreateRevision => a.create_revision.cmp(&b.create_revision),
        SortTarget::ModRevision => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    match by.order {
        SortOrder::Ascending => kvs.sort_by(compare),
        SortOrder::Descending => kvs.sort_by(|a, b| compare(b, a)),
    }
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
