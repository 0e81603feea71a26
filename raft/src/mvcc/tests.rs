//! Transcripts of the model: commands in, replies and state out.
//!
//! ```text
//! put KEY=VALUE[ lease N]     delete FROM..TO      if KEY@MOD COMMAND     fenced TERM COMMAND
//! put KEY=*[ lease *] (keeps what is there)        when FROM..TO FIELD RELATION VALUE COMMAND
//! COMMAND and COMMAND[ else COMMAND and COMMAND]   [COMMAND_WITHOUT_SPACES] (one within another)
//! grant ID MILLIS[ together]  end LEASE MAX        compact REVISION       drop (below the floor)
//! get FROM..TO[ @REVISION][ limit N][ sort FIELD asc|desc][ keys][ count][ mod|create MIN-MAX]
//! read (the same, in a transaction)                replay FROM..TO REVISION
//! again SEQUENCE COMMAND (under an identity that was used)               state
//! ```

mod histories;
mod semantics;

use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use expect_test::{Expect, expect};
use kontiki_base::Fence;

use super::{
    Overlay, Space,
    apply::{Machine, Position},
    compact, hash, range, replay,
    view::Memory,
};
use crate::{
    command::{Command, Envelope, Identity, Reply},
    types::{
        Compare, Consistency, Delete, KeyRange, KeyValue, LeaseGrant, LeaseId, MemberId, Op,
        OpResult, Put, Range, RangeReply, RangeRequest, Relation, Revision, RevisionBounds, Sort,
        SortOrder, SortTarget, Target, Txn, TxnReply, WatchBatch, WatchEventKind,
    },
};

#[derive(Default)]
struct World {
    state: Memory,
    machine: Machine,
    index: u64,
    sequence: u64,
}

#[expect(clippy::needless_pass_by_value, reason = "expect![] reads best as an argument")]
fn check(script: &str, expected: Expect) {
    let mut world = World::default();
    let mut out = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let answer = world.run(line);
        writeln!(out, "{line}: {answer}").unwrap();
    }
    expected.assert_eq(&out);
}

fn key_range(text: &str) -> KeyRange {
    match text.split_once("..") {
        Some((from, to)) => KeyRange {
            start: Bytes::copy_from_slice(from.as_bytes()),
            end: (!to.is_empty()).then(|| Bytes::copy_from_slice(to.as_bytes())),
        },
        None => KeyRange::key(text.to_owned()),
    }
}

fn show(kv: &KeyValue) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let lease = if kv.lease.0 == 0 { String::new() } else { format!(" lease {}", kv.lease.0) };
    format!(
        "{}={} ({},{},{}{lease})",
        text(&kv.key),
        text(&kv.value),
        kv.create_revision,
        kv.mod_revision,
        kv.version
    )
}

