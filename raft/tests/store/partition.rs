//! A leader that nobody hears, and that hears nobody: what it was asked is done once or not at
//! all, and where that is not known, it says so. And a follower that only the leader does not hear:
//! it gets by with the help of the other.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use kontiki_base::CancellationToken;

use crate::{
    lab::{Lab, eventually},
    pause::{check_counter, raise},
    process::{Process, leader_first, three},
};

const ISOLATED: &str = "trap peer.call=fail; peer.serve=fail";
const HEALED: &str = "trap ";

async fn replaced(held: &Process, by: &Process) {
    eventually("a new leader", async || by.must("leader").await != held.id.to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_isolated_leader_was_asked_is_done_once_or_answered_as_unknown() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    leader_first(&mut members).await;
    let members = Arc::new(members);
    let done = CancellationToken::new();
    let raising = (0..6).map(|n| {
        let (members, done) = (members.clone(), done.clone());
        async move { raise(&members[n % 3], "counter", &done).await }
    });
    let faults = async {
        // Healed before their time is over, writes are retried until they are answered.
        members[0].must(ISOLATED).await;
        let writes = join_all((0..20).map(|n| {
            let member = &members[0];
            async move { member.tell(&format!("put w{n} x")).await }
        }));
        let heal = async {
            replaced(&members[0], &members[1]).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            members[0].must(HEALED).await;
        };
        let (writes, ()) = tokio::join!(writes, heal);
        assert!(writes.iter().all(Result::is_ok), "{writes:?}");
        for n in 0..20 {
            assert_eq!(members[0].must(&format!("get w{n}")).await, "x 1");
        }
        // Nobody answers in time: nobody knows.
        let leads = {
            let leader = members[1].must("leader").await;
            members.iter().find(|member| member.id.to_string() == leader).unwrap()
        };
        leads.must(ISOLATED).await;
        let unknown = leads.tell("put u x").await.unwrap_err();
        assert!(unknown.contains("no answer from a leader within"), "{unknown}");
        leads.must(HEALED).await;
        done.cancel();
    };
    let (raised, ()) = tokio::join!(join_all(raising), faults);
    members[0].must("ready").await;
    check_counter(&members[0], "counter", &raised).await;
    let found = members[0].must("get u").await;
    assert!(["0 0", "x 1"].contains(&found.as_str()), "{found}");
}

fn cut_from(other: &Process) -> String {
    format!("trap peer.call=fail:{0}; peer.serve=fail:{0}", other.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_only_the_leader_does_not_reach_works_by_way_of_another() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    leader_first(&mut members).await;
    let [leader, cut, between] = members.as_slice() else { panic!("three members") };
    leader.must("put a x").await;
    eventually("it has it", async || cut.must("peek a").await == "x 1").await;
    let (term, lease) = (leader.must("term").await, leader.must("grant 60").await);
    leader.must(&cut_from(cut)).await;
    cut.must(&cut_from(leader)).await;

    // Whatever only the leader can do, it does, and what is read is what was written last.
    cut.must("put b x").await;
    assert_eq!(between.must("get b").await, "x 1");
    for number in 0..20 {
        between.must(&format!("put c {number}")).await;
        assert_eq!(cut.must("get c").await, format!("{number} {}", number + 1));
    }
    assert_eq!(cut.must(&format!("renew {lease}")).await, "60");
    cut.add(between).await;
    assert_eq!(cut.must("increment counter").await, "raised 1");
    let revision = leader.number("revision").await;
    let order = format!("hash {revision}");
    eventually("it has all", async || cut.number("revision").await >= revision).await;
    assert_eq!(cut.must(&order).await, leader.must(&order).await);
    assert!(leader.said().contains("the member is asked by way of another"), "{}", leader.said());

    // Nobody has campaigned in earnest.
    for member in &members {
        assert_eq!(member.must("term").await, term, "{}", member.said());
        assert_eq!(member.number("leader").await, leader.id);
    }

    let heal = async || {
        leader.must(HEALED).await;
        cut.must(HEALED).await;
    };
    heal().await;
    eventually("the direct way again", async || {
        leader.said().contains("the member is reached directly")
    })
    .await;
    cut.must("put b y").await;

    // With nobody between them, it says that it cannot know; what it has, it still tells.
    let isolated = format!("{}; {}", cut_from(leader), &cut_from(between)["trap ".len()..]);
    cut.must(&isolated).await;
    between.must("put c last").await;
    let (unknown, stale) = tokio::join!(cut.tell("get c"), cut.must("peek c"));
    assert!(unknown.unwrap_err().contains("no answer from a leader within"));
    assert_eq!(stale, "19 20");
    heal().await;
    assert_eq!(cut.must("get c").await, "last 21");
    assert_eq!(leader.must("term").await, term);
}
