//! Random histories against a naive model, which keeps a map of everything per revision.
//!
//! A history mixes transactions with compactions, steps of the background removal, and crashes
//! that lose what was not flushed, steps and half steps included. At its end every revision that
//! is not compacted reads as the model has it, watches replay what the model saw, no garbage is
//! left, and the fingerprint is that of a twin whose history was never dropped.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kontiki_base::Fence;
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    command::{Command, Envelope, Identity, Reply},
    error::Error,
    mvcc::{
        Overlay, Space,
        apply::{Machine, Position},
        compact, duplicates, hash, range, replay,
        view::Memory,
    },
    types::{
        Compare, Delete, KeyRange, KeyValue, LeaseId, MemberId, Op, Put, Range, RangeReply,
        Relation, Revision, RevisionBounds, Sort, SortOrder, SortTarget, Target, Txn, TxnReply,
        WatchEventKind,
    },
};

type Map = BTreeMap<Bytes, KeyValue>;
type Events = Vec<(Bytes, WatchEventKind)>;

/// What happens.
#[derive(Clone, Debug)]
enum Action {
    /// Commands that are applied as one batch.
    Apply(Vec<Txn>),
    /// Of what could be compacted, so many 256ths.
    Compact(u8),
    /// A step of the removal, over so many changes.
    Step(usize),
    /// A step that a crash cuts in two.
    HalfStep(usize),
    Flush,
    Crash,
}

const KEYS: [&[u8]; 6] = [b"a", b"a\0", b"a\0\0b", b"ab", b"b", b"\xff"];

fn key() -> impl Strategy<Value = Bytes> {
    select(&KEYS[..]).prop_map(Bytes::from_static)
}

fn key_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        3 => key().prop_map(KeyRange::key),
        2 => (key(), option::of(key())).prop_map(|(start, end)| KeyRange { start, end }),
        1 => Just(KeyRange::prefix("")),
    ]
}

fn put() -> impl Strategy<Value = Put> {
    (key(), option::weighted(0.9, 0u8..4), any::<bool>(), any::<bool>()).prop_map(
        |(key, value, keeps, previous)| Put {
            key,
            value: value.map(|value| Bytes::from(vec![value])),
            lease: (!keeps).then_some(LeaseId(0)),
            previous,
        },
    )
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0u64..9).prop_map(|revision| Target::ModRevision(Revision(revision))),
        (0u64..9).prop_map(|revision| Target::CreateRevision(Revision(revision))),
        (0u64..3).prop_map(Target::Version),
        (0u8..4).prop_map(|value| Target::Value(Bytes::from(vec![value]))),
    ];
    let relation =
        select(vec![Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater]);
    (key_range(), relation, target).prop_map(|(range, relation, target)| Compare {
        range,
        relation,
        target,
    })
}

fn operation() -> impl Strategy<Value = Op> {
    let simple = prop_oneof![
        4 => put().prop_map(Op::Put),
        2 => key_range().prop_map(|range| Op::Delete(Delete::new(range))),
        1 => key_range().prop_map(|range| Op::Range(Range::new(range))),
    ];
    simple.prop_recursive(1, 4, 2, |inner| {
        (vec(compare(), 0..2), vec(inner.clone(), 0..3), vec(inner, 0..2)).prop_map(
            |(compares, success, failure)| {
                Op::Txn(Box::new(Txn { compares, success, failure, fence: None }))
            },
        )
    })
}

fn txn() -> impl Strategy<Value = Txn> {
    (vec(compare(), 0..2), vec(operation(), 1..4), vec(operation(), 0..2))
        .prop_map(|(compares, success, failure)| Txn { compares, success, failure, fence: None })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => vec(txn(), 1..4).prop_map(Action::Apply),
        2 => any::<u8>().prop_map(Action::Compact),
        3 => (1usize..4).prop_map(Action::Step),
        1 => (1usize..4).prop_map(Action::HalfStep),
        1 => Just(Action::Flush),
        1 => Just(Action::Crash),
    ]
}

