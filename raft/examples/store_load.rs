//! Three members in three processes, driven through the store's own handle: the consensus core
//! without any API before it.
//!
//! ```text
//! store_load puts:64 gets:256 puts:64 kill:20 transfer:20      # scenario:clients or times
//! options: seconds=5 keys=100000 bytes=256 fill=0 members=3
//! ```
//!
//! The parent starts the members as children of itself and tells them over their standard input
//! what to do. CPU seconds are those of the members with their share of the clients in them, from
//! `/proc`; they compare where wall-clock time does not, on a machine that others use.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool for those who build the store"
)]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kontiki_base::{
    pki::{Authority, CertificateRequest, Usage},
    tasks::{TaskKind, Tasks},
    telemetry::LogFormat,
    tls::{Identity, Roots},
};
use kontiki_raft::{
    Consistency, KeyRange, Member, MemberId, Op, Options, PeerTls, Put, RangeRequest, Start, Store,
    Timing, Txn,
};
use tokio::time::Instant;

fn main() {
    let mut args = std::env::args().skip(1);
    let first = args.next();
    if first.as_deref() == Some("member") {
        let args: Vec<String> = args.collect();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(member(&args));
        return;
    }
    drive(first.into_iter().chain(args).collect());
}

// ---- a member ----

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

async fn member(args: &[String]) {
    let [name, folder, listen, start] = args else { panic!("name folder listen start") };
    let folder = PathBuf::from(folder);
    let _ = kontiki_base::telemetry::init("error", LogFormat::Text);
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let options = Options {
        data_dir: folder.join("data"),
        name: name.clone(),
        listen: listen.parse().unwrap(),
        peer_address: listen.clone(),
        api_address: format!("{name}:6443"),
        client_address: String::new(),
        tls: PeerTls {
            identity: Identity { chain_pem: read("cert.pem"), key_pem: read("key.pem") },
            roots: Roots { pem: read("roots.pem") },
        },
        timing: Timing::default(),
        tuning: kontiki_raft::Tuning::default(),
        start: if start == "bootstrap" { Start::Bootstrap } else { Start::Join },
    };
    let tasks = Tasks::new();
    let began = Instant::now();
    let store = Store::open(options, &tasks).await.unwrap();
    println!("open {} {}", store.id().0, began.elapsed().as_millis());
    let (lines, mut commands) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            lines.blocking_send(line.unwrap()).unwrap();
        }
    });
    while let Some(line) = commands.recv().await {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[0] {
            "add" => add(&store, &words).await,
            "ready" => {
                store.ready().await.unwrap();
                let voters: usize = words[1].parse().unwrap();
                while store.members().iter().filter(|member| member.voter).count() != voters {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                format!("ready {}", began.elapsed().as_millis())
            }
            "transfer" => {
                let began = Instant::now();
                let outcome = store.transfer_leadership().await;
                format!("{} {}", u8::from(outcome.is_ok()), began.elapsed().as_micros())
            }
            _ => obey(&store, &words, &folder).await,
        };
        println!("{answer}");
    }
    store.shutdown().await.unwrap();
}

async fn add(store: &Store, words: &[&str]) -> String {
    let name = words[2].to_owned();
    let member = Member {
        id: MemberId(words[1].parse().unwrap()),
        api_address: format!("{name}:6443"),
        name,
        peer_address: words[3].to_owned(),
        client_address: String::new(),
        voter: false,
    };
    store.add_member(member).await.unwrap();
    "added".to_owned()
}

async fn obey(store: &Store, words: &[&str], folder: &Path) -> String {
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    match words[0] {
        "leader" => u8::from(store.leadership().borrow().fence.is_some()).to_string(),
        "fill" => {
            fill(store, number(1)..number(2), number(3)).await;
            "filled".to_owned()
        }
        "purge" => {
            store.snapshot_and_purge().await.unwrap();
            "purged".to_owned()
        }
        "compact" => {
            store.compact(store.revision()).await.unwrap();
            "compacted".to_owned()
        }
        kind => {
            let load = Load {
                kind: Kind::parse(kind),
                clients: number(1),
                time: Duration::from_millis(number(2)),
                keys: number(3),
                bytes: number(4),
            };
            load.run(store, folder).await
        }
    }
}

fn value(bytes: u64, seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(usize::try_from(bytes).unwrap() + 8);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while out.len() < usize::try_from(bytes).unwrap() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Compresses to about a half, as such values do.
        out.extend(&state.to_le_bytes()[..4]);
        out.extend(*b"aaaa");
    }
    out.truncate(usize::try_from(bytes).unwrap());
    out
}

