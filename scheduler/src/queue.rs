//! Which pod is next, and what is worth another attempt. Pure: time is an argument.
//!
//! ```text
//!            +--------------------- wake: something changed that the refusal was about
//!            v                                            |
//! add --> active --pop--> in flight --refused--> unschedulable
//!            ^                |  \--failed--> back-off (1 s .. 10 s)
//!            +----------------+----------------/
//! ```
//!
//! A pod that no node takes waits until something changes that could alter the verdict of a
//! filter that refused it; then it may have to sit out the rest of its back-off.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::{
    plugins::{PreFilter, filter_named},
    pod::{PodInfo, PodKey},
    snapshot::Snapshot,
    verdict::Verdict,
};

/// Time since the scheduler started.
pub type Moment = Duration;

const BACKOFF_INITIAL: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Whatever the hints say, a pod is tried again after this long.
const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);
/// More changed nodes than this at once wake pods without asking about each.
const NODES_ASKED_MAX: usize = 100;

type ActiveKey = (Reverse<i32>, Moment, u64, PodKey);
type TimedKey = (Moment, u64, PodKey);

#[derive(Debug)]
enum Place {
    Active(ActiveKey),
    BackOff { key: TimedKey, after_error: bool },
    Unschedulable { key: TimedKey, rejected_by: BTreeSet<&'static str> },
    Gated,
    InFlight,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<PodInfo>,
    attempts: u32,
    since: Moment,
    failed_at: Moment,
    place: Place,
}

/// A pod whose turn it is.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// How many attempts there were, with this one.
    pub attempts: u32,
    /// When it was first to be scheduled.
    pub since: Moment,
}

/// What happened in the cluster that may let a waiting pod in.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Slots of nodes that are new, offer something else, or lost a pod.
    pub nodes: BTreeSet<usize>,
    /// Pods that came to a node, left one or changed there.
    pub pods: Vec<Arc<PodInfo>>,
    /// Pods for which room is being made, and something happened where.
    pub nominees: Vec<PodKey>,
    /// Everything may be different.
    pub all: bool,
}

impl Changes {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.pods.is_empty() && self.nominees.is_empty() && !self.all
    }
}

/// Sizes of the parts, as `scheduler_pending_pods` reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the metric's label values")]
pub struct Pending {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
}

/// The pods that wait for a node.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<PodKey, Entry>,
    active: BTreeSet<ActiveKey>,
    backoff: BTreeSet<TimedKey>,
    unschedulable: BTreeSet<TimedKey>,
    gated: usize,
    sequence: u64,
}

impl Queue {
    /// Adds a pod that has no node, or takes note of its change. A change that bears on
    /// scheduling is a new chance.
    pub fn set(&mut self, pod: Arc<PodInfo>, now: Moment) {
        let key = pod.key.clone();
        let Some(entry) = self.entries.get_mut(&key) else {
            return self.insert(
                Entry { pod, attempts: 0, since: now, failed_at: now, place: Place::InFlight },
                now,
            );
        };
        if entry.pod.uid != pod.uid {
            self.remove(&key);
            return self.set(pod, now);
        }
        let same = entry.pod.schedules_like(&pod);
        entry.pod = pod;
        if !same && !matches!(entry.place, Place::InFlight) {
            let entry = self.take(&key).expect("the entry was just there");
            self.insert(entry, now);
        }
    }

    /// Puts an entry where it belongs, not looking at back-off.
    fn insert(&mut self, entry: Entry, now: Moment) {
        if entry.pod.gates.is_empty() {
            self.activate(entry, now);
        } else {
            self.gated += 1;
            self.entries.insert(entry.pod.key.clone(), Entry { place: Place::Gated, ..entry });
        }
    }

    /// Forgets a pod: deleted, or bound.
    pub fn remove(&mut self, key: &PodKey) {
        self.take(key);
    }

    /// The next pod. When no other is waiting, a back-off is cut short, unless it follows an
    /// error.
    pub fn pop(&mut self, now: Moment) -> Option<Attempt> {
        self.end_backoffs(now);
        let key = match self.active.first() {
            Some((.., key)) => key.clone(),
            None => self.first_impatient()?,
        };
        let mut entry = self.take(&key)?;
        entry.attempts += 1;
        let attempt =
            Attempt { pod: entry.pod.clone(), attempts: entry.attempts, since: entry.since };
        self.entries.insert(key, Entry { place: Place::InFlight, ..entry });
        Some(attempt)
    }

    fn first_impatient(&self) -> Option<PodKey> {
        let patient = |key: &PodKey| {
            matches!(self.entries[key].place, Place::BackOff { after_error: true, .. })
        };
        self.backoff.iter().map(|(.., key)| key).find(|key| !patient(key)).cloned()
    }

    /// No node took the pod.
    pub fn refused(&mut self, key: &PodKey, rejected_by: BTreeSet<&'static str>, now: Moment) {
        let Some(mut entry) = self.take(key) else { return };
        entry.failed_at = now;
        let timed = (now + UNSCHEDULABLE_MAX, self.next_sequence(), key.clone());
        self.unschedulable.insert(timed.clone());
        entry.place = Place::Unschedulable { key: timed, rejected_by };
        self.entries.insert(key.clone(), entry);
    }