/// The naive store.
#[derive(Clone)]
struct Model {
    /// By revision; revision 1 is the empty beginning.
    maps: Vec<Map>,
    events: Vec<Events>,
    floor: u64,
}

impl Model {
    fn new() -> Model {
        Model { maps: vec![Map::new(); 2], events: vec![Events::new(); 2], floor: 0 }
    }

    fn revision(&self) -> u64 {
        self.maps.len() as u64 - 1
    }

    fn now(&self) -> &Map {
        self.maps.last().unwrap()
    }

    /// Whether it succeeded, `None` if it is refused.
    fn txn(&mut self, txn: &Txn) -> Option<bool> {
        if duplicates::find(txn).is_some() {
            return None;
        }
        let before = self.now().clone();
        let mut run = Run {
            before: &before,
            after: before.clone(),
            revision: self.revision() + 1,
            events: Events::new(),
            written: BTreeSet::new(),
        };
        run.check(txn)?;
        let succeeded = run.execute(txn)?;
        if !run.events.is_empty() {
            let (after, events) = (run.after, run.events);
            self.maps.push(after);
            self.events.push(events);
        }
        Some(succeeded)
    }

    /// How many records a store needs that dropped all it could: of history, and of changes.
    fn needed(&self) -> (usize, usize) {
        let floor = usize::try_from(self.floor).unwrap();
        let mut versions: BTreeMap<&Bytes, Vec<(usize, WatchEventKind)>> = BTreeMap::new();
        for (revision, events) in self.events.iter().enumerate() {
            for (key, kind) in events {
                versions.entry(key).or_default().push((revision, *kind));
            }
        }
        let mut history = 0;
        for written in versions.values() {
            for (at, (revision, kind)) in written.iter().enumerate() {
                let superseded = written.get(at + 1).is_some_and(|(next, _)| *next <= floor);
                let is_current = at + 1 == written.len() && *kind == WatchEventKind::Put;
                let says_nothing = *kind == WatchEventKind::Delete && *revision < floor;
                history += usize::from(!superseded && !is_current && !says_nothing);
            }
        }
        (history, self.events.iter().skip(floor).map(Vec::len).sum())
    }
}

/// A transaction in the model.
struct Run<'m> {
    before: &'m Map,
    after: Map,
    revision: u64,
    events: Events,
    written: BTreeSet<Bytes>,
}

