//! Priority and fairness: how many requests are served at a time, and whose.
//!
//! ```text
//!   request ──> classify: the first FlowSchema that it matches ──> its priority level
//!                 exempt level: served       Reject level: served if a seat is free
//!                 Queue level: one of the flow's few queues; queues take turns at the seats
//! ```
//!
//! Decisions are pure and know no clock: [`classify`] (whose request is it), [`plan`] (what the
//! objects come to), [`shares`] (seats of levels, lending), [`width`] (seats of a request),
//! [`queues`] with [`hand`] (who is next), [`patience`] (for how long who is sent away had better
//! stay away). This file performs them: one short lock per level, and a
//! request that finds a seat free allocates nothing.
//!
//! A [`Seat`] is held while a request is served: until its answer is complete, or, of a watch, until
//! what there was at its start has been sent.

pub mod classify;
pub mod demand;
pub mod dump;
pub mod follow;
pub mod hand;
mod metrics;
pub mod patience;
pub mod plan;
pub mod queues;
pub mod shares;
pub mod width;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{sync::oneshot, time::Instant};

use crate::{request_info::RequestInfo, user::UserInfo};
use classify::Matcher;
use patience::Patience;
use plan::Verdict;
use queues::{Arrival, Place, Queues, Refusal, Turn};
use shares::{Limits, Wanted};

/// The longest time in a queue, as upstream.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Everything that priority and fairness know of one server.
pub struct FlowControl {
    total: u32,
    origin: Instant,
    current: ArcSwap<Compiled>,
}

/// Schemas and levels as of one change of their objects.
#[derive(Default)]
struct Compiled {
    schemas: Vec<Arc<Schema>>,
    levels: HashMap<String, Arc<Level>>,
}

/// A flow schema with what its requests need.
pub struct Schema {
    matcher: Matcher,
    level: Arc<Level>,
    /// For the answers: uids only, names are nobody's business.
    pub schema_uid: HeaderValue,
    /// The level's.
    pub level_uid: HeaderValue,
    metrics: metrics::OfSchema,
}

/// A priority level.
struct Level {
    name: String,
    origin: Instant,
    /// `None` where nothing is limited.
    queues: Option<Mutex<Queues<Waiter>>>,
    settings: Mutex<Settings>,
    patience: Mutex<Patience>,
    /// Answers that are still being sent, and until when they may hold their seats.
    sending: Mutex<Vec<(Instant, Weak<Sending>)>>,
}

#[derive(Clone, Copy, Default)]
struct Settings {
    limits: Limits,
    width_max: u32,
    smoothed: f64,
}

/// Who waits for a seat.
struct Waiter {
    schema: Arc<Schema>,
    watch: bool,
    tell: oneshot::Sender<Seat>,
}

/// The right to be served. Whoever waits gets it next when it is dropped.
pub struct Seat {
    schema: Arc<Schema>,
    place: Option<Place>,
    since: Instant,
    watch: bool,
}

/// What becomes of a request.
pub enum Admission {
    /// It is served.
    Served(Seat),
    /// It waits for a seat.
    Waits(Waiting),
    /// It is sent away.
    Refused,
}

/// A request in a queue. Dropped, it gives up.
pub struct Waiting {
    schema: Arc<Schema>,
    turn: Turn,
    since: Instant,
    told: oneshot::Receiver<Seat>,
    left: bool,
}

/// A seat that is kept while an answer is sent.
pub struct Sending(Mutex<Option<Seat>>);

impl FlowControl {
    /// For a server that serves `total` requests at a time. Until it has seen the objects, it
    /// knows what is exempt and one level for the rest.
    pub fn new(total: usize) -> FlowControl {
        let total = u32::try_from(total).unwrap_or(u32::MAX);
        let control = FlowControl { total, origin: Instant::now(), current: ArcSwap::default() };
        control.follow(&[], &[]);
        control
    }

    /// Takes over what the objects say now; tells what the schemas' conditions should say.
    pub fn follow(&self, schemas: &[Value], levels: &[Value]) -> Vec<Verdict> {
        let plan = plan::plan(schemas, levels, self.total);
        let before = self.current.load();
        let mut all = HashMap::new();
        let mut uids = HashMap::new();
        for level in plan.levels {
            let known = before.levels.get(&level.name);
            let same = known.filter(|known| known.queues.is_some() != level.exempt).cloned();
            let one = same.unwrap_or_else(|| Arc::new(Level::new(&level, self.origin)));
            one.configure(&level);
            uids.insert(level.name.clone(), level.uid);
            all.insert(level.name, one);
        }
        let schema = |matcher: Matcher| {
            let level = all.get(&matcher.level)?.clone();
            let uid = uids.get(&matcher.level).map(String::as_str).unwrap_or_default();
            Some(Arc::new(Schema::new(matcher, level, uid)))
        };
        let schemas = plan.schemas.into_iter().filter_map(schema).collect();
        self.current.store(Arc::new(Compiled { schemas, levels: all }));
        plan.verdicts
    }

