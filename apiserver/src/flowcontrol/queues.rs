//! Fair queuing within one priority level: who is served now, who waits, who is sent away.
//!
//! Pure: time is an argument, and a waiting request is a value that comes back when it is its
//! turn. As upstream's queue sets, it serves the queue that would be the first to finish if all
//! were served at once, bit by bit: `progress` is the work, in seats times seconds, that every
//! busy queue has been due so far, and a queue's `next` is where in it the queue's next request
//! begins. How long a request takes is not known before; it is taken for [`ESTIMATE`] and made
//! good when it ends.
//!
//! Only queues that have something to do exist in memory, however many a level may have.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::{demand::Demand, hand::Hand};

/// How long a request is taken to last until it is known.
const ESTIMATE: Duration = Duration::from_millis(3);

/// How a level queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queuing {
    /// Number of queues.
    pub queues: u32,
    /// How many of them a flow may use.
    pub hand: u32,
    /// Most requests in one of them.
    pub length_max: usize,
}

/// Why a request is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All seats are taken, and its queue is full.
    QueueFull,
    /// All seats are taken, and the level does not queue.
    ConcurrencyLimit,
    /// It waited too long.
    TimeOut,
    /// Its client gave up.
    Cancelled,
}

impl Refusal {
    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::QueueFull => "queue-full",
            Refusal::ConcurrencyLimit => "concurrency-limit",
            Refusal::TimeOut => "time-out",
            Refusal::Cancelled => "cancelled",
        }
    }
}

/// The seats of a request that is being served.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    queue: u32,
    width: u32,
    since: Duration,
}

impl Place {
    /// How many seats it is.
    pub fn width(&self) -> u32 {
        self.width
    }
}

/// A request's place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    queue: u32,
    id: u64,
}

/// What one queue holds, for those who look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Its number.
    pub number: u32,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that are served.
    pub serving: usize,
    /// Their seats.
    pub seats: u32,
    /// Where its next request begins, in work that each queue has been due.
    pub next: f64,
}

/// What becomes of a request that comes.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is served.
    Serve(Place),
    /// It waits, behind so many of its queue, itself included.
    Wait(Turn, usize),
    /// It is sent away.
    Refuse(Refusal),
}

/// All queues of a level, with the requests of type `W` that wait in them.
#[derive(Debug)]
pub struct Queues<W> {
    queuing: Option<Queuing>,
    limit: u32,
    busy: HashMap<u32, Queue<W>>,
    waiting: usize,
    seats_waiting: u32,
    seats_in_use: u32,
    progress: f64,
    synced: Duration,
    last_served: u32,
    arrivals: usize,
    next_id: u64,
    demand: Demand,
}

#[derive(Debug)]
struct Queue<W> {
    waiting: VecDeque<Waiting<W>>,
    seats_waiting: u32,
    serving: u32,
    seats: u32,
    next: f64,
}

#[derive(Debug)]
struct Waiting<W> {
    id: u64,
    width: u32,
    arrived: f64,
    request: W,
}

impl<W> Queue<W> {
    /// No request begins before it came, however long its queue had nothing to do.
    fn bound(&mut self) {
        if let Some(oldest) = self.waiting.front() {
            self.next = self.next.max(oldest.arrived);
        }
    }
}

fn work(width: u32, time: Duration) -> f64 {
    f64::from(width) * time.as_secs_f64()
}

impl<W> Queues<W> {
    /// Empty queues with so many seats.
    pub fn new(queuing: Option<Queuing>, limit: u32, now: Duration) -> Queues<W> {
        Queues {
            queuing,
            limit,
            busy: HashMap::new(),
            waiting: 0,
            seats_waiting: 0,
            seats_in_use: 0,
            progress: 0.0,
            synced: now,
            last_served: 0,
            arrivals: 0,
            next_id: 0,
            demand: Demand::new(now),
        }
    }

    /// Changes how requests that come from now on are queued. Whoever waits goes on waiting.
    pub fn set_queuing(&mut self, queuing: Option<Queuing>) {
        self.queuing = queuing;
    }

    /// Changes the number of seats.
    pub fn set_limit(&mut self, limit: u32, now: Duration) {
        self.sync(now);
        self.limit = limit;
    }

    /// How many seats there are.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The queues that have something to do, by number.
    pub fn summaries(&self) -> Vec<Summary> {
        let mut all: Vec<Summary> = self
            .busy
            .iter()
            .map(|(number, queue)| Summary {
                number: *number,
                waiting: queue.waiting.len(),
                serving: queue.serving as usize,
                seats: queue.seats,
                next: queue.next,
            })
            .collect();
        all.sort_by_key(|queue| queue.number);
        all
    }

    /// How many seats were asked for, since this was asked last.
    pub fn take_demand(&mut self, now: Duration) -> Demand {
        self.demand.take(now)
    }