impl Run<'_> {
    fn holds(&self, compare: &Compare) -> bool {
        let absent = KeyValue {
            key: Bytes::new(),
            value: Bytes::new(),
            create_revision: Revision(0),
            mod_revision: Revision(0),
            version: 0,
            lease: LeaseId(0),
        };
        let holds = |kv: &KeyValue| {
            let ordering = match &compare.target {
                Target::ModRevision(target) => kv.mod_revision.cmp(target),
                Target::CreateRevision(target) => kv.create_revision.cmp(target),
                Target::Version(target) => kv.version.cmp(target),
                Target::Lease(target) => kv.lease.cmp(target),
                Target::Value(target) => kv.value.cmp(target),
            };
            match compare.relation {
                Relation::Equal => ordering.is_eq(),
                Relation::NotEqual => ordering.is_ne(),
                Relation::Less => ordering.is_lt(),
                Relation::Greater => ordering.is_gt(),
            }
        };
        let mut found = self.before.values().filter(|kv| compare.range.contains(&kv.key));
        if self.before.keys().any(|key| compare.range.contains(key)) {
            return found.all(holds);
        }
        !matches!(compare.target, Target::Value(_)) && holds(&absent)
    }

    fn chosen<'t>(&self, txn: &'t Txn) -> (bool, &'t [Op]) {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        (succeeded, if succeeded { &txn.success } else { &txn.failure })
    }

    fn check(&self, txn: &Txn) -> Option<()> {
        for operation in self.chosen(txn).1 {
            match operation {
                Op::Put(put) => {
                    let keeps = put.value.is_none() || put.lease.is_none();
                    if keeps && !self.before.contains_key(&put.key) {
                        return None;
                    }
                }
                Op::Txn(inner) => self.check(inner)?,
                Op::Delete(_) | Op::Range(_) => {}
            }
        }
        Some(())
    }

    fn execute(&mut self, txn: &Txn) -> Option<bool> {
        let (succeeded, operations) = self.chosen(txn);
        for operation in operations {
            match operation {
                Op::Put(put) => self.put(put)?,
                Op::Delete(delete) => {
                    let keys: Vec<Bytes> = self.after.keys().cloned().collect();
                    for key in keys.into_iter().filter(|key| delete.range.contains(key)) {
                        self.write(&key)?;
                        self.after.remove(&key);
                        self.events.push((key, WatchEventKind::Delete));
                    }
                }
                Op::Range(_) => {}
                Op::Txn(inner) => {
                    self.execute(inner)?;
                }
            }
        }
        Some(succeeded)
    }

    fn write(&mut self, key: &Bytes) -> Option<()> {
        self.written.insert(key.clone()).then_some(())
    }

    fn put(&mut self, put: &Put) -> Option<()> {
        self.write(&put.key)?;
        let before = self.after.get(&put.key);
        let value = put.value.clone().or_else(|| before.map(|kv| kv.value.clone()))?;
        let kv = KeyValue {
            key: put.key.clone(),
            value,
            create_revision: before.map_or(Revision(self.revision), |kv| kv.create_revision),
            mod_revision: Revision(self.revision),
            version: before.map_or(0, |kv| kv.version) + 1,
            lease: LeaseId(0),
        };
        self.after.insert(put.key.clone(), kv);
        self.events.push((put.key.clone(), WatchEventKind::Put));
        Some(())
    }
}

/// A replica: what it holds, and what it mirrors in memory.
#[derive(Clone, Default)]
struct Replica {
    state: Memory,
    machine: Machine,
}

impl Replica {
    fn apply(&mut self, first: u64, commands: &[Command]) -> Vec<Reply> {
        let mut overlay = Overlay::new(&self.state);
        let mut replies = Vec::new();
        for (index, command) in (first..).zip(commands) {
            let identity = Identity {
                member: MemberId(1 + index % 2),
                boot: 1,
                sequence: index,
                oldest_pending: index.saturating_sub(3),
            };
            let position = Position { fence: Fence { term: 1, member: 1 }, index };
            let envelope = Envelope { identity, command: command.clone() };
            let outcome = self.machine.apply(&mut overlay, position, &envelope).unwrap();
            replies.push(outcome.reply);
        }
        self.machine.finish(&mut overlay);
        let writes = overlay.into_writes();
        self.state.commit(writes.into_records());
        replies
    }

    fn step(&mut self, changes: usize, whole: bool) -> bool {
        let Some(step) = compact::plan(&self.state, changes).unwrap() else { return false };
        for (space, from, to) in &step.ranges {
            self.state.remove_range(*space, from, to);
        }
        if whole {
            self.state.commit(step.writes());
        }
        true
    }
}

struct World {
    model: Model,
    replica: Replica,
    /// Never drops anything.
    twin: Replica,
    log: Vec<Command>,
    /// What a crash reverts to, and how many commands that holds.
    flushed: (Replica, usize),
}

impl World {
    fn new() -> World {
        let (replica, twin) = (Replica::default(), Replica::default());
        World { model: Model::new(), flushed: (replica.clone(), 0), replica, twin, log: Vec::new() }
    }

