//! What watches delivered: each of them everything, once, in order; all of them the same.

use std::collections::BTreeMap;

use super::{Moment, Recorded, at};
use crate::{
    sim::history::Watched,
    types::{Revision, WatchEvent},
};

/// The events of all revisions, as far as anybody has seen them.
pub(super) struct Truth(BTreeMap<Revision, (Moment, Vec<WatchEvent>)>);

impl Truth {
    /// Gathers what watches of everything delivered, and holds all watches to it.
    pub(super) fn gather(recorded: &Recorded, violations: &mut Vec<String>) -> Truth {
        let mut truth = Truth(BTreeMap::new());
        for watched in recorded.watches.iter().filter(|watched| is_whole(watched)) {
            for (moment, batch) in &watched.batches {
                if batch.events.is_empty() {
                    continue;
                }
                let known = truth.0.entry(batch.revision);
                let (first, known) = known.or_insert_with(|| (*moment, batch.events.clone()));
                *first = (*first).min(*moment);
                // What was before may be forgotten on one member and not on another.
                for (known, seen) in known.iter_mut().zip(&batch.events) {
                    if known.previous.is_none() {
                        known.previous.clone_from(&seen.previous);
                    }
                }
            }
        }
        for watched in &recorded.watches {
            violations.extend(truth.hold(watched));
        }
        truth
    }

    /// What a revision changed.
    pub(super) fn events(&self, revision: Revision) -> Option<&[WatchEvent]> {
        self.0.get(&revision).map(|(_, events)| events.as_slice())
    }

    /// When a revision was seen first.
    pub(super) fn first_seen(&self, revision: Revision) -> Moment {
        self.0[&revision].0
    }

    /// The first thing that is wrong with a watch.
    fn hold(&self, watched: &Watched) -> Option<String> {
        let mut next = watched.from;
        for (moment, batch) in &watched.batches {
            let blame = |what: &str| {
                let Watched { watcher, from, .. } = watched;
                let (revision, at) = (batch.revision, at(*moment));
                Some(format!("watcher {watcher} from {from}, at {at}, revision {revision}: {what}"))
            };
            if !batch.events.is_empty() && batch.revision < next {
                return blame("repeated or out of order");
            }
            let end = if batch.events.is_empty() {
                Revision(batch.revision.0 + 1)
            } else {
                batch.revision
            };
            let skipped = self.0.range(next.min(end)..end).find(|(_, (_, events))| {
                events.iter().any(|event| watched.range.contains(&event.kv.key))
            });
            if let Some((skipped, _)) = skipped {
                return blame(&format!("revision {skipped} was skipped"));
            }
            if !batch.events.is_empty() {
                let all = self.events(batch.revision).unwrap_or_default();
                let wanted: Vec<&WatchEvent> =
                    all.iter().filter(|event| watched.range.contains(&event.kv.key)).collect();
                let same = wanted.len() == batch.events.len()
                    && wanted.iter().zip(&batch.events).all(|(wanted, seen)| {
                        let forgotten = seen.previous.is_none();
                        wanted.kind == seen.kind
                            && wanted.kv == seen.kv
                            && (forgotten || wanted.previous == seen.previous)
                    });
                if !same {
                    return blame(&format!("{:?} instead of {wanted:?}", batch.events));
                }
            }
            next = next.max(Revision(batch.revision.0 + 1));
        }
        None
    }
}

fn is_whole(watched: &Watched) -> bool {
    watched.range.start.is_empty() && watched.range.end.is_none()
}
