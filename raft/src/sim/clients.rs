//! Clients and watchers: several on every host, moving on when theirs fails them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Mutation,
    action::{Action, Outcome},
    dice::Dice,
    is_mutated,
    world::{Host, World},
};
use crate::{
    error::Error,
    types::{Consistency, KeyRange, LeaseId, OpResult, Revision, WatchBatch, WatchRequest},
    watch::WatchError,
};

/// Keys that clients fight for.
const KEYS: u64 = 6;
/// How long a client waits for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(12);
/// How long it waits for its host.
const HOST_MAX: Duration = Duration::from_millis(500);

/// How long a watcher hears nothing before it asks how far it has got.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Everything.
pub(super) fn all_keys() -> KeyRange {
    KeyRange { start: Bytes::new(), end: None }
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("key-{number}"))
}

/// A client at work.
pub(super) struct Client {
    world: Arc<World>,
    number: usize,
    dice: Dice,
    host: Arc<Host>,
    written: u64,
    /// The newest revision it knows of each key.
    known: BTreeMap<Bytes, Revision>,
    lease: Option<LeaseId>,
}

impl Client {
    pub(super) fn new(world: Arc<World>, number: usize, mut dice: Dice) -> Client {
        let hosts = world.hosts();
        let host = hosts[dice.index(hosts.len())].clone();
        let known = BTreeMap::new();
        Client { world, number, dice, host, written: 0, known, lease: None }
    }

    /// Works until the end.
    pub(super) async fn run(mut self, end: Instant, pause_most: Duration) {
        while Instant::now() < end {
            let action = self.choose();
            if !self.act(action).await || self.dice.chance(300) {
                let hosts = self.world.hosts();
                self.host = hosts[self.dice.index(hosts.len())].clone();
            }
            sleep(self.dice.time(Duration::ZERO, pause_most)).await;
        }
    }

    fn key(&mut self) -> Bytes {
        key(self.dice.below(KEYS))
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> Bytes {
        self.written += 1;
        Bytes::from(format!("{}.{}", self.number, self.written))
    }

    fn choose(&mut self) -> Action {
        match self.dice.below(100) {
            0..25 => Action::Put { key: self.key(), value: self.value(), lease: LeaseId(0) },
            25..45 => {
                let key = self.key();
                let expected = self.known.get(&key).copied().unwrap_or_default();
                Action::Swap { key, expected, value: self.value() }
            }
            45..50 => {
                let (key, mark) = (self.key(), Bytes::from(format!("mark-{}", self.number)));
                Action::Delete { key, mark, value: self.value() }
            }
            50..60 => {
                let first = self.dice.below(KEYS);
                let second = (first + 1 + self.dice.below(KEYS - 1)) % KEYS;
                Action::Pair { keys: [key(first), key(second)], value: self.value() }
            }
            60..85 => self.choose_read(),
            _ => self.choose_lease(),
        }
    }

    fn choose_read(&mut self) -> Action {
        let range = if self.dice.chance(7_000) {
            KeyRange::key(self.key())
        } else {
            KeyRange::prefix("key-")
        };
        let consistency = if self.dice.chance(8_000) {
            Consistency::Linearizable
        } else {
            Consistency::Serializable
        };
        let newest = self.known.values().max().copied().unwrap_or_default();
        let past = newest > Revision(1) && self.dice.chance(1_000);
        let at = past.then(|| Revision(1 + self.dice.below(newest.0)));
        Action::Read { range, consistency, at }
    }

    fn choose_lease(&mut self) -> Action {
        let Some(lease) = self.lease else {
            let together = self.dice.chance(5_000);
            return Action::Grant { ttl: Duration::from_secs(1 + self.dice.below(4)), together };
        };
        match self.dice.below(10) {
            0..5 => Action::KeepAlive { lease },
            5..9 => {
                let key = Bytes::from(format!("leased-{}-{}", self.number, self.dice.below(3)));
                Action::Put { key, value: self.value(), lease }
            }
            _ => Action::Revoke { lease },
        }
    }

    /// Does something; `false` when this host is no good.
    async fn act(&mut self, action: Action) -> bool {
        let Ok((gate, store)) = timeout(HOST_MAX, self.host.opened()).await else { return false };
        let number = self.world.history.begin(self.number, self.host.number, action.clone());
        let executed = execute_as(action.clone());
        let task = gate.start(async move { executed.execute(&store).await });
        let outcome = match timeout(ANSWER_MAX, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Unknown("the host is gone".to_owned()),
            Err(_) => Outcome::Unknown("no answer".to_owned()),
        };
        self.learn(&action, &outcome);
        let good = !matches!(outcome, Outcome::Unknown(_));
        self.world.history.end(number, outcome);
        good
    }

    fn learn(&mut self, action: &Action, outcome: &Outcome) {
        match outcome {
            Outcome::Granted(lease) => self.lease = Some(lease.id),
            Outcome::Read(reply) => self.note(reply.kvs.iter()),
            Outcome::Txn(reply) => match (action, reply.results.as_slice()) {
                (Action::Swap { key, .. }, [OpResult::Range(found)]) => {
                    self.known.remove(key);
                    self.note(found.kvs.iter());
                }
                (Action::Put { key, .. } | Action::Swap { key, .. }, _) => {
                    self.known.insert(key.clone(), reply.revision);
                }
                (Action::Delete { key, .. }, _) => {
                    self.known.remove(key);
                }
                _ => {}
            },
            _ => {}
        }
        let over =
            matches!(action, Action::Revoke { .. }) || matches!(outcome, Outcome::Refused(_));
        if over {
            self.lease = None;
        }
    }

    fn note<'a>(&mut self, kvs: impl Iterator<Item = &'a crate::types::KeyValue>) {
        self.known.extend(kvs.map(|kv| (kv.key.clone(), kv.mod_revision)));
    }
}

