//! Numbered places for a frontend's endpoints.
//!
//! The ruleset picks an endpoint by its number, so a number that moves is an element rewritten, and
//! for a sticky service a client sent elsewhere. An endpoint keeps its slot while it lives. What
//! differs is what happens to a slot that became free.

use super::vocabulary::Endpoint;

/// What happens to free slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotsPolicy {
    /// The last endpoint moves in: the slots in use are always `0..count`.
    Compact,
    /// It stays empty, and new endpoints go behind the last slot ever used, because clients may
    /// still remember it; it is used again only when too many have piled up.
    Sticky,
}

/// Which endpoint has which slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(Vec<Option<Endpoint>>);

impl Slots {
    /// The slots after a change to `endpoints` (each once).
    pub fn assign(&self, endpoints: &[Endpoint], policy: SlotsPolicy) -> Slots {
        let keep = |slot: &Option<Endpoint>| slot.filter(|endpoint| endpoints.contains(endpoint));
        let mut slots: Vec<_> = self.0.iter().map(keep).collect();
        let mut new = endpoints.iter().filter(|endpoint| !self.0.contains(&Some(**endpoint)));
        match policy {
            SlotsPolicy::Compact => {
                for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
                    *slot = new.next().copied();
                }
                slots.extend(new.map(|endpoint| Some(*endpoint)));
                compact(&mut slots);
            }
            SlotsPolicy::Sticky => {
                let span_max = 4 * endpoints.len() + 16;
                for endpoint in new {
                    let free = slots.iter().position(Option::is_none);
                    match free {
                        Some(free) if slots.len() >= span_max => slots[free] = Some(*endpoint),
                        _ => slots.push(Some(*endpoint)),
                    }
                }
            }
        }
        Slots(slots)
    }

    /// The slots in use, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u16, Endpoint)> {
        let slots = self.0.iter().enumerate();
        slots.filter_map(|(index, slot)| Some((u16::try_from(index).ok()?, (*slot)?)))
    }

    /// One more than the last slot.
    pub fn span(&self) -> u16 {
        u16::try_from(self.0.len()).unwrap_or(u16::MAX)
    }
}

fn compact(slots: &mut Vec<Option<Endpoint>>) {
    while let Some(free) = slots.iter().position(Option::is_none) {
        let last = slots.pop().expect("a list with a free slot is not empty");
        if free < slots.len() {
            slots[free] = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(policy: SlotsPolicy, steps: &[&[u8]]) -> Vec<Option<u8>> {
        let endpoint = |last: &u8| Endpoint { address: [10, 42, 0, *last].into(), port: 80 };
        let mut slots = Slots::default();
        for step in steps {
            let endpoints: Vec<_> = step.iter().map(endpoint).collect();
            slots = slots.assign(&endpoints, policy);
            let used = slots.0.iter().flatten().count();
            assert_eq!(used, endpoints.len(), "{step:?}");
        }
        let last = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => address.octets()[3],
            std::net::IpAddr::V6(_) => unreachable!("the rows are IPv4"),
        };
        slots.0.iter().map(|slot| slot.map(|endpoint| last(endpoint.address))).collect()
    }

    #[test]
    fn slots_change_as_little_as_they_can() {
        use SlotsPolicy::{Compact, Sticky};
        type Row = (SlotsPolicy, &'static [&'static [u8]], &'static [Option<u8>]);
        let rows: [Row; 7] = [
            (Compact, &[&[1, 2, 3]], &[Some(1), Some(2), Some(3)]),
            (Compact, &[&[1, 2, 3], &[2, 3]], &[Some(3), Some(2)]),
            (Compact, &[&[1, 2, 3], &[2, 3, 4]], &[Some(4), Some(2), Some(3)]),
            (Compact, &[&[1, 2, 3], &[]], &[]),
            (Sticky, &[&[1, 2, 3], &[2, 3]], &[None, Some(2), Some(3)]),
            (Sticky, &[&[1, 2], &[2, 3]], &[None, Some(2), Some(3)]),
            (Sticky, &[&[1], &[], &[1]], &[None, Some(1)]),
        ];
        for (policy, steps, expected) in rows {
            assert_eq!(slots(policy, steps), expected, "{policy:?} {steps:?}");
        }
    }

    #[test]
    fn sticky_slots_are_used_again_before_they_pile_up() {
        let steps: Vec<Vec<u8>> = (0..200).map(|step| vec![step]).collect();
        let steps: Vec<&[u8]> = steps.iter().map(Vec::as_slice).collect();
        assert!(slots(SlotsPolicy::Sticky, &steps).len() <= 20);
    }
}