fn key(number: u64) -> Vec<u8> {
    format!("/load/{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes()
}

fn put(number: u64, bytes: u64) -> Op {
    Op::Put(Put::new(key(number), value(bytes, number)))
}

async fn fill(store: &Store, numbers: std::ops::Range<u64>, bytes: u64) {
    const CHUNK: u64 = 64;
    let next = Arc::new(AtomicU64::new(numbers.start));
    let tasks = Tasks::new();
    let writers = (0..16).map(|_| {
        let (store, next, end) = (store.clone(), next.clone(), numbers.end);
        tasks.spawn_infallible(TaskKind::vital("fill"), async move {
            loop {
                let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                if from >= end {
                    return;
                }
                let success = (from..end.min(from + CHUNK)).map(|n| put(n, bytes)).collect();
                store.txn(Txn { success, ..Txn::default() }).await.unwrap();
            }
        })
    });
    futures::future::join_all(writers).await;
}

#[derive(Clone, Copy)]
enum Kind {
    Puts,
    Gets,
    Local,
    Mixed,
    Idle,
}

impl Kind {
    fn parse(name: &str) -> Kind {
        match name {
            "puts" => Kind::Puts,
            "gets" => Kind::Gets,
            "local" => Kind::Local,
            "mixed" => Kind::Mixed,
            "idle" => Kind::Idle,
            other => panic!("unknown load {other}"),
        }
    }
}

#[derive(Clone, Copy)]
struct Load {
    kind: Kind,
    clients: u64,
    time: Duration,
    keys: u64,
    bytes: u64,
}

#[derive(Default)]
struct Outcome {
    micros: Vec<u32>,
    acknowledged: Vec<Instant>,
    failed: u64,
}

impl Load {
    /// Runs, writes latencies to a file, and says: operations, failures, longest gap in
    /// microseconds between two successes, fsyncs.
    async fn run(self, store: &Store, folder: &Path) -> String {
        if matches!(self.kind, Kind::Idle) {
            tokio::time::sleep(self.time).await;
            std::fs::write(folder.join("micros"), []).unwrap();
            return format!("0 0 0 {}", fsyncs());
        }
        let before = fsyncs();
        let deadline = Instant::now() + self.time;
        let tasks = Tasks::new();
        let (sender, mut outcomes) = tokio::sync::mpsc::channel(16);
        for client in 0..self.clients {
            let (store, sender) = (store.clone(), sender.clone());
            tasks.spawn_infallible(TaskKind::vital("client"), async move {
                let outcome = self.client(&store, client, deadline).await;
                sender.send(outcome).await.ok().unwrap();
            });
        }
        drop(sender);
        let mut all = Outcome::default();
        while let Some(one) = outcomes.recv().await {
            all.micros.extend(one.micros);
            all.acknowledged.extend(one.acknowledged);
            all.failed += one.failed;
        }
        all.acknowledged.sort_unstable();
        let gaps = all.acknowledged.windows(2).map(|pair| (pair[1] - pair[0]).as_micros());
        let gap = gaps.max().unwrap_or_default();
        let bytes: Vec<u8> = all.micros.iter().flat_map(|micros| micros.to_le_bytes()).collect();
        std::fs::write(folder.join("micros"), bytes).unwrap();
        format!("{} {} {gap} {}", all.micros.len(), all.failed, fsyncs() - before)
    }

    async fn client(self, store: &Store, client: u64, deadline: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let mut state = client.wrapping_mul(0x9e37_79b9) + u64::from(std::process::id()) + 1;
        while Instant::now() < deadline {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let number = (state >> 20) % self.keys;
            let begun = Instant::now();
            let writes = match self.kind {
                Kind::Puts => true,
                Kind::Mixed => state.is_multiple_of(5),
                _ => false,
            };
            let done = if writes {
                let success = vec![put(number, self.bytes)];
                store.txn(Txn { success, ..Txn::default() }).await.is_ok()
            } else {
                let mut request = RangeRequest::new(KeyRange::key(key(number)));
                if matches!(self.kind, Kind::Local) {
                    request.consistency = Consistency::Serializable;
                }
                store.range(request).await.is_ok()
            };
            if done {
                let now = Instant::now();
                outcome.micros.push(u32::try_from((now - begun).as_micros()).unwrap());
                outcome.acknowledged.push(now);
            } else {
                outcome.failed += 1;
            }
        }
        outcome
    }
}

fn fsyncs() -> u64 {
    let families = prometheus::gather();
    let fsync = families.iter().find(|f| f.name() == "etcd_disk_wal_fsync_duration_seconds");
    fsync.map_or(0, |family| family.get_metric()[0].get_histogram().get_sample_count())
}

// ---- the parent ----

struct Process {
    child: Child,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
    listen: String,
    name: String,
    id: u64,
    open_millis: String,
}

impl Process {
    fn start(folder: &Path, name: &str, listen: &str, start: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["member", name, folder.to_str().unwrap(), listen, start])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let (listen, name) = (listen.to_owned(), name.to_owned());
        let folder = folder.to_owned();
        let open_millis = String::new();
        let mut process = Process { child, answers, folder, listen, name, id: 0, open_millis };
        let opened = process.answer();
        let words: Vec<&str> = opened.split(' ').collect();
        process.id = words[1].parse().unwrap();
        process.open_millis = words[2].to_owned();
        process
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.answer()
    }

    fn leads(&mut self) -> bool {
        self.ask("leader") == "1"
    }

    /// CPU in milliseconds.
    fn cpu(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        (ticks(11) + ticks(12)) * 10
    }

    /// Resident memory, and how much of it is not backed by files, in MB.
    fn resident(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
        };
        (field("VmRSS:"), field("RssAnon:"))
    }
}