    fn run(&mut self, action: Action) {
        match action {
            Action::Apply(txns) => {
                let replies = self.apply(txns.iter().cloned().map(Command::Txn).collect());
                for (txn, reply) in txns.iter().zip(replies) {
                    let expected = self.model.txn(txn);
                    match (reply, expected) {
                        (Reply::Txn(TxnReply { succeeded, revision, .. }), Some(expected)) => {
                            assert_eq!(succeeded, expected, "{txn:?}");
                            assert_eq!(revision.0, self.model.revision(), "{txn:?}");
                        }
                        (Reply::Refused(_), None) => {}
                        (reply, expected) => panic!("{txn:?}: {reply:?}, expected {expected:?}"),
                    }
                }
            }
            Action::Compact(part) => {
                let (floor, current) = (self.model.floor, self.model.revision());
                let to = floor + (current - floor) * u64::from(part) / 255;
                let reply = self.apply(vec![Command::Compact { revision: Revision(to) }]);
                if to > floor {
                    assert_eq!(reply, [Reply::Compacted(Revision(to))]);
                    self.model.floor = to;
                } else {
                    assert!(matches!(reply[..], [Reply::Refused(_)]));
                }
            }
            Action::Step(changes) => drop(self.replica.step(changes, true)),
            Action::HalfStep(changes) => drop(self.replica.step(changes, false)),
            Action::Flush => self.flushed = (self.replica.clone(), self.log.len()),
            Action::Crash => {
                let (replica, held) = self.flushed.clone();
                let machine = Machine::load(&replica.state).unwrap();
                self.replica = Replica { machine, ..replica };
                // Batches are cut differently than they were.
                for (index, command) in self.log.iter().enumerate().skip(held) {
                    self.replica.apply(index as u64 + 1, std::slice::from_ref(command));
                }
            }
        }
    }

    fn apply(&mut self, commands: Vec<Command>) -> Vec<Reply> {
        let first = self.log.len() as u64 + 1;
        let replies = self.replica.apply(first, &commands);
        assert_eq!(self.twin.apply(first, &commands), replies);
        self.log.extend(commands);
        replies
    }

    fn check(&self) {
        let state = &self.replica.state;
        let loaded = Machine::load(state).unwrap();
        assert_eq!(loaded.header, self.replica.machine.header);
        for member in [1, 2].map(MemberId) {
            let remembered = loaded.sessions.remembered(member);
            assert_eq!(remembered, self.replica.machine.sessions.remembered(member));
            assert_eq!(remembered, self.twin.machine.sessions.remembered(member));
        }
        for revision in 0..=self.model.revision() {
            let at = Some(Revision(revision));
            if revision < self.model.floor {
                let read = self.read(&Range { revision: at, ..all() }, true);
                assert!(matches!(read, Err(Error::Compacted { .. })), "{revision}: {read:?}");
                continue;
            }
            let read = self.read(&Range { revision: at, ..all() }, true).unwrap();
            let expected: Vec<KeyValue> = self.map_at(revision).values().cloned().collect();
            assert_eq!(read.kvs, expected, "at {revision}");
            assert_eq!(
                hash::hash(state, at).unwrap(),
                hash::hash(&self.twin.state, at).unwrap(),
                "at {revision}"
            );
        }
        self.check_replay();
    }

    fn check_replay(&self) {
        let from = Revision(self.model.floor);
        let limits = replay::Limits { changes: usize::MAX, bytes: usize::MAX };
        let everything = &mut |_, _: &[u8]| true;
        let state = &self.replica.state;
        let replay = replay::replay(state, from, everything, false, limits).unwrap();
        let mut replayed: Vec<(u64, Events)> = Vec::new();
        for batch in replay.batches {
            let events = batch.events.iter().map(|event| (event.kv.key.clone(), event.kind));
            replayed.push((batch.revision.0, events.collect()));
        }
        let expected: Vec<(u64, Events)> = (from.0..)
            .zip(self.model.events.iter().skip(usize::try_from(from.0).unwrap()).cloned())
            .filter(|(_, events)| !events.is_empty())
            .collect();
        assert_eq!(replayed, expected);
    }

    fn map_at(&self, revision: u64) -> &Map {
        &self.model.maps[usize::try_from(revision).unwrap()]
    }