fn join<T>(items: impl IntoIterator<Item = T>, show: impl Fn(T) -> String) -> String {
    let shown: Vec<String> = items.into_iter().map(show).collect();
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

fn show_batches(batches: &[WatchBatch]) -> String {
    join(batches, |batch| {
        let events = join(&batch.events, |event| {
            let key = String::from_utf8_lossy(&event.kv.key).into_owned();
            let before = event.previous.as_ref().map_or(String::new(), |previous| {
                format!(" was {}", String::from_utf8_lossy(&previous.value))
            });
            match event.kind {
                WatchEventKind::Put => {
                    format!("{key}={}{before}", String::from_utf8_lossy(&event.kv.value))
                }
                WatchEventKind::Delete => format!("-{key}{before}"),
            }
        });
        format!("{events} @{}", batch.revision)
    })
}

fn show_range(reply: &RangeReply) -> String {
    let more = if reply.more { " and more" } else { "" };
    format!("{}{more} of {}", join(&reply.kvs, show), reply.count)
}

fn show_txn(reply: &TxnReply) -> String {
    let results = join(&reply.results, |result| match result {
        OpResult::Put { previous: Some(before) } => format!("put, was {}", show(before)),
        OpResult::Put { previous: None } => "put, new".to_owned(),
        OpResult::Delete { previous, .. } => format!("deleted {}", join(previous, show)),
        OpResult::Range(range) => format!("read {}", show_range(range)),
        OpResult::Txn(inner) => format!("[{}]", show_txn(inner)),
    });
    let held = if reply.succeeded { "" } else { "else " };
    format!("{held}{results} @{}", reply.revision)
}

impl World {
    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["get", keys, rest @ ..] => self.get(keys, rest),
            ["replay", keys, from] => {
                let from = Revision(from.parse().unwrap());
                let keys = key_range(keys);
                let limits = replay::Limits { changes: 1_000, bytes: 1 << 20 };
                let wanted = &mut |_, key: &[u8]| keys.contains(key);
                match replay::replay(&self.state, from, wanted, true, limits) {
                    Ok(replay) => show_batches(&replay.batches),
                    Err(error) => error.to_string(),
                }
            }
            ["drop"] => self.drop_below_floor(),
            ["state"] => Space::ALL
                .map(|space| format!("{} {}", space.name(), self.state.len(space)))
                .join(", "),
            ["hash"] => {
                let (at, hash) = hash::hash(&self.state, None).unwrap();
                format!("{hash:016x} @{at}")
            }
            ["again", sequence, command @ ..] => {
                let sequence = sequence.parse().unwrap();
                self.apply(sequence, parse(command))
            }
            command => {
                self.sequence += 1;
                self.apply(self.sequence, parse(command))
            }
        }
    }

    fn apply(&mut self, sequence: u64, command: Command) -> String {
        self.index += 1;
        let oldest_pending = sequence.min(self.sequence.saturating_sub(1));
        let identity = Identity { member: MemberId(1), boot: 1, sequence, oldest_pending };
        let position = Position { fence: Fence { term: 3, member: 1 }, index: self.index };
        let mut overlay = Overlay::new(&self.state);
        let envelope = Envelope { identity, command };
        let outcome = self.machine.apply(&mut overlay, position, &envelope).unwrap();
        self.machine.finish(&mut overlay);
        let writes = overlay.into_writes();
        self.state.commit(writes.into_records());
        // What is mirrored in memory is what a restart would load.
        let reloaded = Machine::load(&self.state).unwrap();
        assert_eq!(reloaded.header, self.machine.header);
        assert_eq!(
            reloaded.sessions.remembered(MemberId(1)),
            self.machine.sessions.remembered(MemberId(1))
        );
        match outcome.reply {
            Reply::None => "none".to_owned(),
            Reply::Txn(reply) => show_txn(&reply),
            Reply::Lease(lease) => format!("lease {} of {:?}", lease.id.0, lease.ttl),
            Reply::LeaseEnded { complete } => {
                let end = if complete { "ended" } else { "not ended yet" };
                format!("{end}, {}", show_batches(&outcome.changes))
            }
            Reply::Compacted(floor) => format!("floor {floor}"),
            Reply::ClusterVersion(version) => format!("cluster version {version}"),
            Reply::Refused(refusal) => format!("refused, {refusal}"),
        }
    }

    fn get(&self, keys: &str, rest: &[&str]) -> String {
        let request = RangeRequest {
            query: parse_query(keys, rest),
            consistency: Consistency::Serializable,
            counted: true,
        };
        match range::range(&self.state, &request) {
            Ok(reply) => show_range(&reply),
            Err(error) => error.to_string(),
        }
    }

    fn drop_below_floor(&mut self) -> String {
        let before = hash::hash(&self.state, None).unwrap();
        let records = |state: &Memory| state.len(Space::History) + state.len(Space::Changes);
        let held = records(&self.state);
        // The smallest steps show that a step can end anywhere.
        while let Some(step) = compact::plan(&self.state, 1).unwrap() {
            for (space, from, to) in &step.ranges {
                self.state.remove_range(*space, from, to);
            }
            self.state.commit(step.writes());
        }
        let removed = held - records(&self.state);
        assert_eq!(hash::hash(&self.state, None).unwrap(), before, "the content is the same");
        format!("{removed} records")
    }
}

fn parse(words: &[&str]) -> Command {
    match words {
        ["grant", id, ttl, how @ ..] => Command::LeaseGrant(LeaseGrant {
            id: (*id != "any").then(|| LeaseId(id.parse().unwrap())),
            ttl: Duration::from_millis(ttl.parse().unwrap()),
            together: *how == ["together"],
        }),
        ["version", version] => Command::SetClusterVersion { version: version.parse().unwrap() },
        ["end", lease, most] => Command::LeaseEnd {
            lease: LeaseId(lease.parse().unwrap()),
            keys_max: most.parse().unwrap(),
            fence: None,
        },
        ["compact", revision] => Command::Compact { revision: Revision(revision.parse().unwrap()) },
        txn => Command::Txn(parse_txn(txn)),
    }
}

fn parse_txn(words: &[&str]) -> Txn {
    match words {
        ["fenced", term, rest @ ..] => {
            let fence = Some(Fence { term: term.parse().unwrap(), member: 1 });
            Txn { fence, ..parse_txn(rest) }
        }
        ["if", condition, rest @ ..] => {
            let (key, revision) = condition.split_once('@').unwrap();
            let revision = Revision(revision.parse().unwrap());
            Txn {
                compares: vec![Compare::mod_revision(key.to_owned(), revision)],
                failure: vec![Op::Range(Range::new(KeyRange::key(key.to_owned())))],
                ..parse_txn(rest)
            }
        }
        ["when", keys, field, relation, value, rest @ ..] => {
            let compare = parse_compare(keys, field, relation, value);
            let mut txn = parse_txn(rest);
            txn.compares.insert(0, compare);
            txn
        }
        operations => {
            let mut branches = operations.split(|word| *word == "else").map(|branch| {
                branch.split(|word| *word == "and").map(parse_op).collect::<Vec<Op>>()
            });
            let success = branches.next().unwrap();
            Txn { success, failure: branches.next().unwrap_or_default(), ..Txn::default() }
        }
    }
}

