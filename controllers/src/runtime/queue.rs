//! A queue of keys: each is in it once, and worked on by one worker at a time.
//!
//! Bounded by the number of objects there are. A key that is added while it is being worked on
//! comes again afterwards. Rechecks and back-off are timers in the same queue.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use kontiki_base::backoff::Backoff;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::metrics::QueueMetrics;
use crate::world::Key;

const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_LIMIT: Duration = Duration::from_secs(60);

/// How a key's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// Well; look again after this time even if nothing happens.
    Settled(Option<Duration>),
    /// Look again at once: what it waited for has arrived.
    Again,
    /// Badly; look again after a delay that grows.
    Retry,
}

/// See the module.
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
    metrics: QueueMetrics,
}

#[derive(Default)]
struct State {
    open: bool,
    ready: VecDeque<Key>,
    added: HashMap<Key, Instant>,
    working: HashSet<Key>,
    dirty: HashSet<Key>,
    timers: BTreeSet<(Instant, Key)>,
    timer_of: HashMap<Key, Instant>,
    backoff: HashMap<Key, Backoff>,
}

impl Queue {
    /// A closed queue.
    pub(crate) fn new(name: &str) -> Queue {
        Queue { state: Mutex::default(), changed: Notify::new(), metrics: QueueMetrics::new(name) }
    }

    /// Accepts keys from now on.
    pub(crate) fn open(&self) {
        *self.state.lock() = State { open: true, ..State::default() };
        self.metrics.depth.set(0.0);
    }

    /// Forgets all keys and accepts no more.
    pub(crate) fn close(&self) {
        *self.state.lock() = State::default();
        self.metrics.depth.set(0.0);
    }

    /// Adds keys that something happened to.
    pub(crate) fn add(&self, keys: impl IntoIterator<Item = Key>) {
        let mut state = self.state.lock();
        if !state.open {
            return;
        }
        let mut any = false;
        for key in keys {
            any |= state.add(key, &self.metrics);
        }
        drop(state);
        if any {
            self.changed.notify_one();
        }
    }

    /// The next key to work on.
    pub(crate) async fn next(&self) -> Key {
        loop {
            let changed = self.changed.notified();
            let until = {
                let mut state = self.state.lock();
                state.fire_timers(&self.metrics);
                if let Some(key) = state.take(&self.metrics) {
                    // Others may sleep while there is more.
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                state.timers.first().map(|(at, _)| *at)
            };
            match until {
                Some(at) => tokio::select! { biased;
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Ends a key's turn.
    pub(crate) fn done(&self, key: &Key, done: Done, took: Duration) {
        self.metrics.work.observe(took.as_secs_f64());
        let mut state = self.state.lock();
        if !state.open || !state.working.remove(key) {
            return;
        }
        let dirty = state.dirty.remove(key);
        match done {
            Done::Retry => {
                self.metrics.retries.inc();
                let backoff = state
                    .backoff
                    .entry(key.clone())
                    .or_insert(Backoff::new(BACKOFF_FIRST, BACKOFF_LIMIT));
                let delay = backoff.next_delay();
                // What happened meanwhile may have been our own attempt: the delay holds.
                state.set_timer(key, Some(delay));
            }
            Done::Settled(recheck) => {
                state.backoff.remove(key);
                state.set_timer(key, recheck);
                if dirty {
                    state.add(key.clone(), &self.metrics);
                }
            }
            Done::Again => {
                state.backoff.remove(key);
                state.set_timer(key, None);
                state.add(key.clone(), &self.metrics);
            }
        }
        drop(state);
        self.changed.notify_one();
    }
}

impl State {
    fn add(&mut self, key: Key, metrics: &QueueMetrics) -> bool {
        if self.working.contains(&key) {
            self.dirty.insert(key);
            return false;
        }
        if self.added.contains_key(&key) {
            return false;
        }
        metrics.adds.inc();
        self.added.insert(key.clone(), Instant::now());
        self.ready.push_back(key);
        metrics.depth.inc();
        true
    }

    fn take(&mut self, metrics: &QueueMetrics) -> Option<Key> {
        let key = self.ready.pop_front()?;
        metrics.depth.dec();
        if let Some(added) = self.added.remove(&key) {
            metrics.waited.observe(added.elapsed().as_secs_f64());
        }
        self.set_timer(&key, None);
        self.working.insert(key.clone());
        Some(key)
    }

    fn set_timer(&mut self, key: &Key, delay: Option<Duration>) {
        if let Some(at) = self.timer_of.remove(key) {
            self.timers.remove(&(at, key.clone()));
        }
        if let Some(delay) = delay {
            let at = Instant::now() + delay;
            self.timers.insert((at, key.clone()));
            self.timer_of.insert(key.clone(), at);
        }
    }

    fn fire_timers(&mut self, metrics: &QueueMetrics) {
        let now = Instant::now();
        while let Some((at, key)) = self.timers.first().cloned() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            self.timer_of.remove(&key);
            self.add(key, metrics);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn key(name: &str) -> Key {
        Key::new("", name)
    }

    #[tokio::test]
    async fn a_key_added_while_worked_on_comes_again() {
        let queue = Queue::new("test");
        queue.open();
        queue.add([key("a"), key("a"), key("b")]);
        assert_eq!(queue.next().await, key("a"));
        queue.add([key("a")]);
        assert_eq!(queue.next().await, key("b"));
        queue.done(&key("a"), Done::Settled(None), Duration::ZERO);
        assert_eq!(queue.next().await, key("a"));
    }

    #[tokio::test]
    async fn a_retry_waits_even_if_the_key_is_dirty() {
        let queue = Queue::new("test");
        queue.open();
        queue.add([key("a")]);
        let start = Instant::now();
        for _ in 0..4 {
            assert_eq!(queue.next().await, key("a"));
            queue.add([key("a")]);
            queue.done(&key("a"), Done::Retry, Duration::ZERO);
        }
        assert_eq!(queue.next().await, key("a"));
        // 5 + 10 + 20 + 40 ms
        assert!(start.elapsed() >= Duration::from_millis(75));
    }

    #[tokio::test]
    async fn a_recheck_is_replaced_by_the_next_one() {
        let queue = Queue::new("test");
        queue.open();
        queue.add([key("a")]);
        queue.next().await;
        queue.done(&key("a"), Done::Settled(Some(Duration::from_secs(60))), Duration::ZERO);
        queue.add([key("a")]);
        queue.next().await;
        let recheck = Duration::from_millis(20);
        queue.done(&key("a"), Done::Settled(Some(recheck)), Duration::ZERO);
        let start = Instant::now();
        queue.next().await;
        assert!((recheck..Duration::from_secs(30)).contains(&start.elapsed()));
    }

    #[tokio::test]
    async fn a_closed_queue_forgets() {
        let queue = Queue::new("test");
        queue.add([key("a")]);
        queue.open();
        queue.add([key("b")]);
        assert_eq!(queue.next().await, key("b"));
        queue.close();
        queue.done(&key("b"), Done::Again, Duration::ZERO);
        assert!(queue.next().now_or_never().is_none());
    }
}
