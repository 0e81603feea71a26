//! Killed at every step of the store, a member starts again with everything it acknowledged.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use kontiki_base::CancellationToken;
use kontiki_raft::Start;
use tokio::sync::RwLock;

use crate::{
    lab::{Lab, eventually},
    pause::{Raised, check_counter},
    process::{Process, leader_first, three},
};

const WRITERS: usize = 4;
/// Every step is passed by then, or never.
const WRITES_MAX: u64 = 400;

/// Steps of a member that runs alone, and at which of its passes it dies.
const ALONE: [&[(&str, u32)]; 2] = [
    &[
        ("own.write", 1),
        ("own.written", 2),
        ("log.append", 1),
        ("log.append", 40),
        ("log.appended", 1),
        ("log.appended", 40),
        ("log.flush", 2),
        ("log.flush", 40),
        ("log.flushed", 2),
        ("log.flushed", 40),
        ("vote.write", 1),
        ("vote.written", 1),
        ("committed.written", 30),
    ],
    &[
        ("log.purge", 1),
        ("log.purged", 2),
        ("state.write", 1),
        ("state.write", 40),
        ("state.written", 40),
        ("state.published", 40),
        ("state.flush", 1),
        ("state.flushed", 2),
        ("state.compaction", 2),
        ("snapshot.build", 2),
        ("snapshot.built", 1),
    ],
];

/// Writes until the member dies or has written enough; how many each writer knows of.
async fn load(member: &Process) -> Vec<u64> {
    join_all((0..WRITERS).map(|writer| async move {
        let mut acknowledged = 0;
        while acknowledged < WRITES_MAX / WRITERS as u64 {
            let Ok(revision) = member.tell(&format!("fill w{writer} 700")).await else { break };
            acknowledged += 1;
            if writer == 0 && acknowledged.is_multiple_of(15) {
                let at = revision.parse::<u64>().unwrap() - 10;
                let _ = member.tell(&format!("compact {at}")).await;
                let _ = member.tell("purge").await;
            }
        }
        acknowledged
    }))
    .await
}

/// Versions of the writers' keys.
async fn versions(member: &Process) -> Vec<u64> {
    join_all((0..WRITERS).map(|writer| async move {
        let found = member.must(&format!("get w{writer}")).await;
        found.split_once(' ').unwrap().1.parse().unwrap()
    }))
    .await
}

