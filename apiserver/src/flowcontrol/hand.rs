//! Shuffle sharding: which few of a level's many queues a flow may use.
//!
//! Every flow is dealt a hand of queues by its hash. Two flows share some queue now and then, but
//! hardly ever all of theirs, so whoever floods its own hand leaves nearly everybody else a queue
//! that is free.

/// Most cards in a hand: a hash of 64 bits has no more to deal (upstream refuses what needs more
/// than 60).
pub const HAND_MAX: usize = 15;

/// A hand of different queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hand {
    cards: [u32; HAND_MAX],
    size: usize,
}

impl Hand {
    /// Deals `size` of `queues` queues. The same hash gets the same hand.
    pub fn deal(mut hash: u64, queues: u32, size: u32) -> Hand {
        let wanted = usize::try_from(size.min(queues)).unwrap_or(HAND_MAX).min(HAND_MAX);
        let mut hand = Hand { cards: [0; HAND_MAX], size: 0 };
        let mut drawn = [0_u32; HAND_MAX];
        while hand.size < wanted {
            let left = u64::from(queues) - hand.size as u64;
            // Which of the queues that are left, counted from the lowest.
            let mut card = u32::try_from(hash % left).unwrap_or(u32::MAX);
            hash /= left;
            let mut place = 0;
            while place < hand.size && card >= drawn[place] {
                card += 1;
                place += 1;
            }
            drawn.copy_within(place..hand.size, place + 1);
            drawn[place] = card;
            hand.cards[hand.size] = card;
            hand.size += 1;
        }
        hand
    }

    /// The queues, beginning with the one at `offset`.
    pub fn from(&self, offset: usize) -> impl Iterator<Item = u32> {
        let (size, cards) = (self.size, self.cards);
        (0..size).map(move |place| cards[(offset + place) % size])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_holds_different_queues_and_every_queue_is_dealt() {
        let mut seen = [0_u32; 16];
        for flow in 0..4000_u64 {
            let hash = flow.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut cards: Vec<u32> = Hand::deal(hash, 16, 6).from(0).collect();
            cards.sort_unstable();
            cards.dedup();
            assert_eq!(cards.len(), 6, "flow {flow}");
            cards.iter().for_each(|card| seen[*card as usize] += 1);
        }
        // 1,500 each on average.
        assert!(seen.iter().all(|times| (1200..1800).contains(times)), "{seen:?}");
    }

    #[test]
    fn a_small_deck_is_dealt_whole() {
        let cards: Vec<u32> = Hand::deal(5, 3, 8).from(1).collect();
        assert_eq!(cards.len(), 3);
        assert_eq!(Hand::deal(7, 1, 1).from(0).collect::<Vec<_>>(), [0]);
    }
}
