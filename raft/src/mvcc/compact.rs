//! Dropping what lies below the floor.
//!
//! The floor itself is replicated; the removal is each member's own, in the background and in
//! steps: `changes` says which keys were written, so that nothing else has to be looked at. Of a
//! key, the newest version at or below the floor stays, and a deletion only where it is the
//! floor's own revision: then every older version has gone before it or goes with it, so that no
//! deleted key comes back, wherever a step or the machine stops.
//!
//! How far it has got is stored with the state, and goes with it into snapshots: whoever opens
//! the state goes on from there.

use std::{collections::BTreeSet, io, ops::ControlFlow};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    keys,
    record::{self, Header, Version},
    view::{Space, View},
};
use crate::{
    codec,
    error::Corrupt,
    types::{Revision, WatchEventKind},
};

/// Superseded versions of one key that are removed one by one; further ones go as a range.
/// Few in tests, so that these see both.
const VERSIONS_MAX: usize = if cfg!(test) { 2 } else { 64 };

/// How far the removal has got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The floor it works towards.
    floor: Revision,
    /// The first change that has not been looked at.
    next: Vec<u8>,
    /// Changes below this revision are removed.
    trimmed: Revision,
}

impl Progress {
    pub(crate) fn load(view: &impl View) -> io::Result<Progress> {
        match view.get(Space::Meta, keys::COMPACTION)? {
            Some(bytes) => Ok(codec::unseal("the progress of compaction", &bytes)?),
            None => Ok(Progress::default()),
        }
    }

    /// The floor below which nothing is left.
    pub(crate) fn reclaimed(&self) -> Revision {
        self.trimmed
    }

    /// Aims at a floor. What was looked at for a lower one need not be looked at again, but for
    /// the changes of that floor itself: their deletions had to stay.
    fn aim(&mut self, floor: Revision) {
        if self.floor != floor {
            self.next = self.next.clone().min(keys::change(self.floor, 0).to_vec());
            self.floor = floor;
        }
    }
}

/// A step's worth of removals.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Ranges of keys to remove, before anything else.
    pub(crate) ranges: Vec<(Space, Vec<u8>, Vec<u8>)>,
    /// Keys to remove together with noting the progress.
    pub(crate) remove: Vec<(Space, Vec<u8>)>,
    /// Where the next step begins.
    pub(crate) progress: Progress,
}

impl Step {
    /// What is to be written together, behind the ranges.
    pub(crate) fn writes(self) -> impl Iterator<Item = ((Space, Vec<u8>), Option<Bytes>)> {
        let progress = Bytes::from(codec::seal(&self.progress));
        let noted = ((Space::Meta, keys::COMPACTION.to_vec()), Some(progress));
        self.remove.into_iter().map(|key| (key, None)).chain([noted])
    }
}

/// Plans the next step, over at most so many changes; `None` when nothing is left to do.
pub(crate) fn plan(view: &impl View, changes_max: usize) -> io::Result<Option<Step>> {
    let floor = Header::load(view)?.floor;
    let mut progress = Progress::load(view)?;
    if progress.trimmed == floor {
        return Ok(None);
    }
    progress.aim(floor);
    // Changes at the floor are looked at and stay: a watch may begin there.
    let end = keys::change(Revision(floor.0 + 1), 0).to_vec();
    let mut step = Step::default();
    if progress.next >= end {
        let (from, to) = (keys::change(progress.trimmed, 0), keys::change(floor, 0));
        step.ranges.push((Space::Changes, from.to_vec(), to.to_vec()));
        progress.trimmed = floor;
    } else {
        let (touched, next) = touched(view, &progress.next, &end, changes_max)?;
        progress.next = next.unwrap_or(end);
        for key in touched {
            superseded(view, &key, floor, &mut step)?;
        }
    }
    step.progress = progress;
    Ok(Some(step))
}

/// The keys of the first changes of a range, and where the others begin.
fn touched(
    view: &impl View,
    from: &[u8],
    end: &[u8],
    changes_max: usize,
) -> io::Result<(BTreeSet<Bytes>, Option<Vec<u8>>)> {
    let mut touched: BTreeSet<Bytes> = BTreeSet::new();
    let mut next = None;
    let mut problem: Option<Corrupt> = None;
    let mut seen = 0;
    view.walk(Space::Changes, from, Some(end), &mut |at, value| {
        if seen == changes_max {
            next = Some(at.to_vec());
            return ControlFlow::Break(());
        }
        seen += 1;
        match record::decode_change(value) {
            Ok((_, key)) => {
                if !touched.contains(key) {
                    touched.insert(Bytes::copy_from_slice(key));
                }
                ControlFlow::Continue(())
            }
            Err(error) => {
                problem = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    problem.map_or(Ok((touched, next)), |error| Err(error.into()))
}

fn superseded(view: &impl View, key: &Bytes, floor: Revision, step: &mut Step) -> io::Result<()> {
    let current = view.get(Space::Current, key)?;
    let current = current.map(|bytes| Version::decode_head(&bytes)).transpose()?;
    let mut newest_found = current.is_some_and(|version| version.modified <= floor);
    let mut found = 0;
    let mut problem: Option<Corrupt> = None;
    let end = keys::behind(&keys::history_prefix(key)).expect("a history key has a terminator");
    view.walk(Space::History, &keys::history(key, floor), Some(&end), &mut |at, value| {
        let version = match Version::decode_head(value) {
            Ok(version) => version,
            Err(error) => {
                problem = Some(error);
                return ControlFlow::Break(());
            }
        };
        let is_newest = !std::mem::replace(&mut newest_found, true);
        let stays = is_newest && (version.kind == WatchEventKind::Put || version.modified == floor);
        if stays {
            return ControlFlow::Continue(());
        }
        if found == VERSIONS_MAX {
            step.ranges.push((Space::History, at.to_vec(), end.clone()));
            return ControlFlow::Break(());
        }
        found += 1;
        step.remove.push((Space::History, at.to_vec()));
        ControlFlow::Continue(())
    })?;
    problem.map_or(Ok(()), |error| Err(error.into()))
}