    /// Which schema a request is of.
    pub fn classify(&self, user: &UserInfo, info: &RequestInfo) -> Option<Arc<Schema>> {
        let current = self.current.load();
        let found = current.schemas.iter().find(|schema| schema.matcher.matches(user, info));
        found.or(current.schemas.last()).cloned()
    }

    /// Divides the seats anew by what was asked for since the last time, and takes back those of
    /// answers that nobody reads.
    pub fn adjust(&self, now: Instant) {
        let since = now.saturating_duration_since(self.origin);
        let current = self.current.load();
        let levels: Vec<&Arc<Level>> =
            current.levels.values().filter(|level| level.queues.is_some()).collect();
        let wanted: Vec<(Limits, Wanted)> =
            levels.iter().map(|level| level.wanted(since)).collect();
        let lent = shares::lend(&wanted);
        metrics::FAIR_FRACTION.set(lent.fraction);
        for ((level, limit), target) in levels.iter().zip(&lent.limits).zip(&lent.targets) {
            metrics::TARGET.with_label_values(&[&level.name]).set(*target);
            level.set_limit(*limit, since);
            level.take_back(now);
        }
    }

    /// How long a request waits at most whose time runs out in `left`.
    pub fn wait_max(left: Duration) -> Duration {
        (left / 4).min(WAIT_MAX)
    }
}

impl Level {
    fn new(level: &plan::Level, origin: Instant) -> Level {
        let queues = (!level.exempt).then(|| {
            Mutex::new(Queues::new(level.queuing, level.limits.nominal, origin.elapsed()))
        });
        Level {
            name: level.name.clone(),
            origin,
            queues,
            settings: Mutex::default(),
            patience: Mutex::default(),
            sending: Mutex::default(),
        }
    }

    fn configure(&self, level: &plan::Level) {
        let mut settings = self.settings.lock();
        let changed = settings.limits != level.limits;
        settings.limits = level.limits;
        settings.width_max = width::max(level.limits.nominal, level.queuing);
        drop(settings);
        metrics::limits(&self.name, level.limits);
        let Some(queues) = &self.queues else { return };
        queues.lock().set_queuing(level.queuing);
        if changed {
            self.set_limit(level.limits.nominal, self.now());
        }
    }

    fn set_limit(&self, limit: u32, now: Duration) {
        if let Some(queues) = &self.queues {
            queues.lock().set_limit(limit, now);
            metrics::CURRENT_LIMIT.with_label_values(&[&self.name]).set(f64::from(limit));
            self.dispatch();
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Gives free seats to whoever is next.
    fn dispatch(&self) {
        let Some(queues) = &self.queues else { return };
        loop {
            let next = queues.lock().dispatch(self.now());
            let Some((Waiter { schema, watch, tell }, place)) = next else { return };
            schema.metrics.waiting.dec();
            // Outside of the lock: if nobody listens any more the seat comes back at once.
            let _ = tell.send(Seat::taken(schema, Some(place), watch));
        }
    }

    /// What it was asked for since this was asked last.
    fn wanted(&self, now: Duration) -> (Limits, Wanted) {
        let mut settings = self.settings.lock();
        let Some(queues) = &self.queues else { return (settings.limits, Wanted::default()) };
        let demand = queues.lock().take_demand(now);
        let smoothed = shares::smooth(settings.smoothed, demand.average(), demand.deviation());
        settings.smoothed = smoothed;
        metrics::demand(&self.name, &demand, smoothed);
        (settings.limits, Wanted { high: demand.high(), smoothed })
    }

    fn take_back(&self, now: Instant) {
        let mut over = Vec::new();
        self.sending.lock().retain(|(until, sending)| {
            let Some(sending) = sending.upgrade() else { return false };
            if *until <= now {
                over.push(sending);
                return false;
            }
            true
        });
        over.iter().for_each(|sending| sending.end());
    }
}

impl Schema {
    fn new(matcher: Matcher, level: Arc<Level>, level_uid: &str) -> Schema {
        let header = |uid: &str| HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""));
        let metrics = metrics::OfSchema::new(&level.name, &matcher.name);
        Schema {
            schema_uid: header(&matcher.uid),
            level_uid: header(level_uid),
            matcher,
            level,
            metrics,
        }
    }