fn parse_compare(keys: &str, field: &str, relation: &str, value: &str) -> Compare {
    let number = || value.parse().unwrap();
    let target = match field {
        "mod" => Target::ModRevision(Revision(number())),
        "create" => Target::CreateRevision(Revision(number())),
        "version" => Target::Version(number()),
        "lease" => Target::Lease(LeaseId(value.parse().unwrap())),
        "value" => Target::Value(value.to_owned().into()),
        other => panic!("nothing to compare: {other}"),
    };
    let relation = match relation {
        "=" => Relation::Equal,
        "!=" => Relation::NotEqual,
        "<" => Relation::Less,
        ">" => Relation::Greater,
        other => panic!("no relation: {other}"),
    };
    Compare { range: key_range(keys), relation, target }
}

fn parse_query(keys: &str, rest: &[&str]) -> Range {
    let mut query = Range::new(key_range(keys));
    let bounds = |text: &str| {
        let (min, max) = text.split_once('-').unwrap();
        let bound = |text: &str| text.parse().ok().map(Revision);
        RevisionBounds { min: bound(min), max: bound(max) }
    };
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let mut next = || *rest.next().unwrap();
        match *word {
            "limit" => query.limit = next().parse().unwrap(),
            "keys" => query.keys_only = true,
            "count" => query.count_only = true,
            "mod" => query.mod_revisions = bounds(next()),
            "create" => query.create_revisions = bounds(next()),
            "sort" => {
                let target = match next() {
                    "key" => SortTarget::Key,
                    "version" => SortTarget::Version,
                    "create" => SortTarget::CreateRevision,
                    "mod" => SortTarget::ModRevision,
                    "value" => SortTarget::Value,
                    other => panic!("nothing to sort by: {other}"),
                };
                let order = match next() {
                    "asc" => SortOrder::Ascending,
                    _ => SortOrder::Descending,
                };
                query.sort = Some(Sort { target, order });
            }
            revision => {
                let revision = revision.strip_prefix('@').unwrap().parse().unwrap();
                query.revision = Some(Revision(revision));
            }
        }
    }
    query
}

fn parse_op(words: &[&str]) -> Op {
    match words {
        ["put", pair] => put(pair, "0"),
        ["put", pair, "lease", lease] => put(pair, lease),
        ["delete", keys] => Op::Delete(Delete { range: key_range(keys), previous: true }),
        ["read", keys, rest @ ..] => Op::Range(parse_query(keys, rest)),
        [inner] => {
            let inner = inner.strip_prefix('[').unwrap().strip_suffix(']').unwrap();
            Op::Txn(Box::new(parse_txn(&inner.split('_').collect::<Vec<_>>())))
        }
        other => panic!("not a command: {other:?}"),
    }
}

fn put(pair: &str, lease: &str) -> Op {
    let (key, value) = pair.split_once('=').unwrap();
    Op::Put(Put {
        key: key.to_owned().into(),
        value: (value != "*").then(|| value.to_owned().into()),
        lease: (lease != "*").then(|| LeaseId(lease.parse().unwrap())),
        previous: true,
    })
}

