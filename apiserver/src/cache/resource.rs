//! The cache of one resource: its objects, and a window of recent changes that watches read.
//!
//! Watchers have no queue of their own. They hold a place in the shared window; who falls out of
//! it is cut with `Expired`, never skipped, and a slow watcher costs nothing but its place. Whom a
//! change wakes is looked up by what watchers select ([`super::interest`]).

use std::{collections::VecDeque, sync::Arc};

use kontiki_raft::types::Revision;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::{
    event::Event,
    index::Index,
    interest::{Interest, Interests, Signal},
    object::Object,
};

/// Most changes kept per resource: minutes of churn for most, seconds for a busy one.
const WINDOW_EVENTS_MAX: usize = 4096;
/// Most bytes of JSON that the window may hold on to.
const WINDOW_BYTES_MAX: usize = 8 << 20;

/// The cache of one resource.
pub struct ResourceCache {
    state: Arc<RwLock<State>>,
    /// Moves whenever the window does; the server's own followers wait on it.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    index: Index,
    window: VecDeque<Arc<Event>>,
    window_bytes: usize,
    /// Number of the first event in the window, counted since the cache was made.
    first: u64,
    /// Changes after this revision are in the window.
    floor: Revision,
    /// Revision of the last change seen.
    applied: Revision,
    interests: Interests,
}

/// A watcher of the cache: its place in the window, and what it is woken for.
pub struct Follower {
    state: Arc<RwLock<State>>,
    interest: Interest,
    signal: Arc<Signal>,
}

/// A stable view of a resource.
pub struct Snapshot {
    /// The objects.
    pub index: Index,
    /// The revision it shows, or the caller's if that is later.
    pub revision: Revision,
    /// Where to go on watching.
    pub cursor: Cursor,
}

/// A watcher's place in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(u64);

/// The place fell out of the window, or was never in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The oldest revision from which a watch can start.
    pub oldest: Revision,
}

