use std::{
    collections::BTreeMap,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Wake},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::types::{KeyValue, LeaseId, WatchEvent};

/// So little that everything overflows often.
const SMALL: Capacity = Capacity {
    at_once: 2,
    intake_bytes: 8_000,
    deliveries: 6,
    delivery_bytes: 4_000,
    recent: 8,
    recent_bytes: 4_000,
};

fn change(revision: u64, keys: &[&str]) -> WatchBatch {
    let revision = Revision(revision);
    let event = |key: &&str| {
        let (deleted, key) = match key.strip_prefix('-') {
            Some(key) => (true, key),
            None => (false, *key),
        };
        let kv = KeyValue {
            key: key.to_owned().into(),
            value: "v".into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: LeaseId(0),
        };
        let kind = if deleted { WatchEventKind::Delete } else { WatchEventKind::Put };
        WatchEvent { kind, kv, previous: None }
    };
    WatchBatch { revision, events: keys.iter().map(event).collect() }
}

fn wanted(range: KeyRange) -> Wanted {
    Wanted { range, puts: true, deletes: true }
}

/// `TAG:key,key@revision` per delivery.
fn render(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Changes { tag, batch, picks } => {
            let keys: Vec<_> = picks
                .of(batch)
                .map(|shared| String::from_utf8_lossy(&shared.event.kv.key).into_owned())
                .collect();
            format!("{tag}:{}@{}", keys.join(","), batch.revision)
        }
        Delivery::Joined { tag } => format!("{tag} joined"),
        Delivery::Behind { tag } => format!("{tag} behind"),
        Delivery::Progress(revision) => format!("progress {revision}"),
    }
}

fn taken(inbox: &Inbox) -> Vec<String> {
    let mut deliveries = VecDeque::new();
    inbox.take(&mut deliveries).unwrap();
    deliveries.iter().map(render).collect()
}

#[test]
fn a_transaction_reaches_each_watch_in_one_piece_and_only_what_it_wants() {
    let hub = Hub::new(Revision(1));
    let inbox = hub.inbox();
    let prefix = wanted(KeyRange::prefix("a"));
    let deletes = Wanted { puts: false, ..wanted(KeyRange::prefix("")) };
    let subscriptions = [
        hub.subscribe(&inbox, 1, &prefix, Revision(2)),
        hub.subscribe(&inbox, 2, &deletes, Revision(2)),
        hub.subscribe(&inbox, 3, &wanted(KeyRange::key("b")), Revision(4)),
    ];
    assert!(subscriptions.iter().all(|joined| matches!(joined, Ok(Some(_)))));
    hub.publish(vec![change(2, &["a1", "b", "-a2", "c"])], Revision(2));
    hub.publish(vec![change(3, &["b"]), change(4, &["b", "-b2"])], Revision(4));
    hub.dispatch();
    // Watches of one reader may get the same revision in any order.
    let mut seen = taken(&inbox);
    seen.sort_by_key(|delivery| delivery.split_once('@').map(|(_, at)| at.to_owned()));
    seen[3..5].sort();
    seen[5..].sort();
    let expected = ["1 joined", "2 joined", "3 joined", "1:a1,a2@2", "2:a2@2", "2:b2@4", "3:b@4"];
    assert_eq!(seen, expected);
}

#[test]
fn a_watch_that_is_not_read_falls_behind_and_others_do_not() {
    let hub = Hub::with_capacity(Revision(1), SMALL);
    let (slow, other) = (hub.inbox(), hub.inbox());
    let _slow = hub.subscribe(&slow, 1, &wanted(KeyRange::prefix("a")), Revision(2)).unwrap();
    let _other = hub.subscribe(&other, 2, &wanted(KeyRange::prefix("b")), Revision(2)).unwrap();
    for revision in 2..12 {
        hub.publish(vec![change(revision, &["a"])], Revision(revision));
        hub.dispatch();
    }
    hub.publish(vec![change(12, &["b"])], Revision(12));
    hub.dispatch();
    // What was queued before is still delivered, then it is told, once.
    let expected = ["1 joined", "1:a@2", "1:a@3", "1:a@4", "1:a@5", "1:a@6", "1 behind"];
    assert_eq!(taken(&slow), expected);
    assert_eq!(taken(&other), ["2 joined", "2:b@12"]);
    // Too far back for memory, and near enough.
    let again = wanted(KeyRange::prefix("a"));
    assert!(hub.subscribe(&slow, 1, &again, Revision(4)).unwrap().is_none());
    assert!(hub.subscribe(&slow, 1, &again, Revision(10)).unwrap().is_some());
    assert_eq!(taken(&slow), ["1 joined", "1:a@10", "1:a@11"]);
}