    /// Takes a request in. Dispatch afterwards: others may get their turn by it.
    pub fn arrive(
        &mut self,
        flow: u64,
        width: u32,
        now: Duration,
        request: impl FnOnce() -> W,
    ) -> Arrival {
        self.sync(now);
        let Some(queuing) = self.queuing else {
            if !self.fits(width) {
                return Arrival::Refuse(Refusal::ConcurrencyLimit);
            }
            return Arrival::Serve(self.serve(0, width, now));
        };
        let queue = self.choose(flow, queuing);
        if self.waiting == 0 && self.fits(width) {
            return Arrival::Serve(self.serve(queue, width, now));
        }
        let queued = self.busy.get(&queue).map_or(0, |queue| queue.waiting.len());
        if self.seats_in_use >= self.limit && queued >= queuing.length_max {
            return Arrival::Refuse(Refusal::QueueFull);
        }
        let id = self.next_id;
        self.next_id += 1;
        let arrived = self.progress;
        let one = self.queue(queue);
        one.waiting.push_back(Waiting { id, width, arrived, request: request() });
        one.seats_waiting += width;
        one.bound();
        self.waiting += 1;
        self.seats_waiting += width;
        self.note_demand(now);
        Arrival::Wait(Turn { queue, id }, queued + 1)
    }

    /// The next request whose turn it is, if there is one and a seat for it.
    pub fn dispatch(&mut self, now: Duration) -> Option<(W, Place)> {
        if self.waiting == 0 || self.seats_in_use >= self.limit {
            return None;
        }
        self.sync(now);
        let last = self.last_served;
        let heads = self.busy.iter().filter_map(|(number, queue)| {
            let head = queue.waiting.front()?;
            let end = queue.next + work(head.width, ESTIMATE);
            // Equal queues take turns.
            Some((end, number.wrapping_sub(last).wrapping_sub(1), *number, head.width))
        });
        let (_, _, number, width) =
            heads.min_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)))?;
        if !self.fits(width) {
            return None;
        }
        let queue = self.busy.get_mut(&number)?;
        let next = queue.waiting.pop_front()?;
        queue.seats_waiting -= width;
        self.waiting -= 1;
        self.seats_waiting -= width;
        self.last_served = number;
        let place = self.serve(number, width, now);
        self.queue(number).bound();
        Some((next.request, place))
    }

    /// Takes back the seats of a request that has been served. Dispatch afterwards.
    #[expect(clippy::needless_pass_by_value, reason = "seats are given back once")]
    pub fn finish(&mut self, place: Place, now: Duration) {
        self.sync(now);
        self.seats_in_use -= place.width;
        let lasted = now.saturating_sub(place.since);
        let queue = self.queue(place.queue);
        queue.serving -= 1;
        queue.seats -= place.width;
        queue.next += work(place.width, lasted) - work(place.width, ESTIMATE);
        queue.bound();
        self.tidy(place.queue);
        self.note_demand(now);
    }

    /// Takes a request out of its queue; false if its turn has come before. Dispatch afterwards.
    pub fn cancel(&mut self, turn: Turn, now: Duration) -> bool {
        self.sync(now);
        let Some(queue) = self.busy.get_mut(&turn.queue) else { return false };
        let Some(at) = queue.waiting.iter().position(|one| one.id == turn.id) else {
            return false;
        };
        let width = queue.waiting.remove(at).map_or(0, |one| one.width);
        queue.seats_waiting -= width;
        queue.bound();
        self.waiting -= 1;
        self.seats_waiting -= width;
        self.tidy(turn.queue);
        self.note_demand(now);
        true
    }

    /// Whether so many seats are free. What is wider than the whole level may go alone.
    fn fits(&self, width: u32) -> bool {
        if width > self.limit {
            return self.limit > 0 && self.seats_in_use == 0;
        }
        self.seats_in_use + width <= self.limit
    }

    fn serve(&mut self, queue: u32, width: u32, now: Duration) -> Place {
        self.seats_in_use += width;
        let one = self.queue(queue);
        one.serving += 1;
        one.seats += width;
        one.next += work(width, ESTIMATE);
        self.note_demand(now);
        Place { queue, width, since: now }
    }

    /// The queue of the flow's hand with the least to do.
    fn choose(&mut self, flow: u64, queuing: Queuing) -> u32 {
        let offset = self.arrivals;
        self.arrivals = self.arrivals.wrapping_add(1);
        let busy = |number: &u32| self.busy.get(number).map_or(0, |queue| queue.seats_waiting);
        let hand = Hand::deal(flow, queuing.queues.max(1), queuing.hand.max(1));
        hand.from(offset).min_by_key(busy).unwrap_or(0)
    }

    /// A queue; one that had nothing to do begins where the others are.
    fn queue(&mut self, number: u32) -> &mut Queue<W> {
        let next = self.progress;
        self.busy.entry(number).or_insert_with(|| Queue {
            waiting: VecDeque::new(),
            seats_waiting: 0,
            serving: 0,
            seats: 0,
            next,
        })
    }

    fn tidy(&mut self, number: u32) {
        let idle = |queue: &Queue<W>| queue.serving == 0 && queue.waiting.is_empty();
        if self.busy.get(&number).is_some_and(idle) {
            self.busy.remove(&number);
        }
    }

    /// Brings `progress` up to now: all busy queues share what the level can do alike.
    fn sync(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.synced);
        self.synced = now.max(self.synced);
        if self.busy.is_empty() || passed.is_zero() {
            return;
        }
        let rate = (self.seats_in_use + self.seats_waiting).min(self.limit);
        #[expect(clippy::cast_precision_loss, reason = "queues are few")]
        let queues = self.busy.len() as f64;
        self.progress += work(rate, passed) / queues;
    }

    fn note_demand(&mut self, now: Duration) {
        self.demand.set(self.seats_in_use + self.seats_waiting, now);
    }
}

#[cfg(test)]
mod tests;
