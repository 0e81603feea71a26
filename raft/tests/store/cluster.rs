//! Three members over real loopback TLS.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kontiki_base::{CancellationToken, tasks::Tasks};
use kontiki_raft::{
    Consistency, KeyRange, Member, MemberId, Options, RangeRequest, Revision, Start, Store, Watch,
    WatchEventKind, WatchRequest,
};

use crate::lab::{Folder, Lab, all, dump, eventually, free_address, put, revision};

/// A started member.
pub(crate) struct Node {
    pub(crate) store: Store,
    pub(crate) options: Options,
    pub(crate) folder: Folder,
}

impl Node {
    pub(crate) async fn start(lab: &Lab, name: &str, start: Start) -> Node {
        let folder = Folder::new();
        let options = lab.options(name, folder.path().to_owned(), start);
        let store = Store::open(options.clone(), &Tasks::new()).await.unwrap();
        Node { store, options, folder }
    }

    pub(crate) fn member(&self) -> Member {
        Member {
            id: self.store.id(),
            name: self.options.name.clone(),
            peer_address: self.options.peer_address.clone(),
            api_address: self.options.api_address.clone(),
            client_address: self.options.client_address.clone(),
            voter: false,
        }
    }

    pub(crate) async fn stop(self) -> (Options, Folder) {
        self.store.shutdown().await.unwrap();
        (self.options, self.folder)
    }

    pub(crate) async fn reopen((options, folder): (Options, Folder)) -> Node {
        let store = Store::open(options.clone(), &Tasks::new()).await.unwrap();
        Node { store, options, folder }
    }
}

pub(crate) fn voters(store: &Store) -> usize {
    store.members().iter().filter(|member| member.voter).count()
}

pub(crate) async fn three(lab: &Lab) -> Vec<Node> {
    let first = Node::start(lab, "m1", Start::Bootstrap).await;
    let second = Node::start(lab, "m2", Start::Join).await;
    let third = Node::start(lab, "m3", Start::Join).await;
    first.store.add_member(second.member()).await.unwrap();
    first.store.add_member(third.member()).await.unwrap();
    let nodes = vec![first, second, third];
    for node in &nodes {
        eventually("three voters", async || voters(&node.store) == 3).await;
        node.store.ready().await.unwrap();
    }
    nodes
}

pub(crate) async fn leader_of(nodes: &[Node], except: Option<MemberId>) -> usize {
    let known = nodes.iter().map(|node| {
        let mut leadership = node.store.leadership();
        Box::pin(async move {
            leadership.wait_for(|now| now.fence.is_some() && now.leader != except).await.is_ok()
        })
    });
    let (_, index, _) = futures::future::select_all(known).await;
    index
}