async fn killed_alone(steps: &[(&str, u32)]) {
    let lab = Lab::new();
    let member = Process::start(&lab, "m1", Start::Bootstrap).await;
    member.must("put first x").await;
    let mut folder = member.kill().await;
    let mut before = vec![0; WRITERS];
    for (step, nth) in steps {
        let trap = format!("{step}=kill@{nth}");
        let acknowledged = match Process::open(folder.clone(), &trap).await {
            Ok(member) => {
                let acknowledged = load(&member).await;
                folder = tokio::time::timeout(Duration::from_secs(10), member.ended())
                    .await
                    .unwrap_or_else(|_| panic!("{step} was never passed {nth} times"));
                acknowledged
            }
            Err(_) => vec![0; WRITERS],
        };
        let member = Process::open(folder.clone(), "").await.unwrap();
        member.must("ready").await;
        let after = versions(&member).await;
        for writer in 0..WRITERS {
            let (fresh, known) = (after[writer] - before[writer], acknowledged[writer]);
            assert!(
                (known..=known + 1).contains(&fresh),
                "{trap}: writer {writer} knows of {known} writes, {fresh} were applied"
            );
        }
        before = after;
        // A replay gives the same state and the same events as the first time.
        let hash = member.must("hash").await;
        let revision = member.number("revision").await;
        let from = revision.saturating_sub(5).max(2);
        let events = member.must(&format!("events {from} {revision}")).await;
        member.kill().await;
        let member = Process::open(folder.clone(), "").await.unwrap();
        member.must("ready").await;
        assert_eq!(member.must("hash").await, hash, "{trap}");
        assert_eq!(member.must(&format!("events {from} {revision}")).await, events, "{trap}");
        folder = member.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_of_the_log_a_member_has_everything_it_acknowledged() {
    killed_alone(ALONE[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_of_the_state_a_member_has_everything_it_acknowledged() {
    killed_alone(ALONE[1]).await;
}

/// Waits until a member holds what the other holds.
async fn alike(one: &Process, other: &Process) {
    let revision = one.number("index").await;
    eventually("the same revision", async || {
        other.tell("revision").await.is_ok_and(|at| at.parse::<u64>().unwrap() >= revision)
    })
    .await;
    let order = format!("hash {revision}");
    assert_eq!(one.must(&order).await, other.must(&order).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_of_joining_a_member_joins_when_it_is_back() {
    let lab = Lab::new();
    let first = Process::start(&lab, "m1", Start::Bootstrap).await;
    for number in 0..50 {
        first.must(&format!("fill k{number} 500")).await;
    }
    // So that who joins needs a snapshot.
    first.must("purge").await;
    let steps = [
        "cluster.adopt=kill@1",
        "snapshot.receive=kill@1",
        "snapshot.receive=kill@4",
        "snapshot.received=kill@1",
        "snapshot.install=kill@1",
        "snapshot.moved=kill@1",
        "current.written=kill@1",
        "current.swapped=kill@1",
        "log.purge=kill@1",
        "log.purged=kill@1",
        "state.flushed=kill@1",
    ];
    for (at, trap) in steps.into_iter().enumerate() {
        let joiner = Process::start(&lab, &format!("j{at}"), Start::Join).await;
        joiner.must(&format!("trap {trap}")).await;
        // It dies while it is added, or right after: then the leader goes on adding it.
        let order = format!("add {} {} {}", joiner.id, joiner.name, joiner.address);
        let _ = first.tell(&order).await;
        let id = joiner.id;
        let folder = if trap.starts_with("state.flushed") {
            let _ = joiner.tell("ready").await;
            let _ = joiner.tell("purge").await;
            joiner.ended().await
        } else {
            tokio::time::timeout(Duration::from_secs(15), joiner.ended())
                .await
                .unwrap_or_else(|_| panic!("{trap} did not spring"))
        };
        let joiner = Process::open(folder, "").await.unwrap();
        first.must(&order).await;
        joiner.must("ready").await;
        first.must(&format!("put after {at}")).await;
        alike(&first, &joiner).await;
        first.must(&format!("remove {id}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_while_it_changes_members_or_sends_a_snapshot_leaves_a_working_cluster() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    for (at, trap) in
        ["membership.change=kill@1", "membership.changed=kill@1", "snapshot.send=kill@2"]
            .into_iter()
            .enumerate()
    {
        leader_first(&mut members).await;
        for number in 0..20 {
            members[0].must(&format!("fill k{number} 500")).await;
        }
        members[0].must("purge").await;
        members[0].must(&format!("trap {trap}")).await;
        let joiner = Process::start(&lab, &format!("j{at}"), Start::Join).await;
        let order = format!("add {} {} {}", joiner.id, joiner.name, joiner.address);
        let _ = members[0].tell(&order).await;
        let folder = members.remove(0).ended().await;
        // The others go on, whatever became of the change, and the leader comes back.
        members[0].must("put while x").await;
        members.push(Process::open(folder, "").await.unwrap());
        members[0].must(&order).await;
        joiner.must("ready").await;
        members[2].must("ready").await;
        for member in members[1..].iter().chain([&joiner]) {
            alike(&members[0], member).await;
        }
        members[0].must(&format!("remove {}", joiner.id)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_killed_while_it_drops_what_lost_comes_back_like_the_others() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    for trap in ["log.truncate=kill@1", "log.truncated=kill@1"] {
        leader_first(&mut members).await;
        members[0].must("trap peer.call=fail; peer.serve=fail").await;
        let lost = join_all((0..5).map(|n| {
            let member = &members[0];
            async move {
                let _ = member.tell(&format!("put lost{n} x")).await;
            }
        }));
        let heal = async {
            let own = members[0].id.to_string();
            eventually("a new leader", async || members[1].must("leader").await != own).await;
            members[1].must("put kept x").await;
            // It hears its peers from here on, and may be killed before it answers.
            let _ = members[0].tell(&format!("trap {trap}")).await;
        };
        tokio::join!(lost, heal);
        let folder = members.remove(0).ended().await;
        members.push(Process::open(folder, "").await.unwrap());
        members[2].must("ready").await;
        alike(&members[0], &members[2]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_killed_in_turn_under_load_lose_and_repeat_nothing() {
    let lab = Lab::new();
    let members: Vec<Arc<Process>> = three(&lab).await.into_iter().map(Arc::new).collect();
    let members = Arc::new(RwLock::new(members));
    let done = CancellationToken::new();
    let raising = (0..6).map(|n| {
        let (members, done) = (members.clone(), done.clone());
        async move {
            let mut raised = Raised::default();
            while !done.is_cancelled() {
                let member = members.read().await[n % 3].clone();
                match member.tell("increment counter").await {
                    Ok(answer) => {
                        let number = answer.strip_prefix("raised ");
                        raised.acknowledged.extend(number.map(|n| n.parse::<u64>().unwrap()));
                    }
                    Err(_) => {
                        raised.unknown += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
            raised
        }
    });
    let killing = async {
        for at in [0, 1, 2, 0] {
            let other = members.read().await[(at + 1) % 3].clone();
            let before = other.number("revision").await;
            eventually("progress", async || other.number("revision").await > before + 20).await;
            let folder = {
                let member = members.read().await[at].clone();
                member.kill().await
            };
            let back = Process::open(folder, "").await.unwrap();
            back.must("ready").await;
            members.write().await[at] = Arc::new(back);
        }
        done.cancel();
    };
    let (raised, ()) = tokio::join!(join_all(raising), killing);
    let members = members.read().await;
    check_counter(&members[0], "counter", &raised).await;
    alike(&members[0], &members[1]).await;
    alike(&members[0], &members[2]).await;
    let revision = members[0].number("index").await;
    let order = format!("events 2 {revision}");
    let events = members[0].must(&order).await;
    for member in &members[1..] {
        assert_eq!(member.must(&order).await, events);
    }
}