    fn read(&self, query: &Range, counted: bool) -> Result<RangeReply, Error> {
        range::read(&self.replica.state, &self.replica.machine.header, query, counted)
    }
}

fn all() -> Range {
    Range::new(KeyRange::prefix(""))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn histories_read_as_the_model_has_them(actions in vec(action(), 1..40)) {
        let mut world = World::new();
        for action in actions {
            world.run(action);
        }
        world.check();
        while world.replica.step(2, true) {}
        world.check();
        let state = &world.replica.state;
        if world.model.floor > 0 {
            let left = (state.len(Space::History), state.len(Space::Changes));
            prop_assert_eq!(left, world.model.needed());
        }
        // Whoever fell back to what was flushed catches up with the same.
        world.run(Action::Crash);
        world.check();
    }

    #[test]
    fn queries_find_what_the_model_finds(
        txns in vec(txn(), 1..20),
        queries in vec((query(), any::<bool>(), any::<u8>()), 1..12),
    ) {
        let mut world = World::new();
        world.run(Action::Apply(txns));
        for (mut query, counted, part) in queries {
            let at = 1 + (world.model.revision() - 1) * u64::from(part) / 255;
            query.revision = (part > 40).then_some(Revision(at));
            let map = if part > 40 { world.map_at(at) } else { world.model.now() };
            let mut found = world.read(&query, counted).unwrap();
            let expected = naive(&query, map, found.revision);
            if !counted && expected.more {
                // Only a lower bound.
                prop_assert!(found.count > query.limit && found.count <= expected.count);
                found.count = expected.count;
            }
            prop_assert_eq!(found, expected, "{:?}", query);
        }
    }
}

fn query() -> impl Strategy<Value = Range> {
    let bounds = || {
        let bound = || option::weighted(0.2, (0u64..12).prop_map(Revision));
        (bound(), bound()).prop_map(|(min, max)| RevisionBounds { min, max })
    };
    let sort = (
        select(vec![
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::CreateRevision,
            SortTarget::ModRevision,
            SortTarget::Value,
        ]),
        select(vec![SortOrder::Ascending, SortOrder::Descending]),
    )
        .prop_map(|(target, order)| Sort { target, order });
    let flags = (any::<bool>(), prop::bool::weighted(0.2));
    (key_range(), 0u64..5, option::of(sort), flags, bounds(), bounds()).prop_map(
        |(range, limit, sort, (keys_only, count_only), mod_revisions, create_revisions)| Range {
            limit,
            sort,
            keys_only,
            count_only,
            mod_revisions,
            create_revisions,
            ..Range::new(range)
        },
    )
}

fn naive(query: &Range, map: &Map, revision: Revision) -> RangeReply {
    let inside = map.values().filter(|kv| query.range.contains(&kv.key));
    let count = inside.clone().count() as u64;
    if query.count_only {
        return RangeReply { revision, kvs: Vec::new(), more: false, count };
    }
    let mut kvs: Vec<KeyValue> = inside
        .filter(|kv| query.mod_revisions.contains(kv.mod_revision))
        .filter(|kv| query.create_revisions.contains(kv.create_revision))
        .cloned()
        .collect();
    if let Some(Sort { target, order }) = query.sort {
        kvs.sort_by(|a, b| {
            let ascending = match target {
                SortTarget::Key => a.key.cmp(&b.key),
                SortTarget::Version => a.version.cmp(&b.version),
                SortTarget::CreateRevision => a.create_revision.cmp(&b.create_revision),
                SortTarget::ModRevision => a.mod_revision.cmp(&b.mod_revision),
                SortTarget::Value => a.value.cmp(&b.value),
            };
            if order == SortOrder::Ascending { ascending } else { ascending.reverse() }
        });
    }
    let limit = if query.limit == 0 { kvs.len() } else { usize::try_from(query.limit).unwrap() };
    let more = kvs.len() > limit;
    kvs.truncate(limit);
    if query.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeReply { revision, kvs, more, count }
}