    /// Notes that a request is sent away; tells for how many seconds it had better stay away.
    pub fn send_away(&self) -> u64 {
        self.level.patience.lock().send_away(self.level.now().as_secs())
    }

    /// Asks for a seat. `width` is asked only where seats are counted, with the most that one
    /// request of the level may take.
    pub fn arrive(
        self: &Arc<Schema>,
        user: &UserInfo,
        info: &RequestInfo,
        width: impl FnOnce(u32) -> u32,
    ) -> Admission {
        let watch = info.verb == "watch";
        let level = &self.level;
        let Some(queues) = &level.queues else {
            return Admission::Served(Seat::taken(self.clone(), None, watch));
        };
        let mut hasher = DefaultHasher::new();
        self.matcher.name.hash(&mut hasher);
        self.matcher.flow(user, info).hash(&mut hasher);
        let width_max = level.settings.lock().width_max;
        let width = width(width_max);
        self.metrics.width.observe(f64::from(width));
        let mut told = None;
        let waiter = || {
            let (tell, listen) = oneshot::channel();
            told = Some(listen);
            Waiter { schema: self.clone(), watch, tell }
        };
        let arrival = queues.lock().arrive(hasher.finish(), width, level.now(), waiter);
        match (arrival, told) {
            (Arrival::Serve(place), _) => {
                self.metrics.waited_served.observe(0.0);
                Admission::Served(Seat::taken(self.clone(), Some(place), watch))
            }
            (Arrival::Wait(turn, length), Some(told)) => {
                self.metrics.waiting.inc();
                self.metrics.queue_length.observe(metrics::count(length));
                level.dispatch();
                let (schema, since) = (self.clone(), Instant::now());
                Admission::Waits(Waiting { schema, turn, since, told, left: false })
            }
            (Arrival::Refuse(why), _) => {
                metrics::refused(&level.name, &self.matcher.name, why);
                self.metrics.waited_refused.observe(0.0);
                Admission::Refused
            }
            (Arrival::Wait(..), None) => Admission::Refused,
        }
    }
}

impl Seat {
    fn taken(schema: Arc<Schema>, place: Option<Place>, watch: bool) -> Seat {
        let of = &schema.metrics;
        of.served.inc();
        of.serving.inc();
        if let Some(place) = &place {
            of.seats.add(i64::from(place.width()));
        }
        Seat { schema, place, since: Instant::now(), watch }
    }

    /// Keeps the seat while an answer is sent, but no longer than until `until`: a client that
    /// does not read costs nothing.
    pub fn while_sending(self, until: Instant) -> Arc<Sending> {
        let level = self.schema.level.clone();
        let limited = self.place.is_some();
        let sending = Arc::new(Sending(Mutex::new(Some(self))));
        if limited {
            let mut all = level.sending.lock();
            all.retain(|(_, one)| one.strong_count() > 0);
            all.push((until, Arc::downgrade(&sending)));
        }
        sending
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let of = &self.schema.metrics;
        of.serving.dec();
        let lasted = self.since.elapsed().as_secs_f64();
        if self.watch { &of.lasted_watch } else { &of.lasted }.observe(lasted);
        let Some(place) = self.place.take() else { return };
        of.seats.sub(i64::from(place.width()));
        let level = &self.schema.level;
        if let Some(queues) = &level.queues {
            queues.lock().finish(place, level.now());
            level.dispatch();
        }
    }
}

impl Sending {
    /// Gives the seat back before the answer ends.
    fn end(&self) {
        let seat = self.0.lock().take();
        drop(seat);
    }
}

impl Waiting {
    /// Waits for a seat, `limit` at most; `None` if there was none in time.
    pub async fn seat(mut self, limit: Duration) -> Option<Seat> {
        let told = tokio::time::timeout(limit, &mut self.told).await;
        let waited = self.since.elapsed().as_secs_f64();
        if let Ok(Ok(seat)) = told {
            self.left = true;
            self.schema.metrics.waited_served.observe(waited);
            return Some(seat);
        }
        self.leave(Refusal::TimeOut);
        None
    }

    fn leave(&mut self, why: Refusal) {
        self.left = true;
        let level = &self.schema.level;
        let Some(queues) = &level.queues else { return };
        // Otherwise its turn had just come, and the seat returns with the receiver.
        if queues.lock().cancel(self.turn, level.now()) {
            self.schema.metrics.waiting.dec();
        }
        metrics::refused(&level.name, &self.schema.matcher.name, why);
        self.schema.metrics.waited_refused.observe(self.since.elapsed().as_secs_f64());
        level.dispatch();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.left {
            self.leave(Refusal::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests;
