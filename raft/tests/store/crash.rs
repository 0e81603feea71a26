//! Killed at any moment, a member starts again with everything it acknowledged.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use kontiki_base::tasks::Tasks;
use kontiki_raft::{Error, KeyRange, RangeRequest, Revision, Start, Store};

use crate::lab::{Folder, Lab, put};

const FOLDER: &str = "KONTIKI_TEST_CRASH_FOLDER";
const WRITERS: usize = 8;

/// The process that is killed: writes, and says on its standard output what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    // Only a victim when another test made it one.
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let lab = Lab::new();
    let store = lab.open("m1", Path::new(&folder), Start::Bootstrap).await;
    let writers = (0..WRITERS).map(|writer| write(store.clone(), writer));
    futures::future::join_all(writers).await;
}

async fn write(store: Store, writer: usize) {
    let key = format!("w{writer}");
    let padding = "x".repeat(1_000);
    for number in 1u64.. {
        let reply = store.txn(put(&key, &format!("{number} {padding}"))).await.unwrap();
        if number.is_multiple_of(40) {
            let _ = store.compact(Revision(reply.revision.0 - 20)).await;
        }
        if number.is_multiple_of(100) && writer == 0 {
            store.snapshot_and_purge().await.unwrap();
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {writer} {number}").unwrap();
    }
}

fn start_victim(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::victim", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the victim behind so many acknowledgements; returns the last of each writer.
fn kill_behind(mut victim: Child, acknowledgements: usize) -> Vec<u64> {
    let mut last = vec![0; WRITERS];
    let mut seen = 0;
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        let line = line.unwrap();
        // The test harness writes its own lines, the first one without an end.
        let Some((_, acknowledged)) = line.split_once("acknowledged ") else { continue };
        let (writer, number) = acknowledged.split_once(' ').unwrap();
        last[writer.parse::<usize>().unwrap()] = number.parse().unwrap();
        seen += 1;
        if seen == acknowledgements {
            victim.kill().unwrap();
        }
    }
    victim.wait().unwrap();
    assert!(seen >= acknowledgements, "the victim ended by itself after {seen}");
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_member_has_everything_it_acknowledged() {
    let (lab, folder) = (Lab::new(), Folder::new());
    let mut before = [0; WRITERS];
    for acknowledgements in [1, 60, 300, 777] {
        let path = folder.path().to_owned();
        let killed = move || kill_behind(start_victim(&path), acknowledgements);
        let acknowledged = tokio::task::spawn_blocking(killed).await.unwrap();

        let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
        store.ready().await.unwrap();
        for (writer, last) in acknowledged.iter().enumerate() {
            let request = RangeRequest::new(KeyRange::key(format!("w{writer}")));
            let reply = store.range(request).await.unwrap();
            let found = reply.kvs.first();
            let (number, version) = found.map_or((0, 0), |kv| {
                let text = String::from_utf8(kv.value.to_vec()).unwrap();
                let number: u64 = text.split(' ').next().unwrap().parse().unwrap();
                (number, kv.version)
            });
            // One write more than acknowledged may have been on its way.
            let fresh = version - before[writer];
            assert!(
                number >= *last && fresh >= *last && fresh <= last + 1,
                "writer {writer}: acknowledged {last}, found {number} as write {fresh}"
            );
            before[writer] = version;
        }
        store.shutdown().await.unwrap();
    }
}

/// The newest write-ahead log of a stopped member.
fn write_ahead_log(folder: &Path) -> std::path::PathBuf {
    let mut logs: Vec<_> = std::fs::read_dir(folder.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    logs.pop().unwrap()
}

async fn some_writes(lab: &Lab, folder: &Path) {
    let store = lab.open("m1", folder, Start::Bootstrap).await;
    for number in 0..20 {
        store.txn(put("a", &number.to_string())).await.unwrap();
    }
    store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_of_the_log_is_what_a_crash_leaves() {
    let (lab, folder) = (Lab::new(), Folder::new());
    some_writes(&lab, folder.path()).await;
    let mut log =
        std::fs::OpenOptions::new().append(true).open(write_ahead_log(folder.path())).unwrap();
    // The beginning of a record that never got its end.
    log.write_all(&[0x5a, 0x11, 0x22, 0x33, 0xff, 0x0f, 0x01, 1, 2, 3]).unwrap();
    drop(log);
    let store = lab.open("m1", folder.path(), Start::Bootstrap).await;
    store.ready().await.unwrap();
    assert_eq!(store.revision(), Revision(21));
    store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_refused_instead_of_forgotten() {
    let (lab, folder) = (Lab::new(), Folder::new());
    some_writes(&lab, folder.path()).await;
    let path = write_ahead_log(folder.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&path, bytes).unwrap();
    let options = lab.options("m1", folder.path().to_owned(), Start::Bootstrap);
    match Store::open(options, &Tasks::new()).await {
        Err(Error::DataFolder { reason, .. }) => assert!(reason.contains("orrupt"), "{reason}"),
        other => panic!("opened a damaged log: {other:?}"),
    }
}