    /// The attempt failed for a reason that has nothing to do with the pod's wishes.
    pub fn failed(&mut self, key: &PodKey, now: Moment) {
        let Some(mut entry) = self.take(key) else { return };
        entry.failed_at = now;
        self.back_off(entry, true);
    }

    /// Wakes the pods that may now fit.
    pub fn wake(&mut self, changes: &Changes, cluster: &mut Snapshot, now: Moment) {
        if changes.is_empty() || self.unschedulable.is_empty() {
            return;
        }
        for key in &changes.nominees {
            if matches!(self.entries.get(key).map(|e| &e.place), Some(Place::Unschedulable { .. }))
            {
                self.wake_one(key, now);
            }
        }
        let waiting: Vec<PodKey> = self.unschedulable.iter().map(|(.., key)| key.clone()).collect();
        for key in waiting {
            let entry = &self.entries[&key];
            let Place::Unschedulable { rejected_by, .. } = &entry.place else { continue };
            if !changes.nodes.is_empty() {
                cluster.prepare(&entry.pod);
            }
            if is_worth_a_try(&entry.pod, rejected_by, changes, cluster) {
                self.wake_one(&key, now);
            }
        }
    }

    /// Wakes a pod that waits for something in particular, such as its victims' end.
    pub fn wake_one(&mut self, key: &PodKey, now: Moment) {
        let Some(entry) = self.take(key) else { return };
        if entry.failed_at + backoff(entry.attempts) <= now {
            self.activate(entry, now);
        } else {
            self.back_off(entry, false);
        }
    }

    /// When something becomes due by itself.
    pub fn next_due(&self) -> Option<Moment> {
        let first = |set: &BTreeSet<TimedKey>| set.first().map(|(due, ..)| *due);
        first(&self.backoff).into_iter().chain(first(&self.unschedulable)).min()
    }

    /// Sizes of the parts.
    pub fn pending(&self) -> Pending {
        Pending {
            active: self.active.len(),
            backoff: self.backoff.len(),
            unschedulable: self.unschedulable.len(),
            gated: self.gated,
        }
    }

    /// Whether the pod is being tried or bound.
    pub fn is_in_flight(&self, key: &PodKey) -> bool {
        self.entries.get(key).is_some_and(|entry| matches!(entry.place, Place::InFlight))
    }

    fn end_backoffs(&mut self, now: Moment) {
        while let Some((due, _, key)) = self.backoff.first().cloned()
            && due <= now
        {
            let entry = self.take(&key).expect("what backs off is an entry");
            self.activate(entry, now);
        }
        while let Some((due, _, key)) = self.unschedulable.first().cloned()
            && due <= now
        {
            self.wake_one(&key, now);
        }
    }

    fn activate(&mut self, mut entry: Entry, now: Moment) {
        let key = entry.pod.key.clone();
        let active = (Reverse(entry.pod.priority), now, self.next_sequence(), key.clone());
        self.active.insert(active.clone());
        entry.place = Place::Active(active);
        self.entries.insert(key, entry);
    }

    fn back_off(&mut self, mut entry: Entry, after_error: bool) {
        let key = entry.pod.key.clone();
        let due = entry.failed_at + backoff(entry.attempts);
        let timed = (due, self.next_sequence(), key.clone());
        self.backoff.insert(timed.clone());
        entry.place = Place::BackOff { key: timed, after_error };
        self.entries.insert(key, entry);
    }

    fn take(&mut self, key: &PodKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        match &entry.place {
            Place::Active(active) => assert!(self.active.remove(active)),
            Place::BackOff { key, .. } => assert!(self.backoff.remove(key)),
            Place::Unschedulable { key, .. } => assert!(self.unschedulable.remove(key)),
            Place::Gated => self.gated -= 1,
            Place::InFlight => {}
        }
        Some(entry)
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

/// The pause after that many attempts.
fn backoff(attempts: u32) -> Duration {
    let factor = 2u32.saturating_pow(attempts.saturating_sub(1).min(16));
    BACKOFF_INITIAL.saturating_mul(factor).min(BACKOFF_MAX)
}

/// Whether a change could alter the verdict of a filter that refused the pod.
fn is_worth_a_try(
    pod: &PodInfo,
    rejected_by: &BTreeSet<&'static str>,
    changes: &Changes,
    cluster: &Snapshot,
) -> bool {
    if changes.all || changes.nodes.len() > NODES_ASKED_MAX {
        return true;
    }
    if rejected_by.is_empty() {
        return !changes.nodes.is_empty();
    }
    rejected_by.iter().filter_map(|name| filter_named(name)).any(|plugin| {
        if changes.pods.iter().any(|other| plugin.woken_by_pod(pod, other, cluster)) {
            return true;
        }
        if changes.nodes.is_empty() {
            return false;
        }
        if plugin.looks_beyond_the_node() {
            return true;
        }
        let now_fits = |check: &dyn Fn(&crate::node::NodeInfo) -> Verdict| {
            let nodes = changes.nodes.iter().map(|slot| cluster.node(*slot));
            nodes.filter(|n| n.offer.is_some()).any(|n| check(n) == Verdict::Fits)
        };
        match plugin.filter(pod, cluster) {
            PreFilter::Skip => true,
            PreFilter::Reject(_) => false,
            PreFilter::Check(check) | PreFilter::Among(_, check) => now_fits(&check),
        }
    })
}

#[cfg(test)]
mod tests;
