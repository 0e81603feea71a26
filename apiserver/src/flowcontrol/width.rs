//! How many seats a request takes: one, but for lists, by what they put in memory.

use super::queues::Queuing;

/// Bytes of objects that one seat stands for, as upstream.
const SEAT_BYTES: u64 = 100_000;
/// More is never in memory at once of a list from the cache: it is streamed.
const STREAMED_BYTES_MAX: u64 = 1_000_000;
/// Most seats of one request, whatever its level.
const SEATS_MAX: u32 = 100;

/// A list, as far as its cost goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    /// Objects of the resource.
    pub objects: u64,
    /// Their average size in bytes.
    pub bytes_each: u64,
    /// How many it asks for; 0 is all.
    pub limit: u64,
    /// Whether it asks for one object by name.
    pub single: bool,
    /// Whether it selects by label or field.
    pub selects: bool,
    /// Whether the cache has what it asks for; the store has it otherwise.
    pub cached: bool,
}

/// The seats of a list, in a level where a request may take `max`.
pub fn of_list(list: List, max: u32) -> u32 {
    let limited = if list.limit > 0 { list.limit.min(list.objects) } else { list.objects };
    let objects = match list {
        List { single: true, .. } => 1,
        List { cached: false, selects: true, .. } => limited.max(list.objects / 2),
        _ => limited,
    };
    let mut bytes = objects.saturating_mul(list.bytes_each);
    if list.cached {
        bytes = bytes.min(STREAMED_BYTES_MAX);
    }
    let seats = u32::try_from(bytes.div_ceil(SEAT_BYTES)).unwrap_or(SEATS_MAX);
    seats.clamp(1, max.clamp(1, SEATS_MAX))
}

/// The most seats of one request in a level: not so many that one flow with its whole hand of
/// queues could take them all.
pub fn max(nominal: u32, queuing: Option<Queuing>) -> u32 {
    let hand = queuing.map_or(1, |queuing| queuing.hand.max(1));
    nominal.div_ceil(hand).clamp(1, SEATS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_take_seats_by_their_bytes() {
        let all = List {
            objects: 10_000,
            bytes_each: 2_000,
            limit: 0,
            single: false,
            selects: false,
            cached: true,
        };
        assert_eq!(of_list(all, 100), 10);
        assert_eq!(of_list(List { cached: false, ..all }, 300), 100);
        assert_eq!(of_list(List { cached: false, limit: 500, ..all }, 100), 10);
        assert_eq!(of_list(List { cached: false, limit: 500, selects: true, ..all }, 100), 100);
        assert_eq!(of_list(List { single: true, ..all }, 100), 1);
        assert_eq!(of_list(List { objects: 0, ..all }, 100), 1);
        assert_eq!(of_list(all, 3), 3);
    }

    #[test]
    fn one_request_leaves_room_for_others() {
        let queuing = Queuing { queues: 128, hand: 6, length_max: 50 };
        assert_eq!(max(98, Some(queuing)), 17);
        assert_eq!(max(13, None), 13);
        assert_eq!(max(0, Some(queuing)), 1);
    }
}
