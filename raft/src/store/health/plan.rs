//! The leader's decisions about health: pure, from how it and the other voters are.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::Condition;
use crate::{disk::Room, types::MemberId};

/// Between two hand-overs by one member: the successor may turn out no better.
const HANDOVER_PAUSE: Duration = Duration::from_secs(60);

/// What a leader knows of another voter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// As it last said.
    pub(super) condition: Condition,
    /// It said so just now.
    pub(super) answered: bool,
}

/// Why leadership is given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Corrupt,
    Full,
    Slow,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Corrupt => "its state differs from the others'",
            Reason::Full => "its disk is full",
            Reason::Slow => "its disk is slow",
        })
    }
}

fn majority(known: &BTreeMap<MemberId, Known>) -> usize {
    known.len().div_ceil(2) + 1
}

/// To whom a leader gives leadership, if it should.
pub(super) fn hand_over(
    own: &Condition,
    known: &BTreeMap<MemberId, Known>,
    since_last: Option<Duration>,
) -> Option<(BTreeMap<MemberId, Condition>, Reason)> {
    let well: BTreeMap<MemberId, Condition> = known
        .iter()
        .filter(|(_, known)| known.answered && known.condition.is_well())
        .map(|(member, known)| (*member, known.condition))
        .collect();
    let rested = since_last.is_none_or(|since| since >= HANDOVER_PAUSE);
    let reason = if own.corrupt {
        Reason::Corrupt
    } else if !rested {
        return None;
    } else if own.room != Room::Plenty && well.len() >= majority(known) {
        // Without a majority that has room, puts are refused whoever leads.
        Reason::Full
    } else if own.slow {
        Reason::Slow
    } else {
        return None;
    };
    let better = well.into_iter().filter(|(_, theirs)| {
        // Where all share one disk, nothing is gained.
        reason != Reason::Slow || theirs.fsync_p99 * 2 <= own.fsync_p99
    });
    let better: BTreeMap<MemberId, Condition> = better.collect();
    (!better.is_empty()).then_some((better, reason))
}

/// Whether puts are taken: as long as no voter is known to be full, or a majority has room.
pub(super) fn takes_puts(own: &Condition, known: &BTreeMap<MemberId, Known>) -> bool {
    let others = || known.values().map(|known| known.condition);
    let nobody_is_full = others().chain([*own]).all(|condition| condition.room == Room::Plenty);
    let with_room = known
        .values()
        .filter(|known| known.answered)
        .map(|known| known.condition)
        .chain([*own])
        .filter(|condition| condition.room == Room::Plenty)
        .count();
    nobody_is_full || with_room >= majority(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Condition = Condition {
        fsync_p99: Duration::from_millis(2),
        slow: false,
        room: Room::Plenty,
        corrupt: false,
    };
    const SLOW: Condition = Condition { fsync_p99: Duration::from_millis(400), slow: true, ..WELL };
    const FULL: Condition = Condition { room: Room::Full, ..WELL };
    const CORRUPT: Condition = Condition { corrupt: true, ..WELL };

    /// Others that answered; a `None` was well and is silent now.
    fn others(conditions: &[Option<Condition>]) -> BTreeMap<MemberId, Known> {
        let known = conditions.iter().zip(2..).map(|(condition, id)| {
            let known =
                Known { condition: condition.unwrap_or(WELL), answered: condition.is_some() };
            (MemberId(id), known)
        });
        known.collect()
    }

    fn moves(own: Condition, theirs: &[Option<Condition>], since: Option<u64>) -> String {
        let since = since.map(Duration::from_secs);
        match hand_over(&own, &others(theirs), since) {
            None => "stays".to_owned(),
            Some((to, reason)) => {
                let to: Vec<String> = to.keys().map(|member| member.0.to_string()).collect();
                format!("{reason:?} to {}", to.join(","))
            }
        }
    }

    #[test]
    fn a_sick_leader_gives_leadership_to_who_is_better_once() {
        assert_eq!(moves(WELL, &[Some(SLOW), Some(FULL)], None), "stays");
        assert_eq!(moves(SLOW, &[Some(WELL), Some(WELL)], None), "Slow to 2,3");
        assert_eq!(moves(SLOW, &[Some(SLOW), Some(WELL)], None), "Slow to 3");
        assert_eq!(moves(SLOW, &[Some(SLOW), Some(SLOW)], None), "stays");
        assert_eq!(moves(SLOW, &[None, None], None), "stays");
        let hardly = Condition { fsync_p99: Duration::from_millis(300), ..WELL };
        assert_eq!(moves(SLOW, &[Some(hardly), None], None), "stays");
        assert_eq!(moves(SLOW, &[Some(WELL), None], Some(30)), "stays");
        assert_eq!(moves(SLOW, &[Some(WELL), None], Some(61)), "Slow to 2");
        assert_eq!(moves(FULL, &[Some(WELL), Some(WELL)], None), "Full to 2,3");
        assert_eq!(moves(FULL, &[Some(WELL), Some(FULL)], None), "stays");
        assert_eq!(moves(CORRUPT, &[Some(WELL), Some(SLOW)], Some(1)), "Corrupt to 2");
        assert_eq!(moves(SLOW, &[], None), "stays");
    }

    #[test]
    fn puts_are_taken_while_a_majority_has_room() {
        let takes = |own, theirs: &[Option<Condition>]| takes_puts(&own, &others(theirs));
        assert!(takes(WELL, &[]));
        assert!(!takes(FULL, &[]));
        assert!(takes(WELL, &[Some(WELL), Some(FULL)]));
        assert!(!takes(WELL, &[Some(FULL), Some(FULL)]));
        assert!(!takes(FULL, &[Some(WELL), Some(FULL)]));
        assert!(takes(FULL, &[Some(WELL), Some(WELL)]));
        assert!(takes(WELL, &[None, None]), "who is silent is not full");
        assert!(!takes(WELL, &[None, Some(FULL)]), "the full one would be needed");
        assert!(!takes(FULL, &[Some(WELL)]), "of two, both are needed");
    }
}
