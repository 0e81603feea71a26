//! Simulated time: requests come, are served and end, in text.

use std::collections::BTreeMap;

use super::*;

const QUEUING: Queuing = Queuing { queues: 64, hand: 6, length_max: 50 };

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A hash for a flow's name.
fn hash(flow: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    flow.bytes().fold(0xcbf2_9ce4_8422_2325, mix).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Clients that ask again as soon as they are answered; each has some requests under way.
struct World {
    queues: Queues<&'static str>,
    now: u64,
    /// When whose request ends.
    ends: BTreeMap<(u64, usize), (&'static str, Place)>,
    started: usize,
    served: BTreeMap<&'static str, u32>,
    refused: BTreeMap<&'static str, u32>,
    lasts: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(queuing: Option<Queuing>, limit: u32) -> World {
        World {
            queues: Queues::new(queuing, limit, at(0)),
            now: 0,
            ends: BTreeMap::new(),
            started: 0,
            served: BTreeMap::new(),
            refused: BTreeMap::new(),
            lasts: BTreeMap::new(),
        }
    }

    fn serve(&mut self, flow: &'static str, place: Place) {
        self.started += 1;
        let lasts = self.lasts.get(flow).copied().unwrap_or(10);
        self.ends.insert((self.now + lasts, self.started), (flow, place));
    }

    fn ask(&mut self, flow: &'static str, width: u32) {
        match self.queues.arrive(hash(flow), width, at(self.now), || flow) {
            Arrival::Serve(place) => self.serve(flow, place),
            Arrival::Wait(..) => {}
            Arrival::Refuse(_) => *self.refused.entry(flow).or_default() += 1,
        }
        self.dispatch();
    }

    fn dispatch(&mut self) {
        while let Some((flow, place)) = self.queues.dispatch(at(self.now)) {
            self.serve(flow, place);
        }
    }

    /// Lets time pass; whose request ends asks again.
    fn run(&mut self, until: u64) {
        while let Some((&(end, number), _)) = self.ends.first_key_value() {
            if end > until {
                break;
            }
            let (flow, place) = self.ends.remove(&(end, number)).unwrap();
            self.now = end;
            let width = place.width();
            *self.served.entry(flow).or_default() += 1;
            self.queues.finish(place, at(end));
            self.dispatch();
            self.ask(flow, width);
        }
        self.now = until;
    }
}

#[test]
fn a_flood_does_not_starve_the_quiet() {
    let mut world = World::new(Some(QUEUING), 10);
    for _ in 0..200 {
        world.ask("noisy", 1);
    }
    for _ in 0..5 {
        world.ask("quiet", 1);
    }
    world.run(10_000);
    let (noisy, quiet) = (world.served["noisy"], world.served["quiet"]);
    // A thousand services a second in all. The noisy one holds its six queues, the quiet one at
    // most five more: it is due five elevenths.
    assert!(noisy + quiet > 9_900, "{noisy} + {quiet}");
    assert!(quiet > 3_500, "{quiet} of {}", noisy + quiet);
}

#[test]
fn one_at_a_time_is_served_next_to_a_flood() {
    let mut world = World::new(Some(QUEUING), 10);
    for _ in 0..300 {
        world.ask("noisy", 1);
    }
    world.ask("quiet", 1);
    world.run(10_000);
    // Alone it would be served every 10 ms; it never waits longer than for the next free seat.
    assert!(world.served["quiet"] > 450, "{}", world.served["quiet"]);
}

#[test]
fn whoever_holds_seats_longer_is_served_less_often() {
    let mut world = World::new(Some(Queuing { queues: 2, hand: 1, length_max: 100 }), 10);
    let (slow, fast) =
        ("a", ["b", "c", "d", "e"].into_iter().find(|f| hash(f) % 2 != hash("a") % 2));
    let fast = fast.unwrap();
    world.lasts.insert(slow, 40);
    for _ in 0..50 {
        world.ask(slow, 1);
        world.ask(fast, 1);
    }
    world.run(20_000);
    let ratio = f64::from(world.served[fast]) / f64::from(world.served[slow]);
    assert!((3.0..5.0).contains(&ratio), "{ratio}");
}

#[test]
fn a_level_that_does_not_queue_refuses() {
    let mut world = World::new(None, 2);
    for _ in 0..3 {
        world.ask("a", 1);
    }
    assert_eq!(world.refused["a"], 1);
    world.run(10);
    world.ask("a", 1);
    assert_eq!(world.refused["a"], 2);
}

#[test]
fn a_full_queue_refuses_its_own_flow_only() {
    let mut world = World::new(Some(Queuing { queues: 64, hand: 2, length_max: 3 }), 1);
    for _ in 0..10 {
        world.ask("noisy", 1);
    }
    // One is served, three wait in each of two queues.
    assert_eq!(world.refused["noisy"], 3);
    world.ask("quiet", 1);
    assert_eq!(world.refused.get("quiet"), None);
}

#[test]
fn wide_requests_wait_for_their_seats_and_the_widest_go_alone() {
    let mut world = World::new(Some(QUEUING), 4);
    world.ask("list", 3);
    world.ask("list", 3);
    assert_eq!(world.ends.len(), 1);
    world.ask("get", 1);
    // The second list is due first, and nobody overtakes it for ever.
    world.run(25);
    assert!(world.served["list"] >= 1 && world.served["get"] >= 1);
    let mut queues: Queues<()> = Queues::new(Some(QUEUING), 4, at(0));
    let Arrival::Serve(place) = queues.arrive(1, 9, at(0), || ()) else { panic!("it is alone") };
    assert!(matches!(queues.arrive(2, 1, at(0), || ()), Arrival::Wait(..)));
    assert!(queues.dispatch(at(1)).is_none());
    queues.finish(place, at(1));
    assert!(queues.dispatch(at(1)).is_some());
}

#[test]
fn who_gives_up_leaves_no_trace() {
    let mut queues: Queues<&str> = Queues::new(Some(QUEUING), 1, at(0));
    let Arrival::Serve(place) = queues.arrive(1, 1, at(0), || "a") else {
        panic!("a seat is free")
    };
    let Arrival::Wait(turn, 1) = queues.arrive(2, 1, at(1), || "b") else { panic!("it waits") };
    assert!(queues.cancel(turn, at(2)));
    assert!(!queues.cancel(turn, at(2)));
    queues.finish(place, at(3));
    assert!(queues.dispatch(at(3)).is_none());
    assert!(queues.busy.is_empty());
    assert_eq!((queues.waiting, queues.seats_waiting, queues.seats_in_use), (0, 0, 0));
}

#[test]
fn fewer_and_more_seats_take_effect() {
    let mut queues: Queues<&str> = Queues::new(Some(QUEUING), 1, at(0));
    let Arrival::Serve(_) = queues.arrive(1, 1, at(0), || "a") else { panic!("a seat is free") };
    assert!(matches!(queues.arrive(2, 1, at(1), || "b"), Arrival::Wait(..)));
    queues.set_limit(2, at(2));
    assert_eq!(queues.dispatch(at(2)).map(|(who, _)| who), Some("b"));
    queues.set_limit(0, at(3));
    assert!(matches!(queues.arrive(3, 1, at(3), || "c"), Arrival::Wait(..)));
    assert!(queues.dispatch(at(3)).is_none());
}