fn folder_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => folder_bytes(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

struct Settings(HashMap<&'static str, u64>);

impl Settings {
    fn get(&self, name: &'static str) -> u64 {
        self.0[name]
    }
}

fn drive(args: Vec<String>) {
    let defaults = [("seconds", 5), ("keys", 100_000), ("bytes", 256), ("fill", 0), ("members", 3)];
    let mut settings = Settings(HashMap::from(defaults));
    let mut scenarios = Vec::new();
    for arg in args {
        if let Some((name, number)) = arg.split_once('=') {
            let known = settings.0.iter_mut().find(|(known, _)| **known == name);
            *known.unwrap().1 = number.parse().unwrap();
        } else {
            scenarios.push(arg);
        }
    }
    let root = tempfile::tempdir_in(std::env::var("STORE_LOAD_DIR").unwrap_or("/var/tmp".into()));
    let root = root.unwrap();
    let mut members = start(root.path(), settings.get("members"));
    let fill = settings.get("fill");
    if fill > 0 {
        let cpu: u64 = members.iter().map(Process::cpu).sum();
        let leader = members.iter_mut().position(Process::leads).unwrap();
        members[leader].ask(&format!("fill 0 {fill} {}", settings.get("bytes")));
        let spent = members.iter().map(Process::cpu).sum::<u64>() - cpu;
        println!("filled {fill} keys with {spent} ms of CPU");
        memory(&members);
    }
    println!(
        "{:<12}{:>10}{:>9}{:>9}{:>9}{:>10}{:>10}{:>9}{:>8}",
        "load", "ops/s", "p50 ms", "p99 ms", "max ms", "cpu us/op", "leader", "fsync/op", "failed"
    );
    for scenario in &scenarios {
        let (kind, amount) = scenario.split_once(':').unwrap_or((scenario, "1"));
        let amount: u64 = amount.parse().unwrap();
        match kind {
            "kill" => kill(&mut members, amount),
            "transfer" => transfer(&mut members, amount),
            "memory" => memory(&members),
            "compact" => drop(members[0].ask("compact")),
            "purge" => members.iter_mut().for_each(|member| drop(member.ask("purge"))),
            "restart" => restart(&mut members),
            kind => load(&mut members, kind, amount, &settings),
        }
    }
    for member in &mut members {
        drop(member.child.stdin.take());
    }
    for member in &mut members {
        member.child.wait().unwrap();
    }
}

fn start(root: &Path, count: u64) -> Vec<Process> {
    let authority = Authority::generate("kontiki-store").unwrap();
    let mut members: Vec<Process> = Vec::new();
    for number in 0..count {
        let name = format!("m{number}");
        let folder = root.join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        let listen = free_address();
        let request = CertificateRequest::serving(&name, vec![], vec![listen.ip()], Usage::Peer);
        let identity = authority.issue(&request).unwrap();
        std::fs::write(folder.join("cert.pem"), &identity.chain_pem).unwrap();
        std::fs::write(folder.join("key.pem"), &identity.key_pem).unwrap();
        std::fs::write(folder.join("roots.pem"), &authority.certificate_pem).unwrap();
        let how = if number == 0 { "bootstrap" } else { "join" };
        let member = Process::start(&folder, &name, &listen.to_string(), how);
        if let Some(first) = members.first_mut() {
            first.ask(&format!("add {} {} {}", member.id, member.name, member.listen));
        }
        members.push(member);
    }
    for member in &mut members {
        member.ask(&format!("ready {count}"));
    }
    members
}

fn load(members: &mut [Process], kind: &str, clients: u64, settings: &Settings) {
    let leader = members.iter_mut().position(Process::leads).unwrap();
    let before: Vec<u64> = members.iter().map(Process::cpu).collect();
    let count = members.len() as u64;
    let began = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seconds = settings.get("seconds");
    for (number, member) in members.iter_mut().enumerate() {
        let share = (clients + count - 1 - number as u64) / count;
        let (keys, bytes) = (settings.get("keys"), settings.get("bytes"));
        member.say(&format!("{kind} {share} {} {keys} {bytes}", seconds * 1_000));
    }
    let mut micros: Vec<u32> = Vec::new();
    let (mut failed, mut syncs) = (0, 0);
    for member in members.iter_mut() {
        let answer = member.answer();
        let words: Vec<u64> = answer.split(' ').map(|word| word.parse().unwrap()).collect();
        failed += words[1];
        syncs += words[3];
        let bytes = std::fs::read(member.folder.join("micros")).unwrap();
        micros.extend(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    }
    let took = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() - began;
    let spent: Vec<u64> = members.iter().zip(before).map(|(m, before)| m.cpu() - before).collect();
    let total: u64 = spent.iter().sum();
    if kind == "idle" {
        println!("idle: {spent:?} ms of CPU in {seconds} s");
        return;
    }
    micros.sort_unstable();
    let at = |part: f64| {
        let index = (micros.len() as f64 * part) as usize;
        f64::from(micros[index.min(micros.len() - 1)]) / 1e3
    };
    let ops = micros.len() as f64;
    println!(
        "{:<12}{:>10.0}{:>9.2}{:>9.2}{:>9.2}{:>10.1}{:>10.1}{:>9.3}{:>8}",
        format!("{kind}:{clients}"),
        ops / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        total as f64 * 1e3 / ops,
        spent[leader] as f64 * 1e3 / ops,
        syncs as f64 / ops,
        failed
    );
}

fn memory(members: &[Process]) {
    for member in members {
        let (resident, anonymous) = member.resident();
        let disk = folder_bytes(&member.folder.join("data")) >> 20;
        println!(
            "{}: {resident} MB resident, {anonymous} of it anonymous, {disk} MB on disk",
            member.name
        );
    }
}

/// Stops and starts a follower, and says how long it took until it served.
fn restart(members: &mut [Process]) {
    let follower = members.iter_mut().position(|member| !member.leads()).unwrap();
    restart_one(members, follower, false);
    println!("restart: open {} ms", members[follower].open_millis);
}

fn restart_one(members: &mut [Process], number: usize, kill: bool) {
    let count = members.len();
    let member = &mut members[number];
    if kill {
        member.child.kill().unwrap();
    }
    drop(member.child.stdin.take());
    member.child.wait().unwrap();
    *member = Process::start(&member.folder, &member.name, &member.listen, "join");
    let ready = member.ask(&format!("ready {count}"));
    println!("  {} is {ready} ms", member.name);
}

fn gaps(mut gaps: Vec<u64>, what: &str) {
    gaps.sort_unstable();
    println!(
        "{what}: longest gap between writes p50 {} ms, max {} ms: {gaps:?} us",
        gaps[gaps.len() / 2] / 1_000,
        gaps[gaps.len() - 1] / 1_000
    );
}

fn kill(members: &mut [Process], times: u64) {
    let mut found = Vec::new();
    for _ in 0..times {
        let leader = members.iter_mut().position(Process::leads).unwrap();
        for (number, member) in members.iter_mut().enumerate() {
            if number != leader {
                member.say("puts 8 3000 100000 256");
            }
        }
        std::thread::sleep(Duration::from_millis(1_000));
        members[leader].child.kill().unwrap();
        let mut gap = u64::MAX;
        for (number, member) in members.iter_mut().enumerate() {
            if number != leader {
                let answer = member.answer();
                let words: Vec<u64> = answer.split(' ').map(|word| word.parse().unwrap()).collect();
                gap = gap.min(words[2]);
                assert_eq!(words[1], 0, "no write failed");
            }
        }
        found.push(gap);
        restart_one(members, leader, true);
    }
    gaps(found, "kill");
}

fn transfer(members: &mut [Process], times: u64) {
    let (mut found, mut moves) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let leader = members.iter_mut().position(Process::leads).unwrap();
        for (number, member) in members.iter_mut().enumerate() {
            if number != leader {
                member.say("puts 8 1500 100000 256");
            }
        }
        std::thread::sleep(Duration::from_millis(600));
        let moved = members[leader].ask("transfer");
        let words: Vec<u64> = moved.split(' ').map(|word| word.parse().unwrap()).collect();
        assert_eq!(words[0], 1, "the transfer succeeds");
        moves.push(words[1]);
        let mut gap = u64::MAX;
        for (number, member) in members.iter_mut().enumerate() {
            if number != leader {
                let answer = member.answer();
                let words: Vec<u64> = answer.split(' ').map(|word| word.parse().unwrap()).collect();
                gap = gap.min(words[2]);
                assert_eq!(words[1], 0, "no write failed");
            }
        }
        found.push(gap);
        std::thread::sleep(Duration::from_millis(300));
    }
    gaps(moves, "transfer command");
    gaps(found, "transfer");
}