#[test]
fn progress_comes_behind_what_it_stands_for() {
    let hub = Hub::with_capacity(Revision(1), Capacity { at_once: 0, ..CAPACITY });
    let inbox = hub.inbox();
    let _joined = hub.subscribe(&inbox, 1, &wanted(KeyRange::key("a")), Revision(2)).unwrap();
    inbox.request_progress(Revision(1));
    hub.publish(vec![change(2, &["b"])], Revision(2));
    // Applied, not yet handed out: the answer waits.
    inbox.request_progress(Revision(3));
    hub.publish(vec![change(3, &["a"])], Revision(3));
    hub.dispatch();
    assert_eq!(taken(&inbox), ["1 joined", "progress 1", "1:a@3", "progress 3"]);
}

#[test]
fn few_watches_are_fed_where_changes_are_published_and_many_by_the_dispatcher() {
    let hub = Hub::with_capacity(Revision(1), Capacity { at_once: 2, ..CAPACITY });
    let inbox = hub.inbox();
    let join = |tag| hub.subscribe(&inbox, tag, &wanted(KeyRange::key("a")), Revision(2)).unwrap();
    let _one = join(1);
    hub.publish(vec![change(2, &["a"]), change(3, &["a"])], Revision(3));
    assert_eq!(taken(&inbox), ["1 joined", "1:a@2", "1:a@3"]);
    let many = [join(2), join(3)];
    taken(&inbox);
    hub.publish(vec![change(4, &["a"])], Revision(4));
    assert!(taken(&inbox).is_empty());
    drop(many);
    // What waits goes first, though nobody else has dispatched it yet.
    hub.publish(vec![change(5, &["a"])], Revision(5));
    assert_eq!(taken(&inbox), ["1:a@4", "1:a@5"]);
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_change_of_other_keys_wakes_nobody_and_a_batch_wakes_once() {
    let hub = Hub::new(Revision(1));
    let inbox = hub.inbox();
    let _joined = hub.subscribe(&inbox, 1, &wanted(KeyRange::key("a")), Revision(2)).unwrap();
    assert_eq!(taken(&inbox), ["1 joined"]);
    let wakes = Arc::new(Wakes::default());
    let waker = wakes.clone().into();
    let mut ready = pin!(inbox.ready());
    let mut poll = || ready.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    hub.publish(vec![change(2, &["b"])], Revision(2));
    hub.dispatch();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    hub.publish(vec![change(3, &["a"]), change(4, &["a"])], Revision(4));
    hub.dispatch();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(poll().is_ready());
}

#[test]
fn closing_hands_out_what_was_published_and_ends_everything() {
    let hub = Hub::new(Revision(1));
    let inbox = hub.inbox();
    let _joined = hub.subscribe(&inbox, 1, &wanted(KeyRange::key("a")), Revision(2)).unwrap();
    hub.publish(vec![change(2, &["a"])], Revision(2));
    hub.close();
    assert_eq!(taken(&inbox), ["1 joined", "1:a@2"]);
    assert_eq!(inbox.take(&mut VecDeque::new()), Err(Closed));
    let late = hub.inbox();
    assert_eq!(late.take(&mut VecDeque::new()), Err(Closed));
    assert!(hub.subscribe(&late, 1, &wanted(KeyRange::key("a")), Revision(2)).is_err());
}

/// A reader with several watches, as the etcd API has them, that knows what is on disk.
struct Reader {
    inbox: Inbox,
    watches: BTreeMap<u64, Watching>,
}

struct Watching {
    wanted: Wanted,
    from: u64,
    next: u64,
    fed: bool,
    subscription: Option<Subscription>,
    seen: Vec<(u64, Vec<String>)>,
}

fn picked(wanted: &Wanted, batch: &WatchBatch) -> Vec<String> {
    let events = batch.events.iter();
    events
        .filter(|e| wanted.kind(e.kind) && wanted.range.contains(&e.kv.key))
        .map(|e| String::from_utf8(e.kv.key.to_vec()).unwrap())
        .collect()
}

impl Watching {
    /// What it should have seen before `end`.
    fn expected(&self, disk: &[WatchBatch], end: u64) -> Vec<(u64, Vec<String>)> {
        disk.iter()
            .filter(|batch| (self.from..end).contains(&batch.revision.0))
            .map(|batch| (batch.revision.0, picked(&self.wanted, batch)))
            .filter(|(_, keys)| !keys.is_empty())
            .collect()
    }
}

impl Reader {
    fn read(&mut self, disk: &[WatchBatch]) {
        let mut deliveries = VecDeque::new();
        self.inbox.take(&mut deliveries).unwrap();
        for delivery in deliveries {
            match delivery {
                Delivery::Joined { tag } => self.watches.get_mut(&tag).unwrap().fed = true,
                Delivery::Behind { tag } => {
                    let watch = self.watches.get_mut(&tag).unwrap();
                    (watch.fed, watch.subscription) = (false, None);
                }
                Delivery::Changes { tag, batch, picks } => {
                    let watch = self.watches.get_mut(&tag).unwrap();
                    assert!(watch.fed && batch.revision.0 >= watch.next);
                    watch.next = batch.revision.0 + 1;
                    let keys = picks
                        .of(&batch)
                        .map(|shared| String::from_utf8(shared.event.kv.key.to_vec()).unwrap());
                    watch.seen.push((batch.revision.0, keys.collect()));
                }
                Delivery::Progress(revision) => {
                    for watch in self.watches.values().filter(|watch| watch.fed) {
                        assert_eq!(watch.seen, watch.expected(disk, revision.0 + 1));
                    }
                }
            }
        }
    }

    /// Joins what is not fed, after at most one revision from disk each.
    fn go_on(&mut self, hub: &Hub, disk: &[WatchBatch]) {
        for (tag, watch) in &mut self.watches {
            if watch.subscription.is_some() {
                continue;
            }
            let joined = hub.subscribe(&self.inbox, *tag, &watch.wanted, Revision(watch.next));
            watch.subscription = joined.unwrap();
            if watch.subscription.is_none() {
                let batch = disk.iter().find(|batch| batch.revision.0 == watch.next).unwrap();
                let keys = picked(&watch.wanted, batch);
                if !keys.is_empty() {
                    watch.seen.push((watch.next, keys));
                }
                watch.next += 1;
            }
        }
    }
}

const KEYS: [&str; 8] = ["a", "a1", "a2", "b", "-a1", "-b", "c", "c1"];

fn some_wanted(rng: &mut StdRng) -> Wanted {
    let range = match rng.random_range(0..4) {
        0 => KeyRange::key("a1"),
        1 => KeyRange::prefix("a"),
        2 => KeyRange::prefix(""),
        _ => KeyRange { start: "b".into(), end: None },
    };
    let kinds = rng.random_range(0..6);
    Wanted { range, puts: kinds != 0, deletes: kinds != 1 }
}

/// Every event once, in order, a revision's together, whatever overflows, jumps or comes late.
#[test]
fn nothing_is_lost_repeated_or_torn() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let hub = Hub::with_capacity(Revision(1), SMALL);
        let mut disk: Vec<WatchBatch> = Vec::new();
        let mut readers: Vec<Reader> =
            (0..3).map(|_| Reader { inbox: hub.inbox(), watches: BTreeMap::new() }).collect();
        let mut tag = 0;
        for _ in 0..600 {
            let now = disk.len() as u64 + 1;
            let reader = rng.random_range(0..readers.len());
            match rng.random_range(0..20) {
                0..6 => {
                    let batches: Vec<WatchBatch> = (1..=rng.random_range(1..4))
                        .map(|ahead| {
                            let count = rng.random_range(1..4);
                            let at = rng.random_range(0..KEYS.len() - count);
                            change(now + ahead, &KEYS[at..at + count])
                        })
                        .collect();
                    disk.extend(batches.iter().cloned());
                    hub.publish(batches, Revision(disk.len() as u64 + 1));
                }
                6 if rng.random_bool(0.1) => hub.resync(Revision(now)),
                6..9 => {
                    hub.dispatch();
                }
                9 if readers[reader].watches.len() < 5 => {
                    tag += 1;
                    let from = rng.random_range(2..now + 4);
                    let wanted = some_wanted(&mut rng);
                    let (next, seen) = (from, Vec::new());
                    let watch =
                        Watching { wanted, from, next, fed: false, subscription: None, seen };
                    readers[reader].watches.insert(tag, watch);
                }
                10 => readers[reader].inbox.request_progress(Revision(now)),
                11..14 => readers[reader].go_on(&hub, &disk),
                _ => readers[reader].read(&disk),
            }
        }
        hub.dispatch();
        let end = disk.len() as u64 + 2;
        for reader in &mut readers {
            for _ in 0..2 * end {
                reader.read(&disk);
                reader.go_on(&hub, &disk);
            }
            reader.read(&disk);
            for watch in reader.watches.values() {
                assert!(watch.fed, "seed {seed}");
                assert_eq!(watch.seen, watch.expected(&disk, end), "seed {seed}");
            }
        }
    }
}
