//! Reading keys: as they are, or as they were at a revision.
//!
//! The present is walked straight into the reply. The past is walked together with the present,
//! see [`merge`]: of a key, the newest version that is not too new is the one.

use std::{io, ops::ControlFlow};

use bytes::Bytes;

use super::{
    merge,
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
    let mut reply = Collector::new(query, limit, counted);
    if at == header.revision {
        present(view, &query.range, &mut reply)?;
    } else {
        past(view, &query.range, at, &mut reply)?;
    }
    Ok(reply.finish(header.revision))
}

/// Offers every key of the range as it is.
fn present(view: &impl View, range: &KeyRange, reply: &mut Collector<'_>) -> io::Result<()> {
    if let Some(key) = range.single() {
        if let Some(stored) = view.get(Space::Current, key)? {
            let _ = reply.offer(key, &stored)?;
        }
        return Ok(());
    }
    let mut problem = None;
    view.walk(Space::Current, &range.start, range.end.as_deref(), &mut |key, stored| {
        reply.offer(key, stored).unwrap_or_else(|error| {
            problem = Some(error);
            ControlFlow::Break(())
        })
    })?;
    problem.map_or(Ok(()), |error| Err(error.into()))
}

/// Offers every key of the range as it was.
fn past(
    view: &impl View,
    range: &KeyRange,
    at: Revision,
    reply: &mut Collector<'_>,
) -> io::Result<()> {
    let mut decided: Option<Vec<u8>> = None;
    merge::versions(view, range, &mut |key, stored| {
        if decided.as_deref() == Some(key) {
            return Ok(ControlFlow::Continue(()));
        }
        let version = Version::decode_head(stored)?;
        if version.modified > at {
            return Ok(ControlFlow::Continue(()));
        }
        let decided = decided.get_or_insert_default();
        decided.clear();
        decided.extend_from_slice(key);
        match version.kind {
            WatchEventKind::Put => reply.offer(key, stored),
            WatchEventKind::Delete => Ok(ControlFlow::Continue(())),
        }
    })
}

/// Takes visible keys in order, and keeps what the query asks for.
struct Collector<'q> {
    query: &'q Range,
    limit: usize,
    counted: bool,
    /// Keys are returned as they come: the limit ends the search for them.
    in_order: bool,
    with_values: bool,
    kvs: Vec<KeyValue>,
    count: u64,
    more: bool,
}

impl<'q> Collector<'q> {
    fn new(query: &'q Range, limit: usize, counted: bool) -> Collector<'q> {
        let by_value = query.sort.is_some_and(|sort| sort.target == SortTarget::Value);
        let in_order = query.sort.is_none_or(|sort| {
            sort == Sort { target: SortTarget::Key, order: SortOrder::Ascending }
        });
        Collector {
            query,
            limit,
            counted: counted || query.count_only,
            in_order,
            with_values: !query.keys_only || by_value,
            kvs: Vec::new(),
            count: 0,
            more: false,
        }
    }

    /// Takes one visible key; breaks once nothing more is needed.
    fn offer(&mut self, key: &[u8], stored: &[u8]) -> Result<ControlFlow<()>, Corrupt> {
        self.count += 1;
        if self.query.count_only || self.more {
            return Ok(ControlFlow::Continue(()));
        }
        let version = Version::decode_head(stored)?;
        let wanted = self.query.mod_revisions.contains(version.modified)
            && self.query.create_revisions.contains(version.create);
        if !wanted {
            return Ok(ControlFlow::Continue(()));
        }
        if self.in_order && self.kvs.len() == self.limit {
            self.more = true;
            // What follows only counts.
            let done =
                if self.counted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            return Ok(done);
        }
        let value = if self.with_values { Version::value_of(stored) } else { &[] };
        let value = Bytes::copy_from_slice(value);
        let key = Bytes::copy_from_slice(key);
        self.kvs.push(Version { value, ..version }.into_kv(key));
        Ok(ControlFlow::Continue(()))
    }

    fn finish(mut self, revision: Revision) -> RangeReply {
        if let Some(order) = self.query.sort
            && !self.in_order
        {
            sort(&mut self.kvs, order);
            self.more = self.kvs.len() > self.limit;
            self.kvs.truncate(self.limit);
        }
        if self.query.keys_only {
            self.kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        RangeReply { revision, kvs: self.kvs, more: self.more, count: self.count }
    }
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