/// What is really done: in a test of the checker, something that is not good enough.
fn execute_as(action: Action) -> Action {
    match action {
        Action::Read { range, at, .. } if is_mutated(Mutation::StaleReads) => {
            Action::Read { range, consistency: Consistency::Serializable, at }
        }
        action => action,
    }
}

/// A watcher that goes on where it stopped, perhaps elsewhere.
pub(super) struct Watcher {
    world: Arc<World>,
    number: usize,
    dice: Dice,
    range: KeyRange,
    /// The first revision it has not seen.
    next: Arc<watch::Sender<Revision>>,
}

/// Why a watch ended.
enum End {
    Closed,
    Compacted(Revision),
}

impl Watcher {
    pub(super) fn new(world: Arc<World>, number: usize, dice: Dice, range: KeyRange) -> Watcher {
        Watcher { world, number, dice, range, next: Arc::new(watch::Sender::new(Revision(2))) }
    }

    /// Its progress.
    pub(super) fn next(&self) -> watch::Receiver<Revision> {
        self.next.subscribe()
    }

    /// Watches for ever.
    pub(super) async fn run(mut self) {
        loop {
            let hosts = self.world.hosts();
            let host = hosts[self.dice.index(hosts.len())].clone();
            let moves = Instant::now() + self.dice.millis(500, 6_000);
            let opened = timeout(HOST_MAX, host.opened()).await;
            if let Ok((gate, store)) = opened {
                let (history, next) = (self.world.history.clone(), self.next.clone());
                let (range, number) = (self.range.clone(), self.number);
                let task = gate.start(async move {
                    let from = *next.borrow();
                    let request =
                        WatchRequest { range: range.clone(), from: Some(from), previous: true };
                    let mut watch = match store.watch(request).await {
                        Ok(watch) => watch,
                        Err(Error::Compacted { oldest, .. }) => return End::Compacted(oldest),
                        Err(_) => return End::Closed,
                    };
                    let session = history.watch(number, range, from);
                    let progress = watch.progress_request();
                    loop {
                        let received = tokio::select! { biased;
                            received = watch.recv() => received,
                            () = sleep(PROGRESS_EVERY) => {
                                progress.request();
                                continue;
                            }
                        };
                        match received {
                            Ok(batch) => {
                                advance(&next, &batch);
                                history.deliver(session, batch);
                            }
                            Err(WatchError::Compacted { oldest, .. }) => {
                                return End::Compacted(oldest);
                            }
                            Err(_) => return End::Closed,
                        }
                    }
                });
                let abort = task.abort_handle();
                match timeout_at(moves, task).await {
                    Ok(Ok(End::Compacted(oldest))) => {
                        self.next.send_modify(|next| *next = oldest.max(*next));
                    }
                    Ok(_) => {}
                    Err(_) => abort.abort(),
                }
            }
            sleep(self.dice.millis(1, 100)).await;
        }
    }
}

fn advance(next: &watch::Sender<Revision>, batch: &WatchBatch) {
    next.send_modify(|next| *next = (*next).max(Revision(batch.revision.0 + 1)));
}
