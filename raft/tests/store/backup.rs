//! Backups, restoring them, and going on after a quorum is lost for ever.

use std::path::{Path, PathBuf};

use futures::StreamExt;
use kontiki_base::tasks::Tasks;
use kontiki_raft::{
    Error, KeyRange, RangeRequest, Revision, Start, Store, WatchRequest,
    backup::{self, Attachment, Backup},
};

use crate::{
    cluster::{Node, leader_of, stop, three},
    lab::{Folder, Lab, all, delete, dump, put},
};

/// Takes a backup to its end and writes it down.
pub(crate) async fn download(mut backup: Backup, path: &Path) {
    let mut bytes = Vec::new();
    while let Some(piece) = backup.next().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(bytes.len() as u64, backup.bytes, "the size is announced");
    std::fs::write(path, bytes).unwrap();
}

/// Opens a folder whose only member is this one, and waits until it serves.
pub(crate) async fn reopen(lab: &Lab, store: &Path) -> Store {
    let store = lab.open("m1", store, Start::Join).await;
    store.ready().await.unwrap();
    store
}

fn store_of(folder: &Folder, name: &str) -> PathBuf {
    folder.path().join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_into_a_new_life() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let first = lab.open("m1", &store_of(&folder, "one"), Start::Bootstrap).await;
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")] {
        first.txn(put(key, value)).await.unwrap();
    }
    first.txn(delete("c")).await.unwrap();
    let path = store_of(&folder, "backup");
    let note = Attachment { name: "note".to_owned(), contents: "kept".into() };
    let backup = first.backup(vec![note.clone()]).await.unwrap();
    // What comes later is not in it.
    first.txn(put("late", "5")).await.unwrap();
    download(backup, &path).await;
    let (at, hash) = first.hash(Some(Revision(6))).await.unwrap();
    first.shutdown().await.unwrap();

    let inspection = backup::inspect(&path).unwrap();
    let manifest = &inspection.manifest;
    assert_eq!((manifest.revision, manifest.keys, manifest.hash), (at, 2, hash));
    assert_eq!((manifest.member, manifest.cluster), (first.id(), first.cluster_id()));
    assert_eq!(inspection.attachments, [note]);

    let fresh = store_of(&folder, "restored");
    let (_, reborn) = backup::restore(&path, &fresh, "m1").unwrap();
    assert_eq!((reborn.before, reborn.revision), (Revision(6), Revision(1_000_000_006)));
    assert_ne!(reborn.member, first.id());
    assert_eq!(reborn.generation, manifest.generation + 1);
    let again = backup::restore(&path, &fresh, "m1").unwrap_err().to_string();
    assert!(again.contains("it holds a store already"), "{again}");

    let restored = reopen(&lab, &fresh).await;
    assert_eq!((restored.id(), restored.cluster_id()), (reborn.member, reborn.cluster));
    assert_eq!(dump(&restored, all()).await, "a=3@4 b=2@3");
    assert_eq!(restored.revision(), reborn.revision);
    // Whoever watched or read at a revision of before has to begin anew.
    let watch = WatchRequest { range: KeyRange::key("a"), from: Some(at), previous: false };
    assert!(matches!(restored.watch(watch).await, Err(Error::Compacted { .. })));
    let mut old = RangeRequest::new(KeyRange::key("a"));
    old.query.revision = Some(at);
    assert!(matches!(restored.range(old).await, Err(Error::Compacted { .. })));
    let next = restored.txn(put("a", "new")).await.unwrap();
    assert_eq!(next.revision, Revision(reborn.revision.0 + 1));
    restored.shutdown().await.unwrap();
    drop(restored);
    // A restart finds what the restored store has become.
    let restarted = reopen(&lab, &fresh).await;
    assert_eq!(dump(&restarted, RangeRequest::new(KeyRange::key("a"))).await, "a=new@1000000007");
    restarted.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_folder_is_backed_up_without_being_changed() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let one = store_of(&folder, "one");
    let first = lab.open("m1", &one, Start::Bootstrap).await;
    first.txn(put("a", "1")).await.unwrap();
    first.snapshot_and_purge().await.unwrap();
    first.txn(put("b", "2")).await.unwrap();
    // Not flushed: the second write is in the log only.
    first.crash();
    drop(first);
    let path = store_of(&folder, "backup");
    let manifest = when_free(|| backup::save_folder(&one, &path, vec![])).await;
    assert_eq!((manifest.keys, manifest.revision), (2, Revision(3)));
    assert_eq!(backup::inspect(&path).unwrap().manifest, manifest);
    let first = reopen(&lab, &one).await;
    assert_eq!(dump(&first, all()).await, "a=1@2 b=2@3");
    let (_, hash) = first.hash(Some(Revision(3))).await.unwrap();
    assert_eq!(hash, manifest.hash);
    first.shutdown().await.unwrap();
}

