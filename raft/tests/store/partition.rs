//! A leader that nobody hears, and that hears nobody: what it was asked is done once or not at
//! all, and where that is not known, it says so.

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
