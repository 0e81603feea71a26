//! Files that are not what was written: a member serves exactly what it acknowledged, or it
//! refuses, naming the file.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use kontiki_base::tasks::{Tasks, render};
use kontiki_raft::{Error, Revision, Start, Store};
use tokio::time::timeout;

use crate::lab::{Folder, Lab, all, dump, put};

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// A bit flips, so many percent into the file.
    Flip(usize),
    /// The file ends after so many percent of it.
    Cut(usize),
    /// Its last byte is gone.
    CutLast,
    Gone,
}

const DAMAGES: [Damage; 8] = [
    Damage::Flip(0),
    Damage::Flip(30),
    Damage::Flip(60),
    Damage::Flip(99),
    Damage::Cut(0),
    Damage::Cut(50),
    Damage::CutLast,
    Damage::Gone,
];

fn damage(path: &Path, how: Damage) {
    if let Damage::Gone = how {
        return fs::remove_file(path).unwrap();
    }
    let mut bytes = fs::read(path).unwrap();
    let length = bytes.len();
    match how {
        Damage::Flip(percent) => bytes[(length - 1) * percent / 100] ^= 0x10,
        Damage::Cut(percent) => bytes.truncate(length * percent / 100),
        Damage::CutLast => bytes.truncate(length - 1),
        Damage::Gone => unreachable!("it is removed above"),
    }
    fs::write(path, bytes).unwrap();
}

/// A member that has lived: tables and write-ahead logs on both sides, a purged log.
async fn lived(lab: &Lab, folder: &Path) -> (String, (Revision, u64)) {
    for life in 0..3 {
        let store = lab.open("m1", folder, Start::Bootstrap).await;
        for number in 0..40 {
            let padding = "x".repeat(900);
            store.txn(put(&format!("k{number}"), &format!("{life} {padding}"))).await.unwrap();
        }
        if life == 1 {
            store.snapshot_and_purge().await.unwrap();
        }
        if life < 2 {
            store.shutdown().await.unwrap();
            continue;
        }
        let held = (dump(&store, all()).await, store.hash(None).await.unwrap());
        store.shutdown().await.unwrap();
        return held;
    }
    unreachable!("it returns in its last life")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Files of a kind below a folder, by the beginning or the end of their names.
fn files(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(kind) || name.ends_with(kind) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What became of a member with a damaged file.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Exact,
    Refused(String),
    Stopped(String),
    Wrong(String),
}

async fn read_everything(store: &Store) -> Result<(String, (Revision, u64)), Error> {
    store.ready().await?;
    store.range(all()).await?;
    Ok((dump(store, all()).await, store.hash(None).await?))
}

async fn outcome(lab: &Lab, folder: &Path, held: &(String, (Revision, u64))) -> Outcome {
    let tasks = Tasks::new();
    let options = lab.options("m1", folder.to_owned(), Start::Bootstrap);
    let store = match Store::open(options, &tasks).await {
        Ok(store) => store,
        Err(error) => return Outcome::Refused(render(&error)),
    };
    let read = tokio::select! { biased;
        () = async { tasks.shutdown().cancelled().await } => None,
        read = timeout(Duration::from_secs(20), read_everything(&store)) => read.ok(),
    };
    let outcome = match read {
        Some(Ok(found)) if found == *held => Outcome::Exact,
        Some(Ok((found, _))) => Outcome::Wrong(found),
        // Whoever reads damage stops the member.
        Some(Err(_)) | None => {
            let stopped = async { tasks.shutdown().cancelled().await };
            match timeout(Duration::from_secs(10), stopped).await {
                Ok(()) => Outcome::Stopped(tasks.failure().unwrap_or_default().to_owned()),
                Err(_) => Outcome::Wrong("it goes on".to_owned()),
            }
        }
    };
    let _ = store.shutdown().await;
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_refused_by_name_or_do_no_harm() {
    let (lab, template) = (Lab::new(), Folder::new());
    let held = lived(&lab, template.path()).await;
    let root = template.path();
    let kinds = [
        ("log", ".log"),
        ("log", ".sst"),
        ("log", "MANIFEST-"),
        ("log", "CURRENT"),
        ("log", "SYNCED"),
        ("state/000001", ".sst"),
        ("state/000001", "MANIFEST-"),
        ("state/000001", "CURRENT"),
        ("state", "CURRENT"),
    ];
    let mut found = [0, 0];
    let mut wrong = Vec::new();
    for (folder, kind) in kinds {
        let paths = files(&root.join(folder), kind);
        let path = paths.last().unwrap_or_else(|| panic!("no {kind} in {folder}"));
        let name = path.file_name().unwrap().to_str().unwrap();
        for how in DAMAGES {
            let broken = Folder::new();
            copy(root, broken.path());
            damage(&broken.path().join(folder).join(name), how);
            match outcome(&lab, broken.path(), &held).await {
                Outcome::Exact => found[0] += 1,
                Outcome::Refused(why) | Outcome::Stopped(why) => {
                    found[1] += 1;
                    // A log that is cut or gone is told by the mark, or by what is missing.
                    let named = why.contains(name) || why.contains("had been made durable");
                    if !named || !why.contains("let it join again") {
                        wrong.push(format!("{folder}/{name} {how:?}: {why}"));
                    }
                }
                other => wrong.push(format!("{folder}/{name} {how:?}: {other:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(found[1] > found[0], "{} went unseen, {} were found", found[0], found[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_went_back_in_time_is_refused() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    store.txn(put("a", "1")).await.unwrap();
    store.shutdown().await.unwrap();
    drop(store);
    let old = Folder::new();
    copy(&folder.path().join("state"), old.path());
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    for number in 0..10 {
        store.txn(put("a", &number.to_string())).await.unwrap();
    }
    store.snapshot_and_purge().await.unwrap();
    store.shutdown().await.unwrap();
    drop(store);
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    copy(old.path(), &folder.path().join("state"));
    let options = lab.options("m1", folder.path().to_owned(), Start::Bootstrap);
    let error = render(&Store::open(options, &Tasks::new()).await.err().unwrap());
    assert!(error.contains("the state ends with entry"), "{error}");
    assert!(error.contains("let it join again"), "{error}");
}
