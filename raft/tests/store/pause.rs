//! A leader that is held for seconds and then goes on as if nothing had been.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use kontiki_base::CancellationToken;
use rustix::process::Signal;

use crate::{
    lab::{Lab, eventually},
    process::{Process, leader_first, three},
};

/// What many who raise one counter came to.
#[derive(Default)]
pub(crate) struct Raised {
    /// Numbers that were acknowledged.
    pub(crate) acknowledged: Vec<u64>,
    /// Attempts whose outcome is not known.
    pub(crate) unknown: u64,
}

/// Raises a counter through one member until told to stop.
pub(crate) async fn raise(member: &Process, key: &str, done: &CancellationToken) -> Raised {
    let mut raised = Raised::default();
    while !done.is_cancelled() {
        match member.tell(&format!("increment {key}")).await {
            Ok(answer) => {
                if let Some(number) = answer.strip_prefix("raised ") {
                    raised.acknowledged.push(number.parse().unwrap());
                }
            }
            Err(_) => raised.unknown += 1,
        }
    }
    raised
}

/// Every acknowledged number was given once, and the counter has counted them, and perhaps those
/// of which nobody knows.
pub(crate) async fn check_counter(member: &Process, key: &str, raised: &[Raised]) {
    let all: Vec<u64> = raised.iter().flat_map(|raised| raised.acknowledged.clone()).collect();
    let once: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(once.len(), all.len(), "a number was acknowledged twice");
    let unknown: u64 = raised.iter().map(|raised| raised.unknown).sum();
    let found = member.must(&format!("get {key}")).await;
    let (value, version) = found.split_once(' ').unwrap();
    assert_eq!(value, version, "a write was applied twice");
    let (value, acknowledged) = (value.parse::<u64>().unwrap(), all.len() as u64);
    assert!(
        (acknowledged..=acknowledged + unknown).contains(&value),
        "{acknowledged} acknowledged, {unknown} unknown, and the counter is at {value}"
    );
    assert!(once.last().is_none_or(|last| *last <= value));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_for_seconds_serves_no_stale_read() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    let mut stale = BTreeSet::new();
    for round in 1..=2u64 {
        leader_first(&mut members).await;
        members[0].must(&format!("put a {round}-before")).await;
        members[0].signal(Signal::STOP);
        // A busy machine takes its time to stop the last thread: what is asked before that may
        // have been read before the write below, and answered rightly.
        members[0].stopped().await;
        // These wait in its input, and are what it does first.
        let held = &members[0];
        let reads = join_all((0..20).map(|_| held.tell("get a")));
        let elsewhere = async {
            eventually("a new leader", async || {
                members[1].must("leader").await != held.id.to_string()
            })
            .await;
            members[1].must(&format!("put a {round}-after")).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            held.signal(Signal::CONT);
        };
        let (reads, ()) = tokio::join!(reads, elsewhere);
        stale.extend(reads.into_iter().flatten().filter(|read| !read.contains("-after")));
        members[0].must("ready").await;
    }
    assert!(stale.is_empty(), "stale reads: {stale:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_lost_or_done_twice_when_leaders_are_stopped_for_seconds() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    leader_first(&mut members).await;
    let members = Arc::new(members);
    let done = CancellationToken::new();
    let raising = (0..9).map(|n| {
        let (members, done) = (members.clone(), done.clone());
        async move { raise(&members[n % 3], &format!("c{}", n % 2), &done).await }
    });
    let pauses = async {
        for held in &members[..2] {
            let before = members[2].number("revision").await;
            eventually("progress", async || members[2].number("revision").await > before + 50)
                .await;
            held.signal(Signal::STOP);
            tokio::time::sleep(Duration::from_secs(2)).await;
            held.signal(Signal::CONT);
        }
        let before = members[0].number("revision").await;
        eventually("progress at its end", async || members[0].number("revision").await > before)
            .await;
        done.cancel();
    };
    let (raised, ()) = tokio::join!(join_all(raising), pauses);
    let (even, odd): (Vec<_>, Vec<_>) =
        raised.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    for (key, raised) in [("c0", even), ("c1", odd)] {
        let raised: Vec<Raised> = raised.into_iter().map(|(_, raised)| raised).collect();
        check_counter(&members[0], key, &raised).await;
    }
}