impl Default for ResourceCache {
    fn default() -> ResourceCache {
        ResourceCache { state: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl ResourceCache {
    /// Replaces everything by what was listed at `revision`. Watchers are cut.
    pub fn reset(&self, objects: Vec<Object>, revision: Revision) {
        let mut index = Index::default();
        for object in objects {
            index.insert(Arc::new(object));
        }
        let mut state = self.state.write();
        let end = state.first + state.window.len() as u64;
        // One number is left out, so that no watcher's place is taken for the new beginning.
        let interests = std::mem::take(&mut state.interests);
        let woken = interests.cut();
        *state = State {
            index,
            first: end + 1,
            floor: revision,
            applied: revision,
            interests,
            ..State::default()
        };
        drop(state);
        self.tell(&woken);
    }

    /// Applies a write.
    pub fn put(&self, object: Object) {
        let object = Arc::new(object);
        let mut state = self.state.write();
        let previous = state.index.insert(object.clone());
        let woken = state.push(Event::put(object, previous));
        drop(state);
        self.tell(&woken);
    }

    /// Applies a deletion; of an object that was never readable, nothing is told.
    pub fn delete(&self, key: &str, revision: Revision) {
        let mut state = self.state.write();
        state.applied = revision;
        let Some(previous) = state.index.remove(key) else { return };
        let woken = state.push(Event::delete(previous, revision));
        drop(state);
        self.tell(&woken);
    }

    /// Wakes those who wait. Outside of the lock: they are many at times.
    fn tell(&self, woken: &[Arc<Signal>]) {
        self.changed.send_modify(|number| *number += 1);
        woken.iter().for_each(|signal| signal.wake());
    }

    /// The object of a key.
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.state.read().index.get(key).cloned()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.state.read().index.len()
    }

    /// Number of objects, and about how many bytes each is: what a few of them are on average.
    pub fn extent(&self) -> (usize, usize) {
        let state = self.state.read();
        (state.index.len(), state.index.bytes_each())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A view that shows at least `revision`, which every cache has passed.
    pub fn snapshot(&self, revision: Revision) -> Snapshot {
        let state = self.state.read();
        Snapshot {
            index: state.index.clone(),
            revision: revision.max(state.applied),
            cursor: Cursor(state.first + state.window.len() as u64),
        }
    }

    /// Where to watch for changes after `revision`.
    pub fn cursor_after(&self, revision: Revision) -> Result<Cursor, Expired> {
        let state = self.state.read();
        if revision < state.floor {
            return Err(Expired { oldest: state.floor });
        }
        let skipped = state.window.partition_point(|event| event.revision <= revision);
        Ok(Cursor(state.first + skipped as u64))
    }

    /// Follows the changes behind a place that may be of interest.
    pub fn follow(&self, interest: Interest, from: Cursor) -> Follower {
        let signal = Arc::new(Signal::new(from.0));
        self.state.write().interests.enter(&interest, signal.clone());
        Follower { state: self.state.clone(), interest, signal }
    }

    #[cfg(test)]
    pub(crate) fn interests_for_tests(&self) -> String {
        self.state.read().interests.summary()
    }

    /// Wakes whenever anything changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl State {
    /// Adds a change; tells whom to wake.
    fn push(&mut self, event: Event) -> Vec<Arc<Signal>> {
        let mut woken = Vec::new();
        self.interests.note(&event, self.first + self.window.len() as u64, &mut woken);
        self.applied = event.revision;
        self.window_bytes += event.object.json.len();
        self.window.push_back(Arc::new(event));
        while self.window.len() > WINDOW_EVENTS_MAX
            || (self.window_bytes > WINDOW_BYTES_MAX && self.window.len() > 1)
        {
            let Some(dropped) = self.window.pop_front() else { break };
            self.window_bytes -= dropped.object.json.len();
            self.floor = dropped.revision;
            self.first += 1;
        }
        woken
    }
}

impl Follower {
    /// Takes changes, at most `limit`, from the first that concerns this watcher on. Fewer than
    /// that is all there are.
    pub fn take(&mut self, limit: usize) -> Result<Vec<Arc<Event>>, Expired> {
        let state = self.state.read();
        let Some(place) = self.signal.take() else { return Ok(Vec::new()) };
        let Some(offset) = place.checked_sub(state.first) else {
            return Err(Expired { oldest: state.floor });
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(state.window.len());
        let events: Vec<_> = state.window.range(start..).take(limit).cloned().collect();
        if start + events.len() < state.window.len() {
            self.signal.put_back(place + events.len() as u64);
        }
        Ok(events)
    }

    /// Waits until there may be something to take.
    pub async fn woken(&self) {
        self.signal.woken().await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.state.write().interests.leave(&self.interest, &self.signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_with(count: u64) -> ResourceCache {
        let cache = ResourceCache::default();
        cache.reset(Vec::new(), Revision(10));
        for revision in 11..11 + count {
            cache.put(Object::for_tests("a/x", revision));
        }
        cache
    }

    fn revisions(follower: &mut Follower) -> Vec<u64> {
        follower.take(100).unwrap().iter().map(|event| event.revision.0).collect()
    }

    #[test]
    fn a_watch_continues_behind_its_revision() {
        let cache = cache_with(5);
        let mut follower = cache.follow(Interest::All, cache.cursor_after(Revision(13)).unwrap());
        assert_eq!(revisions(&mut follower), [14, 15]);
        assert_eq!(revisions(&mut follower), [] as [u64; 0]);
        cache.delete("a/x", Revision(20));
        assert_eq!(revisions(&mut follower), [20]);
    }

    #[test]
    fn a_snapshot_and_its_cursor_miss_nothing() {
        let cache = cache_with(3);
        let snapshot = cache.snapshot(Revision(12));
        assert_eq!(snapshot.revision, Revision(13));
        cache.put(Object::for_tests("a/y", 14));
        assert_eq!(revisions(&mut cache.follow(Interest::All, snapshot.cursor)), [14]);
        assert_eq!(snapshot.index.len(), 1);
    }

    #[test]
    fn who_falls_out_of_the_window_is_told() {
        let cache = cache_with(1);
        let mut slow = cache.follow(Interest::All, cache.cursor_after(Revision(10)).unwrap());
        for revision in 20..20 + WINDOW_EVENTS_MAX as u64 {
            cache.put(Object::for_tests("a/x", revision));
        }
        assert_eq!(slow.take(10).unwrap_err(), Expired { oldest: Revision(11) });
        assert!(cache.cursor_after(Revision(9)).is_err());
        assert!(cache.cursor_after(Revision(11)).is_ok());
    }

    #[test]
    fn a_reset_cuts_every_watcher() {
        let cache = cache_with(1);
        let mut follower = cache.follow(Interest::All, cache.snapshot(Revision(11)).cursor);
        cache.reset(Vec::new(), Revision(30));
        assert!(follower.take(10).is_err());
        assert!(cache.cursor_after(Revision(30)).is_ok());
    }
}
