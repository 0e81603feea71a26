//! Dropping what lies below the floor.
//!
//! The floor itself is replicated; the removal is each member's own, in the background and in
//! steps: `changes` says which keys were written, so that nothing else has to be looked at. Of a
//! key, the newest version at or below the floor stays, and a deletion only where it is the
//! floor's own revision: then every older version goes with it.

use std::{collections::BTreeSet, io, ops::ControlFlow};

use bytes::Bytes;

use super::{
    keys,
    record::{self, Header},
    view::{Space, View},
};
use crate::{
    error::Corrupt,
    types::{Revision, WatchEventKind},
};

/// A step's worth of removals.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Keys of `history` and `changes` to remove.
    pub(crate) remove: Vec<(Space, Vec<u8>)>,
    /// Where the next step begins; `None` when nothing is left.
    pub(crate) resume: Option<Vec<u8>>,
}

/// Plans the removal for at most `changes_max` changes below the floor, from a change key on.
pub(crate) fn plan(view: &impl View, from: &[u8], changes_max: usize) -> io::Result<Step> {
    let floor = Header::load(view)?.floor;
    let mut touched: BTreeSet<Bytes> = BTreeSet::new();
    let mut step = Step::default();
    let mut problem: Option<Corrupt> = None;
    let mut seen = 0;
    // Changes at the floor are looked at and stay: a watch may begin there.
    let end = keys::change(Revision(floor.0 + 1), 0);
    view.walk(Space::Changes, from, Some(&end), &mut |at, value| {
        if seen == changes_max {
            step.resume = Some(at.to_vec());
            return ControlFlow::Break(());
        }
        seen += 1;
        let parsed = keys::parse_change(at)
            .and_then(|revision| Ok((revision, record::decode_change(value)?)));
        match parsed {
            Ok((revision, (_, key))) => {
                touched.insert(Bytes::copy_from_slice(key));
                if revision < floor {
                    step.remove.push((Space::Changes, at.to_vec()));
                }
                ControlFlow::Continue(())
            }
            Err(error) => {
                problem = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = problem {
        return Err(error.into());
    }
    for key in touched {
        step.remove.extend(superseded(view, &key, floor)?);
    }
    Ok(step)
}

fn superseded(view: &impl View, key: &Bytes, floor: Revision) -> io::Result<Vec<(Space, Vec<u8>)>> {
    let mut newest_found =
        record::current(view, key)?.is_some_and(|version| version.modified <= floor);
    let mut remove = Vec::new();
    let mut problem: Option<Corrupt> = None;
    let end = keys::behind(&keys::history_prefix(key));
    view.walk(Space::History, &keys::history(key, floor), end.as_deref(), &mut |at, value| {
        let version = match record::Version::decode_head(value) {
            Ok(version) => version,
            Err(error) => {
                problem = Some(error);
                return ControlFlow::Break(());
            }
        };
        let is_newest = !std::mem::replace(&mut newest_found, true);
        let stays = is_newest && (version.kind == WatchEventKind::Put || version.modified == floor);
        if !stays {
            remove.push((Space::History, at.to_vec()));
        }
        ControlFlow::Continue(())
    })?;
    problem.map_or(Ok(remove), |error| Err(error.into()))
}
