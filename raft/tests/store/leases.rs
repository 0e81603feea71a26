//! Leases, compaction and retention as their users see them.

use std::time::Duration;

use kontiki_base::tasks::Tasks;
use kontiki_raft::{
    Error, KeyRange, LeaseGrant, LeaseId, Refusal, Retention, Revision, Start, Store, WatchRequest,
};
use tokio::time::Instant;

use crate::{
    cluster::{leader_of, stop, three},
    lab::{Folder, Lab, all, all_at, dump, put, put_with},
};

fn chosen(id: i64, millis: u64) -> LeaseGrant {
    LeaseGrant { id: Some(LeaseId(id)), ttl: Duration::from_millis(millis), together: true }
}

fn not_found<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Refused(Refusal::LeaseNotFound { .. })))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_the_same_through_every_member() {
    let lab = Lab::new();
    let nodes = three(&lab).await;
    let [a, b, c] = [0, 1, 2].map(|n| &nodes[n].store);
    let granted = a.lease_grant(chosen(7, 60_000)).await.unwrap();
    assert_eq!((granted.id, granted.ttl), (LeaseId(7), Duration::from_secs(60)));
    let again = b.lease_grant(chosen(7, 60_000)).await;
    assert!(matches!(again, Err(Error::Refused(Refusal::LeaseExists { .. }))), "{again:?}");
    let other = b.lease_grant(LeaseGrant { id: None, ..chosen(0, 10) }).await.unwrap();
    assert_eq!(other.ttl, Duration::from_secs(1));
    for key in ["a1", "a2"] {
        c.txn(put_with(key, "x", LeaseId(7))).await.unwrap();
    }
    for store in [a, b, c] {
        assert_eq!(store.lease_keep_alive(LeaseId(7)).await.unwrap(), granted.ttl);
        let status = store.lease_time_to_live(LeaseId(7), true).await.unwrap();
        assert_eq!((status.granted, status.keys), (granted.ttl, vec!["a1".into(), "a2".into()]));
        assert!(status.remaining > Duration::from_secs(50) && status.remaining <= granted.ttl);
        assert!(store.leases().await.unwrap().contains(&LeaseId(7)));
        assert!(not_found(&store.lease_keep_alive(LeaseId(8)).await));
        assert!(not_found(&store.lease_time_to_live(LeaseId(8), false).await));
    }
    let before = a.read_index().await.unwrap();
    b.lease_revoke(LeaseId(7)).await.unwrap();
    assert!(not_found(&c.lease_revoke(LeaseId(7)).await));
    assert!(not_found(&a.lease_keep_alive(LeaseId(7)).await));
    assert_eq!(dump(c, all()).await, "");
    // Both keys at one revision; the other lease has none, and takes none.
    assert_eq!(c.read_index().await.unwrap(), Revision(before.0 + 1));
    stop(nodes).await;
}

/// When the first key of a watch is deleted.
async fn deleted(store: &Store, from: Revision) -> Instant {
    let range = KeyRange::prefix("a");
    let request = WatchRequest { range, from: Some(from), previous: false };
    let mut watch = store.watch(request).await.unwrap();
    while watch.recv().await.unwrap().events.is_empty() {}
    Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_outlives_its_leader_and_is_not_shortened() {
    let lab = Lab::new();
    let mut nodes = three(&lab).await;
    let leader = nodes.remove(leader_of(&nodes, None).await);
    let store = &nodes[0].store;
    let ttl = Duration::from_secs(2);
    store.lease_grant(chosen(7, 2_000)).await.unwrap();
    let reply = store.txn(put_with("a", "x", LeaseId(7))).await.unwrap();
    let (from, gone) = (Revision(reply.revision.0 + 1), leader.store.id());
    leader.store.crash();
    leader_of(&nodes, Some(gone)).await;
    store.lease_keep_alive(LeaseId(7)).await.unwrap();
    let renewed = Instant::now();
    let ended = deleted(store, from).await.duration_since(renewed);
    assert!(ended + Duration::from_millis(100) >= ttl, "it ended after {ended:?}");
    assert!(ended < ttl * 3, "it ended after {ended:?}");
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compacted_is_dropped_and_stays_dropped() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    for round in 0..30 {
        for key in ["a", "b", "c"] {
            store.txn(put(key, &round.to_string())).await.unwrap();
        }
    }
    store.compact(Revision(80)).await.unwrap();
    let hash = store.hash(None).await.unwrap();
    store.reclaimed(Revision(80)).await.unwrap();
    assert_eq!(store.hash(None).await.unwrap(), hash);
    store.shutdown().await.unwrap();
    drop(store);
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    store.reclaimed(Revision(80)).await.unwrap();
    assert_eq!(store.hash(None).await.unwrap(), hash);
    assert!(matches!(store.range(all_at(79)).await, Err(Error::Compacted { .. })));
    assert_eq!(dump(&store, all_at(80)).await, "a=26@80 b=25@78 c=25@79");
    store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn history_goes_when_it_is_old_enough() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let mut options = lab.options("m1", folder.path().to_owned(), Start::Bootstrap);
    let period = Some(Duration::from_secs(1));
    options.tuning.retention = Retention { revisions: Some(5), period };
    let store = Store::open(options, &Tasks::new()).await.unwrap();
    for n in 0..20 {
        store.txn(put("a", &n.to_string())).await.unwrap();
    }
    store.reclaimed(Revision(16)).await.unwrap();
    assert_eq!(dump(&store, all_at(16)).await, "a=14@16");
    assert!(matches!(store.range(all_at(15)).await, Err(Error::Compacted { .. })));
    store.shutdown().await.unwrap();
}
