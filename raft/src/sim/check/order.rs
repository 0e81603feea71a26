//! The order of revisions must respect time.

use std::collections::BTreeMap;

use super::at;
use crate::{
    sim::{
        action::{Action, Outcome},
        history::{Moment, Record},
    },
    types::{Consistency, Revision},
};

/// An action's place in both orders.
struct Placed {
    number: usize,
    began: Moment,
    /// `None` if its client never learned of its end.
    ended: Option<Moment>,
    revision: Revision,
    writes: bool,
}

/// Actions that come after others although they ended before those began.
pub(super) fn check(records: &[Record], took_effect: &BTreeMap<usize, Revision>) -> Vec<String> {
    let placed = records.iter().enumerate();
    let placed: Vec<Placed> =
        placed.filter_map(|(number, record)| place(number, record, took_effect)).collect();
    let mut ends: Vec<&Placed> = placed.iter().filter(|placed| placed.ended.is_some()).collect();
    ends.sort_by_key(|placed| placed.ended);
    let mut begins: Vec<&Placed> = placed.iter().collect();
    begins.sort_by_key(|placed| placed.began);
    let mut violations = Vec::new();
    let mut ended = ends.into_iter().peekable();
    let mut newest: Option<&Placed> = None;
    for later in begins {
        while let Some(earlier) = ended.next_if(|earlier| earlier.ended < Some(later.began)) {
            if newest.is_none_or(|newest| earlier.revision > newest.revision) {
                newest = Some(earlier);
            }
        }
        let Some(newest) = newest else { continue };
        let stale =
            later.revision < newest.revision || (later.writes && later.revision == newest.revision);
        if stale {
            violations.push(format!(
                "{} began at {} and is of revision {}, but {} had ended with {} by then",
                later.number,
                at(later.began),
                later.revision,
                newest.number,
                newest.revision
            ));
        }
    }
    violations
}

fn place(
    number: usize,
    record: &Record,
    took_effect: &BTreeMap<usize, Revision>,
) -> Option<Placed> {
    let Record { action, began, ended } = record;
    let written = took_effect.get(&number).copied();
    let read = match (action, ended) {
        // These may be stale.
        (Action::Read { consistency: Consistency::Serializable, .. }, _) => None,
        (_, Some((_, Outcome::Read(reply)))) => Some(reply.revision),
        (_, Some((_, Outcome::Txn(reply)))) => Some(reply.revision),
        _ => None,
    };
    let known = ended.as_ref().filter(|(_, outcome)| !matches!(outcome, Outcome::Unknown(_)));
    Some(Placed {
        number,
        began: *began,
        ended: known.map(|(moment, _)| *moment),
        revision: written.or(read)?,
        writes: written.is_some(),
    })
}