pub(crate) async fn stop(nodes: Vec<Node>) {
    join_all(nodes.iter().map(|node| node.store.shutdown())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_learns_and_two_more_vote() {
    let lab = Lab::new();
    let first = Node::start(&lab, "m1", Start::Bootstrap).await;
    let second = Node::start(&lab, "m2", Start::Join).await;
    assert_eq!(second.store.cluster_id(), 0);
    first.store.txn(put("a", "1")).await.unwrap();
    first.store.add_member(second.member()).await.unwrap();
    second.store.ready().await.unwrap();
    assert_eq!(second.store.cluster_id(), first.store.cluster_id());
    assert_eq!(voters(&first.store), 1);
    assert_eq!(dump(&second.store, all()).await, "a=1@2");

    let third = Node::start(&lab, "m3", Start::Join).await;
    // Asked of a learner: forwarded to the leader.
    second.store.add_member(third.member()).await.unwrap();
    eventually("three voters", async || voters(&third.store) == 3).await;

    second.store.remove_member(third.store.id()).await.unwrap();
    eventually("two members", async || first.store.members().len() == 2).await;
    stop(vec![first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_forwards_writes_and_reads_what_was_acknowledged() {
    let lab = Lab::new();
    let nodes = three(&lab).await;
    let leader = leader_of(&nodes, None).await;
    let follower = &nodes[(leader + 1) % 3].store;
    let other = &nodes[(leader + 2) % 3].store;
    for number in 0..50u64 {
        let reply = follower.txn(put("a", &number.to_string())).await.unwrap();
        let read = other.range(all()).await.unwrap();
        assert!(read.revision >= reply.revision);
        assert_eq!(read.kvs[0].value, number.to_string());
    }
    let writes = (0..200).map(|n| {
        let store = &nodes[n % 3].store;
        async move { store.txn(put(&format!("k{n}"), "x")).await.map(|reply| reply.revision) }
    });
    let mut revisions: Vec<Revision> =
        join_all(writes).await.into_iter().collect::<Result<_, _>>().unwrap();
    revisions.sort();
    revisions.dedup();
    assert_eq!(revisions.len(), 200, "one revision per write");
    let at = nodes[leader].store.read_index().await.unwrap();
    let mut hashes = Vec::new();
    for node in &nodes {
        node.store.read_index().await.unwrap();
        hashes.push(node.store.hash(Some(at)).await.unwrap());
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    stop(nodes).await;
}

/// Collects `a=VALUE@REVISION` until `count` events were seen.
async fn collect(watch: &mut Watch, count: usize) -> Vec<(u64, String)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let batch = watch.recv().await.unwrap();
        for event in batch.events {
            assert_eq!(event.kind, WatchEventKind::Put);
            let value = String::from_utf8(event.kv.value.to_vec()).unwrap();
            seen.push((batch.revision.0, value));
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_leader_is_replaced_and_a_watch_goes_on_elsewhere() {
    let lab = Lab::new();
    let mut nodes = three(&lab).await;
    let leader = leader_of(&nodes, None).await;
    let watched = (leader + 1) % 3;
    let request =
        WatchRequest { range: KeyRange::key("a"), from: Some(Revision(2)), previous: false };
    let mut watch = nodes[watched].store.watch(request.clone()).await.unwrap();
    for number in 1..=3 {
        nodes[leader].store.txn(put("a", &number.to_string())).await.unwrap();
    }
    let first = collect(&mut watch, 3).await;
    drop(watch);

    let dead = nodes.remove(leader);
    let id = dead.store.id();
    dead.store.crash();
    drop(dead);
    let start = Instant::now();
    let reply = nodes[0].store.txn(put("a", "4")).await.unwrap();
    let outage = start.elapsed();
    assert!(outage < Duration::from_millis(1_500), "writes were back after {outage:?}");
    let next = leader_of(&nodes, Some(id)).await;
    assert_ne!(nodes[next].store.id(), id);

    // The watch continues behind what it saw, on the member that it was not on before.
    let resumed = WatchRequest { from: Some(Revision(first[2].0 + 1)), ..request };
    let other = nodes.iter().position(|node| node.options.name != format!("m{}", watched + 1));
    let mut watch = nodes[other.unwrap()].store.watch(resumed).await.unwrap();
    assert_eq!(collect(&mut watch, 1).await, [(revision(&reply), "4".to_owned())]);
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_move_of_leadership_fails_no_request() {
    let lab = Lab::new();
    let nodes = three(&lab).await;
    let done = CancellationToken::new();
    let writers =
        (0..6).map(|writer| write_until(nodes[writer % 3].store.clone(), writer, done.clone()));
    let moves = async {
        for _ in 0..3 {
            let leader = leader_of(&nodes, None).await;
            let before = nodes[leader].store.id();
            nodes[(leader + 1) % 3].store.transfer_leadership().await.unwrap();
            leader_of(&nodes, Some(before)).await;
        }
        done.cancel();
    };
    let (written, ()) = tokio::join!(join_all(writers), moves);
    // Every acknowledged write was applied once: versions count them.
    for (writer, count) in written.into_iter().enumerate() {
        let request = RangeRequest::new(KeyRange::key(format!("w{writer}")));
        let reply = nodes[0].store.range(request).await.unwrap();
        assert_eq!(reply.kvs[0].version, count, "writer {writer}");
    }
    stop(nodes).await;
}

/// Writes `w{writer}` one version after the other; every write must be answered.
pub(crate) async fn write_until(store: Store, writer: usize, done: CancellationToken) -> u64 {
    let mut written = 0u64;
    while !done.is_cancelled() {
        let reply = store.txn(put(&format!("w{writer}"), &written.to_string())).await.unwrap();
        assert!(reply.succeeded);
        written += 1;
    }
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_leader_loses_and_repeats_no_write_and_no_event() {
    let lab = Lab::new();
    let mut nodes = three(&lab).await;
    let leader = leader_of(&nodes, None).await;
    nodes.rotate_left(leader);
    let request =
        WatchRequest { range: KeyRange::prefix("w"), from: Some(Revision(2)), previous: false };
    let mut watch = nodes[1].store.watch(request).await.unwrap();
    let done = CancellationToken::new();
    let survivors = [nodes[1].store.clone(), nodes[2].store.clone()];
    let writers = (0..6).map(|n| write_until(survivors[n % 2].clone(), n, done.clone()));
    let crash = async {
        eventually("writes", async || survivors[0].revision().0 >= 100).await;
        nodes.remove(0).store.crash();
        let at = survivors[0].revision().0;
        eventually("writes go on", async || survivors[0].revision().0 >= at + 100).await;
        done.cancel();
    };
    let (written, ()) = tokio::join!(join_all(writers), crash);
    let last = nodes[0].store.read_index().await.unwrap();
    // Versions count the writes: one each, in order, also as events.
    let mut versions = vec![0; written.len()];
    loop {
        let batch = watch.recv().await.unwrap();
        for event in &batch.events {
            let writer: usize = std::str::from_utf8(&event.kv.key[1..]).unwrap().parse().unwrap();
            versions[writer] += 1;
            assert_eq!(event.kv.version, versions[writer], "writer {writer}");
            assert_eq!(event.kv.value, (versions[writer] - 1).to_string(), "writer {writer}");
        }
        if batch.revision >= last {
            break;
        }
    }
    assert_eq!(versions, written);
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_member_serves_only_what_is_up_to_date() {
    let lab = Lab::new();
    let mut nodes = three(&lab).await;
    let leader = leader_of(&nodes, None).await;
    nodes.rotate_left(leader);
    let stopped = nodes.remove(1).stop().await;
    nodes[0].store.txn(put("a", "while away")).await.unwrap();
    let back = Node::reopen(stopped).await;
    back.store.ready().await.unwrap();
    let local = RangeRequest { consistency: Consistency::Serializable, ..all() };
    assert_eq!(dump(&back.store, local).await, "a=while away@2");
    nodes.push(back);
    // A leader that stops hands over first.
    let stopped = nodes.remove(0).stop().await;
    nodes[0].store.txn(put("a", "without it")).await.unwrap();
    let back = Node::reopen(stopped).await;
    assert!(!back.store.is_ready());
    back.store.ready().await.unwrap();
    back.store.txn(put("a", "again")).await.unwrap();
    nodes.push(back);
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_comes_back_after_a_full_stop() {
    let lab = Lab::new();
    let nodes = three(&lab).await;
    let writes = (0..60).map(|n| {
        let store = &nodes[n % 3].store;
        async move { store.txn(put(&format!("k{n}"), "x")).await }
    });
    join_all(writes).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    let mut stopped = Vec::new();
    for node in nodes {
        stopped.push(node.stop().await);
    }
    // One after the other, so that the first two must find each other.
    let mut nodes = Vec::new();
    for left in stopped {
        nodes.push(Node::reopen(left).await);
    }
    for node in &nodes {
        node.store.ready().await.unwrap();
        let reply = node.store.range(all()).await.unwrap();
        assert_eq!((reply.count, reply.revision), (60, Revision(61)));
    }
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_an_error_and_leaves_the_folder_free() {
    let lab = Lab::new();
    let folder = Folder::new();
    let mut options = lab.options("m1", folder.path().to_owned(), Start::Bootstrap);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = std::mem::replace(&mut options.listen, taken.local_addr().unwrap());
    let refused = Store::open(options.clone(), &Tasks::new()).await.unwrap_err().to_string();
    assert!(refused.contains("cannot serve peers on"), "{refused}");
    options.listen = free;
    eventually("the folder is free", async || {
        match Store::open(options.clone(), &Tasks::new()).await {
            Ok(store) => store.shutdown().await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_moves_tells_the_cluster_where_it_is() {
    let lab = Lab::new();
    let mut nodes = three(&lab).await;
    let leader = leader_of(&nodes, None).await;
    nodes.rotate_left(leader);
    let (mut options, folder) = nodes.remove(1).stop().await;
    options.listen = free_address();
    options.peer_address = options.listen.to_string();
    let moved = Node::reopen((options.clone(), folder)).await;
    let id = moved.store.id();
    eventually("the new address is known", async || {
        let members = nodes[0].store.members();
        members.iter().any(|member| {
            member.id == id && member.peer_address == options.peer_address && member.voter
        })
    })
    .await;
    moved.store.ready().await.unwrap();
    nodes.push(moved);
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_far_behind_gets_a_snapshot() {
    let lab = Lab::new();
    let first = Node::start(&lab, "m1", Start::Bootstrap).await;
    for round in 0..10 {
        let writes = (0..100).map(|n| first.store.txn(put(&format!("k{n}"), &round.to_string())));
        join_all(writes).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    }
    first.store.compact(Revision(900)).await.unwrap();
    first.store.snapshot_and_purge().await.unwrap();
    let second = Node::start(&lab, "m2", Start::Join).await;
    let request = WatchRequest { range: KeyRange::key("late"), from: None, previous: false };
    let mut watch = second.store.watch(request).await.unwrap();
    first.store.add_member(second.member()).await.unwrap();
    second.store.ready().await.unwrap();
    let at = first.store.read_index().await.unwrap();
    assert_eq!(
        second.store.hash(Some(at)).await.unwrap(),
        first.store.hash(Some(at)).await.unwrap()
    );
    // The watch lived through the change of the state under it: it may not skip what it cannot
    // know any more.
    assert!(matches!(watch.recv().await, Err(kontiki_raft::WatchError::Compacted { .. })));
    stop(vec![first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused() {
    let lab = Lab::new();
    let other = Lab::new();
    let first = Node::start(&lab, "m1", Start::Bootstrap).await;
    // Another authority: no TLS. The same authority, another cluster: no handshake.
    let foreign = Node::start(&other, "x1", Start::Join).await;
    let folder = Folder::new();
    let options = lab.options("m2", folder.path().to_owned(), Start::Bootstrap);
    let elsewhere = Store::open(options.clone(), &Tasks::new()).await.unwrap();
    elsewhere.txn(put("mine", "1")).await.unwrap();
    let wrong = Member {
        id: elsewhere.id(),
        name: "m2".to_owned(),
        peer_address: options.peer_address.clone(),
        api_address: String::new(),
        client_address: String::new(),
        voter: false,
    };
    let refused = first.store.add_member(foreign.member()).await.unwrap_err().to_string();
    assert!(refused.contains(&foreign.options.peer_address), "{refused}");
    let refused = first.store.add_member(wrong).await.unwrap_err().to_string();
    let own = format!("data folder belongs to cluster {:016x}", elsewhere.cluster_id());
    assert!(refused.contains(&own), "{refused}");
    assert_eq!(foreign.store.cluster_id(), 0);
    assert_eq!(dump(&elsewhere, all()).await, "mine=1@2");
    assert_eq!(first.store.members().len(), 1);
    elsewhere.shutdown().await.unwrap();
    stop(vec![first, foreign]).await;
}
