//! Members that come, go, move, and are told that they are none any more.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kontiki_base::{CancellationToken, tasks::Tasks};
use kontiki_raft::{Error, MemberId, Start, Store, Tuning};

use crate::{
    cluster::{Node, leader_of, stop, three, voters, write_until},
    lab::{Folder, Lab, all, dump, eventually, free_address, put},
};

/// Three members, the leader first.
async fn led(lab: &Lab) -> Vec<Node> {
    let mut nodes = three(lab).await;
    let leader = leader_of(&nodes, None).await;
    nodes.rotate_left(leader);
    nodes
}

async fn start_with(lab: &Lab, name: &str, start: Start, tuning: Tuning) -> Node {
    let folder = Folder::new();
    let mut options = lab.options(name, folder.path().to_owned(), start);
    options.tuning = tuning;
    let store = Store::open(options.clone(), &Tasks::new()).await.unwrap();
    Node { store, options, folder }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_voter_is_made_when_somebody_asks_for_it() {
    let lab = Lab::new();
    let first = Node::start(&lab, "m1", Start::Bootstrap).await;
    let second = Node::start(&lab, "m2", Start::Join).await;
    first.store.add_member(second.member()).await.unwrap();
    second.store.ready().await.unwrap();
    assert_eq!(voters(&first.store), 1);
    // Asked of the learner itself: any member passes it on.
    second.store.promote_member(second.store.id()).await.unwrap();
    eventually("two voters", async || voters(&second.store) == 2).await;
    let stranger = first.store.promote_member(MemberId(7)).await.unwrap_err().to_string();
    assert!(stranger.contains("is no member"), "{stranger}");
    let third = Node::start(&lab, "m3", Start::Join).await;
    first.store.add_member(third.member()).await.unwrap();
    eventually("three voters", async || voters(&third.store) == 3).await;
    stop(vec![first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_to_whom_it_is_given_and_fails_no_request() {
    let lab = Lab::new();
    let nodes = led(&lab).await;
    let done = CancellationToken::new();
    let writers =
        (0..6).map(|writer| write_until(nodes[writer % 3].store.clone(), writer, done.clone()));
    let moves = async {
        let mut times = Vec::new();
        for round in 1..=6 {
            let (asked, to) = (&nodes[(round + 1) % 3].store, nodes[round % 3].store.id());
            let start = Instant::now();
            asked.move_leadership(Some(to)).await.unwrap();
            let mut leadership = asked.leadership();
            leadership.wait_for(|now| now.leader == Some(to)).await.unwrap();
            times.push(start.elapsed());
        }
        done.cancel();
        times
    };
    let (written, mut times) = tokio::join!(join_all(writers), moves);
    assert!(written.iter().all(|count| *count > 0), "{written:?}");
    times.sort();
    println!("leadership moved within {times:?}");
    assert!(times[2] < Duration::from_secs(2), "{times:?}");
    let nobody = nodes[0].store.move_leadership(Some(MemberId(7))).await.unwrap_err().to_string();
    assert!(nobody.contains("is no voter"), "{nobody}");
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_learns_it_and_keeps_quiet() {
    let lab = Lab::new();
    let mut nodes = led(&lab).await;
    let removed = nodes.pop().unwrap();
    let id = removed.store.id();
    nodes[1].store.remove_member(id).await.unwrap();
    let term = nodes[0].store.member_statuses().await[0].standing.clone().unwrap().term;
    eventually("it knows", async || removed.store.expelled().is_some()).await;
    let refused = removed.store.txn(put("a", "1")).await.unwrap_err();
    assert!(matches!(&refused, Error::Removed { reason } if reason.contains("removed")));
    nodes[0].store.txn(put("a", "2")).await.unwrap();
    let statuses = nodes[0].store.member_statuses().await;
    assert!(statuses.iter().all(|status| status.standing.as_ref().unwrap().term == term));
    // Its id never comes back, and its folder is good for nothing any more.
    let again = nodes[0].store.add_member(removed.member()).await.unwrap_err().to_string();
    assert!(again.contains("an id never comes back"), "{again}");
    let (options, _folder) = removed.stop().await;
    let reopened = Store::open(options, &Tasks::new()).await.unwrap_err().to_string();
    assert!(reopened.contains("start with an empty folder"), "{reopened}");
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_when_it_was_removed_disturbs_nobody() {
    let lab = Lab::new();
    let mut nodes = led(&lab).await;
    let stopped = nodes.pop().unwrap();
    let id = stopped.store.id();
    let stopped = stopped.stop().await;
    nodes[0].store.remove_member(id).await.unwrap();
    let leader = nodes[0].store.leadership().borrow().leader;
    let back = Node::reopen(stopped).await;
    eventually("it knows", async || back.store.expelled().is_some()).await;
    let ready = back.store.ready().await.unwrap_err().to_string();
    assert!(ready.contains("removed"), "{ready}");
    nodes[1].store.txn(put("a", "1")).await.unwrap();
    assert_eq!(nodes[0].store.leadership().borrow().leader, leader);
    assert!(failed_read_indexes() < 100.0, "it goes on asking");
    nodes.push(back);
    stop(nodes).await;
}

/// Rounds to the leader that came to nothing, of all members of this process.
fn failed_read_indexes() -> f64 {
    let name = "etcd_server_slow_read_indexes_total";
    let families = prometheus::gather();
    let family = families.iter().find(|family| family.name() == name).unwrap();
    family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_removed_hands_over_first() {
    let lab = Lab::new();
    let nodes = led(&lab).await;
    let id = nodes[0].store.id();
    nodes[0].store.remove_member(id).await.unwrap();
    eventually("two voters", async || voters(&nodes[1].store) == 2).await;
    nodes[1].store.txn(put("a", "1")).await.unwrap();
    eventually("it knows", async || nodes[0].store.expelled().is_some()).await;
    let remaining = nodes[1].store.id();
    nodes[1].store.remove_member(nodes[2].store.id()).await.unwrap();
    let last = nodes[1].store.remove_member(remaining).await.unwrap_err().to_string();
    assert!(last.contains("the only voter"), "{last}");
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_member_is_replaced_in_one_step() {
    let lab = Lab::new();
    let mut nodes = led(&lab).await;
    let lost = nodes.pop().unwrap();
    let id = lost.store.id();
    lost.store.crash();
    drop(lost);
    let fresh = Node::start(&lab, "m4", Start::Join).await;
    let early = nodes[0].store.replace_member(id, fresh.store.id()).await.unwrap_err().to_string();
    assert!(early.contains("is no learner of this cluster"), "{early}");
    nodes[0].store.add_member(fresh.member()).await.unwrap();
    fresh.store.ready().await.unwrap();
    eventually("replaced", async || {
        nodes[1].store.replace_member(id, fresh.store.id()).await.is_ok()
    })
    .await;
    let members = nodes[0].store.members();
    assert!(members.len() == 3 && members.iter().all(|member| member.voter), "{members:?}");
    assert!(members.iter().all(|member| member.id != id));
    nodes.push(fresh);
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_asked_how_it_is() {
    let lab = Lab::new();
    let mut nodes = led(&lab).await;
    nodes[0].store.txn(put("a", "1")).await.unwrap();
    let at = nodes[1].store.read_index().await.unwrap();
    let dead = nodes.pop().unwrap();
    let id = dead.store.id();
    dead.store.crash();
    drop(dead);
    let statuses = nodes[1].store.member_statuses().await;
    assert_eq!(statuses.len(), 3);
    for status in statuses {
        assert_eq!(status.leads, status.member.id == nodes[0].store.id());
        match status.standing {
            Ok(standing) => {
                assert!(standing.revision <= at && standing.lag < 3, "{standing:?}");
                assert_eq!(standing.version, kontiki_raft::PROTOCOL_VERSION);
                assert_ne!(status.member.id, id);
            }
            Err(_) => assert_eq!(status.member.id, id),
        }
    }
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_member_is_found_by_its_address_and_not_touched() {
    let lab = Lab::new();
    let first = Node::start(&lab, "m1", Start::Bootstrap).await;
    let waiting = Node::start(&lab, "m2", Start::Join).await;
    let found = first.store.member_at(&waiting.options.peer_address).await.unwrap();
    assert_eq!(found, waiting.member());
    assert_eq!(waiting.store.cluster_id(), 0, "asking is not adopting");
    let nobody = first.store.member_at("127.0.0.1:1").await.unwrap_err().to_string();
    assert!(nobody.contains("127.0.0.1:1"), "{nobody}");
    let folder = Folder::new();
    let options = lab.options("m3", folder.path().to_owned(), Start::Bootstrap);
    let other = Store::open(options.clone(), &Tasks::new()).await.unwrap();
    let foreign = first.store.member_at(&options.peer_address).await.unwrap_err().to_string();
    assert!(foreign.contains("belongs to cluster"), "{foreign}");
    other.shutdown().await.unwrap();
    first.store.add_member(found).await.unwrap();
    waiting.store.ready().await.unwrap();
    stop(vec![first, waiting]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_moves_at_once_and_finds_the_others() {
    let lab = Lab::new();
    let nodes = led(&lab).await;
    nodes[0].store.txn(put("a", "1")).await.unwrap();
    let mut stopped = Vec::new();
    for node in nodes {
        let (mut options, folder) = node.stop().await;
        options.listen = free_address();
        options.peer_address = options.listen.to_string();
        stopped.push((options, folder));
    }
    // Each is told of one other; the last one of nobody, for it is told of by the second.
    let addresses: Vec<String> = stopped.iter().map(|(o, _)| o.peer_address.clone()).collect();
    stopped[0].0.tuning.peers = vec![addresses[1].clone()];
    stopped[1].0.tuning.peers = vec![addresses[2].clone()];
    let nodes = join_all(stopped.into_iter().map(Node::reopen)).await;
    for node in &nodes {
        node.store.ready().await.unwrap();
        assert_eq!(dump(&node.store, all()).await, "a=1@2");
    }
    eventually("the membership knows", async || {
        let members = nodes[0].store.members();
        members.iter().all(|member| addresses.contains(&member.peer_address))
    })
    .await;
    stop(nodes).await;
}

fn speaking(version: u32) -> Tuning {
    Tuning { version, ..Tuning::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_speaks_a_new_version_once_all_members_do() {
    let lab = Lab::new();
    let first = start_with(&lab, "m1", Start::Bootstrap, speaking(2)).await;
    eventually("alone", async || first.store.cluster_version() == 2).await;
    // One version apart is fine, two are not.
    let older = start_with(&lab, "m2", Start::Join, speaking(1)).await;
    first.store.add_member(older.member()).await.unwrap();
    older.store.ready().await.unwrap();
    let newest = start_with(&lab, "m3", Start::Join, speaking(4)).await;
    let refused = first.store.add_member(newest.member()).await.unwrap_err().to_string();
    assert!(refused.contains("version 2 is too far from 4"), "{refused}");
    assert_eq!(first.store.cluster_version(), 2, "it never falls");
    stop(vec![first, older, newest]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_upgrade_raises_the_version_at_its_end_unless_it_is_held_back() {
    let lab = Lab::new();
    let mut nodes = three(&lab).await;
    let one = nodes[0].store.cluster_version();
    assert_eq!(one, 1);
    for upgraded in 0..3 {
        assert!(nodes.iter().all(|node| node.store.cluster_version() == 1), "{upgraded}");
        let (mut options, folder) = nodes.remove(0).stop().await;
        options.tuning = Tuning { cluster_version_max: Some(1), ..speaking(2) };
        nodes.push(Node::reopen((options, folder)).await);
        nodes[2].store.ready().await.unwrap();
        eventually("the others know", async || {
            let statuses = nodes[0].store.member_statuses().await;
            let new = statuses.iter().flat_map(|status| &status.standing);
            new.filter(|standing| standing.version == 2).count() == upgraded + 1
        })
        .await;
    }
    nodes[0].store.txn(put("a", "1")).await.unwrap();
    assert!(nodes.iter().all(|node| node.store.cluster_version() == 1), "held back");
    for _ in 0..3 {
        let (mut options, folder) = nodes.remove(0).stop().await;
        options.tuning = speaking(2);
        nodes.push(Node::reopen((options, folder)).await);
        nodes[2].store.ready().await.unwrap();
    }
    eventually("raised", async || nodes.iter().all(|node| node.store.cluster_version() == 2)).await;
    stop(nodes).await;
}
