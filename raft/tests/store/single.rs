//! A cluster of one.

use std::time::Duration;

use kontiki_base::tasks::Tasks;
use kontiki_raft::{
    Compare, Delete, Error, Fence, KeyRange, LeaseGrant, LeaseId, Op, OpResult, Refusal, Revision,
    Start, Store, Txn, WatchBatch, WatchError, WatchEventKind, WatchRequest,
};

use crate::lab::{Folder, Lab, all, all_at, delete, dump, put, put_if, put_with, revision};

fn watch_from(from: u64) -> WatchRequest {
    WatchRequest { range: KeyRange::prefix("a"), from: Some(Revision(from)), previous: false }
}

fn render(batch: &WatchBatch) -> String {
    let events: Vec<String> = batch
        .events
        .iter()
        .map(|event| {
            let key = String::from_utf8_lossy(&event.kv.key).into_owned();
            match event.kind {
                WatchEventKind::Put => {
                    format!("{key}={}", String::from_utf8_lossy(&event.kv.value))
                }
                WatchEventKind::Delete => format!("-{key}"),
            }
        })
        .collect();
    format!("{}@{}", events.join(","), batch.revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_starts_again_knows_the_members_at_once() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    store.ready().await.unwrap();
    let id = store.id();
    store.shutdown().await.unwrap();
    drop(store);
    for _ in 0..8 {
        let store = lab.open("m1", folder.path(), Start::Join).await;
        let members: Vec<_> = store.members().iter().map(|member| member.id).collect();
        assert_eq!(members, [id]);
        store.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_read_watched_and_survive_a_restart() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    store.ready().await.unwrap();
    let mut live = store.watch(watch_from(2)).await.unwrap();
    assert_eq!(revision(&store.txn(put("a1", "x")).await.unwrap()), 2);
    assert_eq!(revision(&store.txn(put("b", "y")).await.unwrap()), 3);
    let stale = store.txn(put_if("a1", "z", Revision(9))).await.unwrap();
    assert_eq!((stale.succeeded, revision(&stale)), (false, 3));
    store.txn(put_if("a1", "z", Revision(2))).await.unwrap();
    store.txn(delete("a1")).await.unwrap();
    assert_eq!(dump(&store, all()).await, "b=y@3");
    let before = all_at(4);
    assert_eq!(dump(&store, before.clone()).await, "a1=z@4 b=y@3");

    let mut seen = Vec::new();
    while seen.len() < 3 {
        let batch = live.recv().await.unwrap();
        if !batch.events.is_empty() {
            seen.push(render(&batch));
        }
    }
    assert_eq!(seen, ["a1=x@2", "a1=z@4", "-a1@5"]);

    let (id, cluster) = (store.id(), store.cluster_id());
    let hash = store.hash(None).await.unwrap();
    store.shutdown().await.unwrap();
    drop((store, live));

    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    store.ready().await.unwrap();
    assert_eq!((store.id(), store.cluster_id()), (id, cluster));
    assert_eq!(store.revision(), Revision(5));
    assert_eq!(store.hash(None).await.unwrap(), hash);
    assert_eq!(dump(&store, before).await, "a1=z@4 b=y@3");
    let mut replayed = store.watch(watch_from(4)).await.unwrap();
    assert_eq!(render(&replayed.recv().await.unwrap()), "a1=z@4");
    assert_eq!(render(&replayed.recv().await.unwrap()), "-a1@5");
    store.txn(put("a2", "w")).await.unwrap();
    assert_eq!(render(&replayed.recv().await.unwrap()), "a2=w@6");
    store.shutdown().await.unwrap();
    assert!(matches!(replayed.recv().await, Err(WatchError::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_watch_reports_progress_and_answers_when_asked() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    let mut watch = store.watch(watch_from(2)).await.unwrap();
    let reply = store.txn(put("b", "y")).await.unwrap();
    watch.progress_request().request();
    let progress = loop {
        let batch = watch.recv().await.unwrap();
        assert!(batch.events.is_empty());
        if batch.revision >= reply.revision {
            break batch.revision;
        }
    };
    assert_eq!(progress, reply.revision);
    store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_sets_a_floor_for_reads_and_watches() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    for value in ["1", "2", "3"] {
        store.txn(put("a", value)).await.unwrap();
    }
    store.compact(Revision(3)).await.unwrap();
    assert!(matches!(store.compact(Revision(3)).await, Err(Error::Compacted { .. })));
    assert!(matches!(
        store.range(all_at(2)).await,
        Err(Error::Compacted { requested: Revision(2), oldest: Revision(3) })
    ));
    assert_eq!(dump(&store, all_at(3)).await, "a=2@3");
    assert!(matches!(store.watch(watch_from(2)).await, Err(Error::Compacted { .. })));
    let mut watch = store.watch(watch_from(3)).await.unwrap();
    assert_eq!(render(&watch.recv().await.unwrap()), "a=2@3");
    assert!(matches!(store.range(all_at(99)).await, Err(Error::FutureRevision { .. })));
    assert!(matches!(store.compact(Revision(99)).await, Err(Error::FutureRevision { .. })));
    store.shutdown().await.unwrap();
}

fn brief() -> LeaseGrant {
    LeaseGrant { id: None, ttl: Duration::from_millis(100), together: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_lease_takes_its_keys_along() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    let lease = store.lease_grant(brief()).await.unwrap().id;
    let mut watch = store.watch(watch_from(2)).await.unwrap();
    store.txn(put_with("a1", "x", lease)).await.unwrap();
    store.txn(put_with("a2", "x", lease)).await.unwrap();
    store.txn(put("a2", "detached")).await.unwrap();
    let mut seen = String::new();
    while !seen.contains('-') {
        seen = render(&watch.recv().await.unwrap());
    }
    assert_eq!(seen, "-a1@5");
    assert_eq!(dump(&store, all()).await, "a2=detached@4");
    let gone = store.txn(put_with("a3", "x", lease)).await;
    assert!(matches!(gone, Err(Error::Refused(Refusal::LeaseNotFound { .. }))));
    let never = store.txn(put_with("a3", "x", LeaseId(999))).await;
    assert!(matches!(never, Err(Error::Refused(Refusal::LeaseNotFound { .. }))));
    store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_another_leadership_is_refused() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    let mut leadership = store.leadership();
    let own = leadership.wait_for(|now| now.fence.is_some()).await.unwrap().fence.unwrap();
    let fenced = |fence| Txn { fence: Some(fence), ..put("a", "x") };
    store.txn(fenced(own)).await.unwrap();
    let before = Fence { term: own.term - 1, ..own };
    let refused = store.txn(fenced(before)).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::Fenced { .. }))), "{refused:?}");
    store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_is_too_large_for_one_transaction_is_done_in_several() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    store.ready().await.unwrap();
    let value = "x".repeat(1 << 20);
    for number in 0..12 {
        store.txn(put(&format!("a{number:02}"), &value)).await.unwrap();
    }
    let before = revision(&store.txn(put("b", "y")).await.unwrap());
    let mut watch = store.watch(watch_from(before + 1)).await.unwrap();
    let whole = Delete::new(KeyRange::prefix("a"));

    // What must be one transaction is refused, and nothing has happened.
    let previous = Delete { previous: true, ..whole.clone() };
    let compared =
        Txn { compares: vec![Compare::absent("c")], ..Txn::of([Op::Delete(whole.clone())]) };
    let Op::Put(beside) = put("c", "z").success.remove(0) else { panic!("a put") };
    for txn in [
        Txn::of([Op::Delete(previous)]),
        compared,
        Txn::of([Op::Put(beside), Op::Delete(whole.clone())]),
    ] {
        let refused = store.txn(txn).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::TooLarge { .. }))), "{refused:?}");
    }
    assert_eq!(store.revision(), Revision(before));

    let done = store.txn(Txn::of([Op::Delete(whole.clone())])).await.unwrap();
    assert!(done.succeeded);
    assert_eq!(done.results, [OpResult::Delete { deleted: 12, previous: Vec::new() }]);
    assert!(done.revision.0 > before + 1, "in one revision");
    assert_eq!(dump(&store, all()).await, format!("b=y@{before}"));
    let (mut seen, mut last) = (Vec::new(), before);
    while seen.len() < 12 {
        let batch = watch.recv().await.unwrap();
        assert!(batch.revision.0 > last || batch.events.is_empty());
        last = batch.revision.0;
        seen.extend(batch.events.iter().map(|event| event.kv.key.clone()));
    }
    let all_keys: Vec<_> = (0..12).map(|number| format!("a{number:02}")).collect();
    assert_eq!(seen, all_keys);
    assert_eq!(last, done.revision.0);

    // What fits is one transaction.
    store.txn(put("a1", "x")).await.unwrap();
    store.txn(put("a2", "x")).await.unwrap();
    let once = store.txn(Txn::of([Op::Delete(whole)])).await.unwrap();
    assert_eq!(once.revision.0, done.revision.0 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_large_entries_do_not_make_the_log_large() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let mut options = lab.options("m1", folder.path().to_owned(), Start::Bootstrap);
    options.tuning.log_bytes = 8 << 20;
    let store = Store::open(options, &Tasks::new()).await.unwrap();
    store.ready().await.unwrap();
    let value = "x".repeat(1 << 20);
    for _ in 0..300 {
        store.txn(put("a", &value)).await.unwrap();
    }
    let log = folder.path().join("log");
    let bytes = || -> u64 {
        let files = std::fs::read_dir(&log).unwrap();
        files.map(|file| file.unwrap().metadata().map_or(0, |file| file.len())).sum()
    };
    let small = async {
        while bytes() > 150 << 20 {
            store.txn(put("a", &value)).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), small).await;
    assert!(waited.is_ok(), "{} bytes are left of the log", bytes());
    store.shutdown().await.unwrap();
}
