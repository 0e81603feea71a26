//! Members whose disks are slow or full, and members that hold something else than the others.

use std::{fs, path::PathBuf, sync::Arc};

use futures::future::join_all;
use kontiki_base::CancellationToken;
use kontiki_raft::Start;
use tokio::process::Command;

use crate::{
    lab::{Folder, Lab, eventually},
    pause::{check_counter, raise},
    process::{Process, leader_first, three, write_options},
};

/// Waits until all members hold the same, and says the revision.
async fn level(members: &[Process]) -> u64 {
    let revision = members[0].number("index").await;
    for member in members {
        eventually("the same revision", async || member.number("revision").await >= revision).await;
    }
    revision
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_a_slow_disk_gives_leadership_away_once() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    leader_first(&mut members).await;
    let members = Arc::new(members);
    let slow = &members[0];
    slow.must("trap log.flush=sleep:350").await;
    let done = CancellationToken::new();
    let raising = (0..6).map(|n| {
        let (members, done) = (members.clone(), done.clone());
        async move { raise(&members[1 + n % 2], "counter", &done).await }
    });
    let moved = async {
        let own = slow.id.to_string();
        eventually("another leader", async || {
            let leader = members[1].must("leader").await;
            leader != own && leader != "0"
        })
        .await;
        let before = members[1].number("revision").await;
        eventually("quick writes", async || members[1].number("revision").await > before + 50)
            .await;
        done.cancel();
    };
    let (raised, ()) = tokio::join!(join_all(raising), moved);
    check_counter(&members[1], "counter", &raised).await;
    let said = slow.said();
    assert!(said.contains("the disk of the log is slow"), "{said}");
    assert_eq!(said.matches("handing leadership over").count(), 1, "{said}");
    assert!(said.contains("reason=its disk is slow fsync_p99="), "{said}");
    eventually("a counted move", async || {
        slow.must("metric kontiki_store_sick_leader_handovers_total").await == "1"
    })
    .await;
    assert_eq!(slow.must("ailments").await, "SlowDisk");
    // Who is late waits longer for others.
    eventually("wider time-outs", async || {
        let timeout = slow.must("metric kontiki_store_election_timeout_seconds").await;
        timeout.parse::<f64>().unwrap() > 0.6
    })
    .await;
    assert!(said.contains("election time-outs widen"), "{said}");
    slow.must("trap ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_outs_that_widened_narrow_again_when_the_disk_is_well() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    leader_first(&mut members).await;
    let [leader, slow, other] = members.as_slice() else { panic!("three members") };
    let term = leader.must("term").await;
    let timeout = async |member: &Process| {
        let timeout = member.must("metric kontiki_store_election_timeout_seconds").await;
        timeout.parse::<f64>().unwrap()
    };
    let calm = timeout(slow).await;
    assert!(calm > 0.0, "it has not been felt yet");
    slow.must("trap log.flush=sleep:350").await;
    eventually("time-outs twice as wide", async || {
        leader.must("put a x").await;
        timeout(slow).await > calm * 1.5
    })
    .await;
    slow.must("trap ").await;
    // They may have widened twice: each step back takes ten calm seconds.
    for step in ["narrower", "as before"] {
        eventually(step, async || {
            leader.must("put a y").await;
            let now = timeout(slow).await;
            now < calm * 1.1 || (step == "narrower" && slow.said().contains("narrow again"))
        })
        .await;
    }
    let said = slow.said();
    assert!(said.contains("election time-outs widen"), "{said}");
    assert!(said.contains("election time-outs narrow again"), "{said}");
    assert_eq!(slow.must("ailments").await, "");
    assert!((timeout(other).await - calm).abs() < f64::EPSILON, "one follower is not the others");
    assert_eq!(leader.must("term").await, term);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_never_answers_is_followed_by_another() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    leader_first(&mut members).await;
    members[0].must("put a x").await;
    let revision = level(&members).await;
    let hung = members.remove(0);
    hung.must("trap log.flush=sleep:3600000").await;
    // Nobody knows what becomes of what the hung member is asked; others go on without it.
    members[0].must("put b x").await;
    eventually("another leader", async || {
        let leader = members[1].number("leader").await;
        leader != hung.id && leader != 0
    })
    .await;
    assert!(hung.said().contains("handing leadership over reason=its disk is slow"));
    for number in 0..20 {
        members[number % 2].must(&format!("put c{number} x")).await;
    }
    assert_eq!(hung.must("peek a").await, "x 1", "what it had, it still tells");
    assert_eq!(hung.must("ailments").await, "SlowDisk");
    // A machine with such a disk is switched off, and is none the worse for it with another.
    let back = Process::open(hung.kill().await, "").await.unwrap();
    back.must("ready").await;
    members.push(back);
    assert!(level(&members).await > revision);
    let revision = level(&members).await;
    let order = format!("hash {revision}");
    assert_eq!(members[2].must(&order).await, members[0].must(&order).await);
}

/// A member whose data folder is a small disk of its own, in a mount namespace of its own.
async fn start_on_small_disk(lab: &Lab, start: Start) -> Process {
    let folder = Arc::new(Folder::new());
    let mut options = lab.options("m1", folder.path().to_owned(), start);
    options.tuning.disk_reserve = Some(24 << 20);
    write_options(&options, folder.path());
    fs::create_dir(folder.path().join("data")).unwrap();
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let mount = "mount -t tmpfs -o size=192m none \"$0\" && exec \"$@\"";
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", mount])
        .arg(folder.path().join("data"))
        .arg(std::env::current_exe().unwrap());
    let started = Process::open_with(folder.clone(), command, "").await;
    started
        .unwrap_or_else(|error| panic!("mounting a tmpfs needs root or user namespaces: {error}"))
}

/// A file that fills a member's disk, seen from outside of its namespace.
fn filler(member: &Process) -> PathBuf {
    let inside = member.folder.path().join("data/filler");
    let outside = inside.strip_prefix("/").unwrap();
    PathBuf::from(format!("/proc/{}/root", member.pid())).join(outside)
}

/// Leaves so many bytes.
fn leave(member: &Process, bytes: u64) {
    let path = filler(member);
    let _ = fs::remove_file(&path);
    let disk = rustix::fs::statvfs(path.parent().unwrap()).unwrap();
    let size = (disk.f_bavail * disk.f_frsize).saturating_sub(bytes);
    fs::write(&path, vec![1; usize::try_from(size).unwrap()]).unwrap();
}

async fn ails(member: &Process, of: &str) {
    eventually(of, async || member.must("ailments").await == of).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_puts_and_nothing_else_until_there_is_room() {
    let lab = Lab::new();
    let member = start_on_small_disk(&lab, Start::Bootstrap).await;
    member.must("put a x").await;
    leave(&member, 16 << 20);
    ails(&member, "NoSpace").await;
    let refused = member.tell("put b x").await.unwrap_err();
    assert!(refused.contains("no majority of the voters has room"), "{refused}");
    assert_eq!(member.must("get a").await, "x 1");
    let revision = member.must("delete a").await;
    member.must(&format!("compact {revision}")).await;
    assert_eq!(member.must("get a").await, "0 0");
    assert_eq!(member.must("get b").await, "0 0", "a refused put has not happened");
    fs::remove_file(filler(&member)).unwrap();
    ails(&member, "").await;
    member.must("put b x").await;
    let said = member.said();
    assert!(said.contains("the disk of the data folder is full room=Full available="), "{said}");
    assert!(said.contains("puts are taken again"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_a_full_disk_neither_leads_nor_stops_the_others() {
    let lab = Lab::new();
    let first = start_on_small_disk(&lab, Start::Bootstrap).await;
    let second = Process::start(&lab, "m2", Start::Join).await;
    let third = Process::start(&lab, "m3", Start::Join).await;
    first.add(&second).await;
    first.add(&third).await;
    let members = [first, second, third];
    for member in &members {
        eventually("three voters", async || member.number("voters").await == 3).await;
        member.must("ready").await;
    }
    let full = &members[0];
    eventually("it leads", async || {
        full.must("leads").await == "true" || {
            let _ = members[1].tell("transfer").await;
            false
        }
    })
    .await;
    leave(full, 16 << 20);
    let own = full.id.to_string();
    eventually("another leader", async || {
        let leader = members[1].must("leader").await;
        leader != own && leader != "0"
    })
    .await;
    assert!(full.said().contains("reason=its disk is full"), "{}", full.said());
    // Through any member, puts go on; with hardly any room, they go on without it.
    for (at, member) in members.iter().enumerate() {
        member.must(&format!("put p{at} x")).await;
    }
    leave(full, 4 << 20);
    eventually("it takes no more", async || full.said().contains("room=Critical")).await;
    let before = full.number("revision").await;
    for number in 0..20 {
        members[1].must(&format!("fill q{number} 1000")).await;
    }
    assert!(full.number("revision").await < before + 20, "it took what it has no room for");
    fs::remove_file(filler(full)).unwrap();
    level(&members[1..]).await;
    ails(full, "").await;
    let revision = members[1].number("index").await;
    eventually("it catches up", async || full.number("revision").await >= revision).await;
    let order = format!("hash {revision}");
    assert_eq!(full.must(&order).await, members[1].must(&order).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_cannot_append_stops_and_the_others_go_on() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    leader_first(&mut members).await;
    members[1].must("trap log.append=full@1").await;
    members[0].must("put a x").await;
    let member = members.remove(1);
    let folder = member.ended().await;
    assert!(member.said().contains("No space left on device"), "{}", member.said());
    members[0].must("put b x").await;
    members.push(Process::open(folder, "").await.unwrap());
    members[2].must("ready").await;
    let revision = level(&members).await;
    let order = format!("hash {revision}");
    assert_eq!(members[2].must(&order).await, members[0].must(&order).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_one_out_serves_no_more() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    leader_first(&mut members).await;
    for number in 0..20 {
        members[0].must(&format!("put k{number} x")).await;
    }
    level(&members).await;
    assert_eq!(members[0].must("compare").await, "");
    members[1].must("corrupt k7").await;
    assert_eq!(members[0].must("compare").await, members[1].id.to_string());
    assert_eq!(members[0].must("metric kontiki_store_hash_mismatch_total").await, "1");
    for order in ["get k1", "peek k1", "put k1 y", "index"] {
        let refused = members[1].tell(order).await.unwrap_err();
        assert!(refused.contains("this member is corrupt"), "{order}: {refused}");
    }
    assert_eq!(members[1].must("serves").await, "false");
    assert_eq!(members[0].must("serves").await, "true");
    let said = members[1].said();
    assert!(said.contains("it refuses to serve: this member cannot be repaired"), "{said}");
    // It does not forget.
    let odd = members.remove(1);
    let odd = Process::open(odd.kill().await, "").await.unwrap();
    assert!(odd.tell("get k1").await.unwrap_err().contains("this member is corrupt"));
    assert_eq!(odd.must("ailments").await, "Corrupt");
    members[0].must("put k1 y").await;
    assert_eq!(members[1].must("get k1").await, "y 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_the_odd_one_out_leads_no_more() {
    let lab = Lab::new();
    let mut members = three(&lab).await;
    leader_first(&mut members).await;
    members[0].must("put k x").await;
    level(&members).await;
    let own = members[0].id.to_string();
    members[0].must("corrupt k").await;
    assert_eq!(members[0].must("compare").await, own);
    eventually("another leader", async || {
        let leader = members[1].must("leader").await;
        leader != own && leader != "0"
    })
    .await;
    members[1].must("put k y").await;
    assert_eq!(members[2].must("get k").await, "y 2");
    assert!(members[0].said().contains("reason=its state differs"), "{}", members[0].said());
}
