//! Data folders that released versions have written, and this one must be able to open.
//!
//! `tests/data/RELEASE/store` is a member's folder, `tests/data/RELEASE/contents` what is in it.
//! A release adds its own: `KONTIKI_WRITE_DATA_FOLDER=1 cargo nextest run -p kontiki-raft stored`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use kontiki_raft::{LeaseGrant, LeaseId, RangeRequest, Revision, Start, Store};

use crate::lab::{Folder, Lab, all, delete, put, put_with};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// Something of everything that is stored.
async fn write(store: &Store) {
    for number in 1..=3 {
        store.txn(put("versions", &number.to_string())).await.unwrap();
    }
    store.txn(put("gone", "1")).await.unwrap();
    store.compact(Revision(3)).await.unwrap();
    let id = Some(LeaseId(77));
    let grant = LeaseGrant { id, ttl: Duration::from_secs(86_400), together: false };
    store.lease_grant(grant).await.unwrap();
    store.txn(put_with("leased", "x", LeaseId(77))).await.unwrap();
    // What is before this is in the state only, what is behind it in the log as well.
    store.snapshot_and_purge().await.unwrap();
    store.txn(delete("gone")).await.unwrap();
    store.txn(put("binary\0key", "value")).await.unwrap();
}

/// All that is in a store, as text.
async fn contents(store: &Store) -> String {
    let now = store.revision();
    let mut lines = vec![format!("revision {now} cluster {:016x}", store.cluster_id())];
    for revision in 4..=now.0 {
        let mut at: RangeRequest = all();
        at.query.revision = Some(Revision(revision));
        for kv in store.range(at).await.unwrap().kvs {
            lines.push(format!(
                "@{revision} {:?} = {:?} create {} mod {} version {} lease {}",
                kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease.0
            ));
        }
    }
    lines.push(format!("leases {:?}", store.leases().await.unwrap()));
    let members = store.members();
    lines.extend(members.iter().map(|m| format!("member {} {} voter {}", m.id, m.name, m.voter)));
    lines.push(format!("hash {:016x}", store.hash(Some(now)).await.unwrap().1));
    lines.join("\n") + "\n"
}

async fn open(lab: &Lab, folder: &Path) -> Store {
    let store = lab.open("m1", folder, Start::Join).await;
    store.ready().await.unwrap();
    store
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else if name != "LOCK" && !name.starts_with("LOG") {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_release_stores_is_there_after_a_restart() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    write(&store).await;
    let written = contents(&store).await;
    store.shutdown().await.unwrap();
    drop(store);
    if std::env::var_os("KONTIKI_WRITE_DATA_FOLDER").is_some() {
        let target = data().join(env!("CARGO_PKG_VERSION"));
        let _ = fs::remove_dir_all(&target);
        copy(folder.path(), &target.join("store"));
        fs::write(target.join("contents"), &written).unwrap();
    }
    let store = open(&lab, folder.path()).await;
    assert_eq!(contents(&store).await, written);
    store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_earlier_releases_are_opened() {
    let lab = Lab::new();
    let releases: Vec<PathBuf> =
        fs::read_dir(data()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!releases.is_empty(), "no folder of any release");
    for release in releases {
        let folder = Folder::new();
        copy(&release.join("store"), folder.path());
        let store = open(&lab, folder.path()).await;
        let expected = fs::read_to_string(release.join("contents")).unwrap();
        assert_eq!(contents(&store).await, expected, "{}", release.display());
        store.txn(put("goes", "on")).await.unwrap();
        store.shutdown().await.unwrap();
    }
}