#[test]
fn a_key_has_a_life_of_versions() {
    check(
        "
        put a=1
        put a=2
        delete a
        delete a
        put a=3
        get ..
        get .. @3
        get .. @4
        get .. @9
        ",
        expect![[r#"
            put a=1: put, new @2
            put a=2: put, was a=1 (2,2,1) @3
            delete a: deleted a=2 (2,3,2) @4
            delete a: deleted nothing @4
            put a=3: put, new @5
            get ..: a=3 (5,5,1) of 1
            get .. @3: a=2 (2,3,2) of 1
            get .. @4: nothing of 0
            get .. @9: revision 9 is in the future, the current is 5
        "#]],
    );
}

#[test]
fn a_transaction_is_one_revision_or_nothing() {
    check(
        "
        put a=1 and put b=1 and read ..
        if a@2 put a=2 and delete b
        if a@2 put a=3
        put c=1 and put c=2
        put d=1 and delete ..
        fenced 2 put a=9
        fenced 3 put a=4
        get ..
        replay .. 2
        ",
        expect![[r#"
            put a=1 and put b=1 and read ..: put, new, put, new, read a=1 (2,2,1), b=1 (2,2,1) of 2 @2
            if a@2 put a=2 and delete b: put, was a=1 (2,2,1), deleted b=1 (2,2,1) @3
            if a@2 put a=3: else read a=2 (2,3,2) of 1 @3
            put c=1 and put c=2: refused, duplicate key given in the transaction: c
            put d=1 and delete ..: refused, duplicate key given in the transaction: d
            fenced 2 put a=9: refused, the leadership of the caller is over: it acted under term 2 of member 1, now leads term 3 of member 1
            fenced 3 put a=4: put, was a=2 (2,3,2) @4
            get ..: a=4 (2,4,3) of 1
            replay .. 2: a=1, b=1 @2, a=2 was 1, -b was 1 @3, a=4 was 2 @4
        "#]],
    );
}

#[test]
fn a_repeated_proposal_is_answered_but_not_applied() {
    check(
        "
        put a=1
        again 1 put a=1
        put b=1
        put c=1
        again 3 put c=1
        again 1 put a=1
        get ..
        ",
        expect![[r#"
            put a=1: put, new @2
            again 1 put a=1: put, new @2
            put b=1: put, new @3
            put c=1: put, new @4
            again 3 put c=1: put, new @4
            again 1 put a=1: refused, proposal 1 of boot 1 of member 0000000000000001 is outdated
            get ..: a=1 (2,2,1), b=1 (3,3,1), c=1 (4,4,1) of 3
        "#]],
    );
}

#[test]
fn the_past_can_be_read_in_pages() {
    check(
        "
        put a=1 and put b=1 and put c=1 and put d=1
        delete b
        put c=2
        put e=1
        get .. @2 limit 2
        get bb.. @2 limit 1
        get .. @2
        get .. limit 1
        get b..d @3
        ",
        expect![[r#"
            put a=1 and put b=1 and put c=1 and put d=1: put, new, put, new, put, new, put, new @2
            delete b: deleted b=1 (2,2,1) @3
            put c=2: put, was c=1 (2,2,1) @4
            put e=1: put, new @5
            get .. @2 limit 2: a=1 (2,2,1), b=1 (2,2,1) and more of 4
            get bb.. @2 limit 1: c=1 (2,2,1) and more of 2
            get .. @2: a=1 (2,2,1), b=1 (2,2,1), c=1 (2,2,1), d=1 (2,2,1) of 4
            get .. limit 1: a=1 (2,2,1) and more of 4
            get b..d @3: c=1 (2,2,1) of 1
        "#]],
    );
}

#[test]
fn compaction_keeps_what_is_visible_at_the_floor() {
    check(
        "
        put a=1
        put a=2
        put b=1
        delete b
        put a=3
        put b=2
        compact 9
        compact 5
        compact 5
        state
        drop
        state
        get .. @4
        get .. @5
        replay .. 4
        replay .. 5
        compact 6
        drop
        replay .. 6
        get .. @6
        state
        ",
        expect![[r#"
            put a=1: put, new @2
            put a=2: put, was a=1 (2,2,1) @3
            put b=1: put, new @4
            delete b: deleted b=1 (4,4,1) @5
            put a=3: put, was a=2 (2,3,2) @6
            put b=2: put, new @7
            compact 9: refused, revision 9 is in the future, the current is 7
            compact 5: floor 5
            compact 5: refused, revision 5 is compacted, the oldest kept is 5
            state: current 2, history 4, changes 6, meta 3
            drop: 5 records
            state: current 2, history 2, changes 3, meta 4
            get .. @4: revision 4 is compacted, the oldest kept is 5
            get .. @5: a=2 (2,3,2) of 1
            replay .. 4: revision 4 is compacted, the oldest kept is 5
            replay .. 5: -b @5, a=3 was 2 @6, b=2 @7
            compact 6: floor 6
            drop: 3 records
            replay .. 6: a=3 @6, b=2 @7
            get .. @6: a=3 (2,6,3) of 1
            state: current 2, history 0, changes 2, meta 4
        "#]],
    );
}

#[test]
fn a_lease_takes_its_keys_one_revision_each() {
    check(
        "
        grant 1 10000
        put a=1 lease 1 and put b=1 lease 1 and put c=1 lease 1
        put c=2
        put d=1 lease 9
        end 1 1
        end 1 1
        end 1 1
        end 1 1
        get ..
        ",
        expect![[r#"
            grant 1 10000: lease 1 of 10s
            put a=1 lease 1 and put b=1 lease 1 and put c=1 lease 1: put, new, put, new, put, new @2
            put c=2: put, was c=1 (2,2,1 lease 1) @3
            put d=1 lease 9: refused, lease LeaseId(9) not found
            end 1 1: not ended yet, -a was 1 @4
            end 1 1: ended, -b was 1 @5
            end 1 1: refused, lease LeaseId(1) not found
            end 1 1: refused, lease LeaseId(1) not found
            get ..: c=2 (2,3,2) of 1
        "#]],
    );
}