/// A crashed store lets go of its files a moment later.
async fn when_free<T>(attempt: impl Fn() -> Result<T, backup::BackupError>) -> T {
    let start = std::time::Instant::now();
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => assert!(start.elapsed().as_secs() < 10, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_no_store_is_refused() {
    let folder = Folder::new();
    let error = backup::survey(folder.path()).unwrap_err().to_string();
    assert!(error.contains("name the data folder of a server"), "{error}");
    // A member that was never added has nothing to offer.
    let lab = Lab::new();
    let waiting = store_of(&folder, "waiting");
    let options = lab.options("m1", waiting.clone(), Start::Join);
    Store::open(options, &Tasks::new()).await.unwrap().shutdown().await.unwrap();
    let error = backup::survey(&waiting).unwrap_err().to_string();
    assert!(error.contains("never part of a cluster"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_quorum_is_recovered_from_the_best_survivor() {
    let lab = Lab::new();
    let mut nodes = three(&lab).await;
    let leader = leader_of(&nodes, None).await;
    nodes.rotate_left(leader);
    for number in 0..20 {
        nodes[0].store.txn(put(&format!("k{number}"), "x")).await.unwrap();
    }
    // The last member misses the end; the leader is lost for ever, and so is the second's process.
    let behind = nodes.pop().unwrap().stop().await;
    nodes[0].store.txn(put("last", "acknowledged")).await.unwrap();
    let mut stopped = vec![behind];
    for node in nodes {
        node.store.crash();
        stopped.push((node.options.clone(), node.folder));
        drop(node.store);
    }
    let [behind, lost, survivor] = <[_; 3]>::try_from(stopped).ok().unwrap();
    let mut survivors = Vec::new();
    for (options, _) in [&behind, &survivor] {
        survivors.push(when_free(|| backup::survey(&options.data_dir)).await);
    }
    let best = backup::most_advanced(&survivors).unwrap().unwrap();
    assert_eq!(best.store, survivor.0.data_dir);
    assert_eq!(best.members.len(), 3);
    let (reborn, kept) = backup::recover(best, &survivor.0.data_dir, "m1").unwrap();
    assert!(kept.unwrap().join("log").is_dir(), "nothing is thrown away");

    let recovered = Node::reopen(survivor).await;
    recovered.store.ready().await.unwrap();
    let last = RangeRequest::new(KeyRange::key("last"));
    assert!(dump(&recovered.store, last).await.starts_with("last=acknowledged@"));
    assert_eq!(recovered.store.id(), reborn.member);
    assert!(recovered.store.revision() >= reborn.revision);
    assert_eq!(recovered.store.members().len(), 1);

    // Those of before are refused, and cannot lead a cluster of their own against the new one.
    let stale = Node::reopen(behind).await;
    let old = stale.member();
    let refused = recovered.store.add_member(old).await.unwrap_err().to_string();
    assert!(refused.contains("belongs to cluster") || refused.contains("generation"), "{refused}");
    let (options, _folder) = stale.stop().await;
    drop(lost);
    // With empty folders they come back.
    let fresh = Node::start(&lab, "m2", Start::Join).await;
    recovered.store.add_member(fresh.member()).await.unwrap();
    fresh.store.ready().await.unwrap();
    assert!(dump(&fresh.store, all()).await.contains("last=acknowledged"));
    assert_ne!(fresh.options.data_dir, options.data_dir);
    stop(vec![recovered, fresh]).await;
}
