//! Members as processes of their own: the test binary, started again. They are told what to do
//! on their standard input, a line each, and may be killed, stopped and tripped.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use kontiki_base::{
    tasks::Tasks,
    tls::{Identity, Roots},
};
use kontiki_raft::{
    Consistency, Error, KeyRange, LeaseGrant, LeaseId, Member, MemberId, Options, PeerTls,
    RangeRequest, Refusal, Revision, Start, Store, Timing, Tuning, WatchRequest, failpoints,
};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::oneshot,
};

use crate::lab::{Folder, Lab, eventually, put, put_if};

const FOLDER: &str = "KONTIKI_TEST_MEMBER_FOLDER";
/// What a member says begins so; the test harness writes lines of its own.
const MARK: &str = "member says: ";
/// Whatever it does, it does it within.
const ANSWER_MAX: Duration = Duration::from_secs(40);

/// The process of a member: opens its store and does as it is told until its input ends.
#[tokio::test(flavor = "multi_thread")]
async fn member() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let _lab = Lab::new();
    let tasks = Tasks::new();
    let store = match Store::open(read_options(Path::new(&folder)), &tasks).await {
        Ok(store) => store,
        Err(error) => {
            say(0, &Err(kontiki_base::tasks::render(&error)));
            return;
        }
    };
    say(0, &Ok(store.id().0.to_string()));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let shutdown = tasks.shutdown();
    loop {
        let line = tokio::select! { biased;
            line = lines.next_line() => line.unwrap(),
            () = shutdown.cancelled() => {
                let why = tasks.failure().unwrap_or("it was told to").to_owned();
                say(0, &Err(why));
                // Whoever waits for its standard input would keep the process.
                let _ = kill_process(rustix::process::getpid(), Signal::KILL);
                return;
            }
        };
        let Some(line) = line else { return };
        let (id, order) = line.split_once(' ').unwrap();
        let (id, order, store) = (id.parse().unwrap(), order.to_owned(), store.clone());
        tasks.spawn_infallible(kontiki_base::tasks::TaskKind::logged("order"), async move {
            let outcome = obey(&store, &order).await;
            say(id, &outcome.map_err(|error| kontiki_base::tasks::render(&error)));
        });
    }
}

fn say(id: u64, outcome: &Result<String, String>) {
    use std::io::Write;
    let (word, text) = match outcome {
        Ok(text) => ("ok", text),
        Err(text) => ("error", text),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{MARK}{id} {word} {}", text.replace('\n', " ")).unwrap();
    out.flush().unwrap();
}

async fn obey(store: &Store, order: &str) -> Result<String, Error> {
    let words: Vec<&str> = order.split(' ').collect();
    let done = |()| "done".to_owned();
    match words.as_slice() {
        ["ready"] => store.ready().await.map(done),
        ["put", key, value] => Ok(store.txn(put(key, value)).await?.revision.to_string()),
        ["fill", key, bytes] => {
            let value = "x".repeat(bytes.parse().unwrap());
            Ok(store.txn(put(key, &value)).await?.revision.to_string())
        }
        ["delete", key] => Ok(store.txn(crate::lab::delete(key)).await?.revision.to_string()),
        ["compact", revision] => store.compact(Revision(revision.parse().unwrap())).await.map(done),
        ["get", key] => get(store, key, Consistency::Linearizable).await,
        ["peek", key] => get(store, key, Consistency::Serializable).await,
        ["increment", key] => increment(store, key).await,
        ["index"] => Ok(store.read_index().await?.to_string()),
        ["revision"] => Ok(store.revision().to_string()),
        ["hash"] => {
            let (at, hash) = store.hash(None).await?;
            Ok(format!("{at} {hash:016x}"))
        }
        ["hash", at] => {
            let (_, hash) = store.hash(Some(Revision(at.parse().unwrap()))).await?;
            Ok(format!("{hash:016x}"))
        }
        ["events", from, to] => events(store, from.parse().unwrap(), to.parse().unwrap()).await,
        ["add", id, name, address] => {
            let member = Member {
                name: (*name).to_owned(),
                id: MemberId(id.parse().unwrap()),
                peer_address: (*address).to_owned(),
                api_address: String::new(),
                client_address: String::new(),
                voter: false,
            };
            store.add_member(member).await.map(done)
        }
        ["remove", id] => store.remove_member(MemberId(id.parse().unwrap())).await.map(done),
        ["grant", seconds] => {
            let ttl = Duration::from_secs(seconds.parse().unwrap());
            let grant = LeaseGrant { id: None, ttl, together: false };
            Ok(store.lease_grant(grant).await?.id.0.to_string())
        }
        ["renew", lease] => {
            let renewed = store.lease_keep_alive(LeaseId(lease.parse().unwrap())).await?;
            Ok(renewed.as_secs().to_string())
        }
        ["purge"] => store.snapshot_and_purge().await.map(done),
        ["transfer"] => store.transfer_leadership().await.map(done),
        ["trap", traps @ ..] => {
            failpoints::set(&traps.join(" ")).unwrap();
            Ok("set".to_owned())
        }
        ["corrupt", key] => store.corrupt(key.as_bytes()).map(done),
        ["compare"] => {
            let odd = store.compare_members().await?;
            let odd: Vec<String> = odd.iter().map(|member| member.0.to_string()).collect();
            Ok(odd.join(" "))
        }
        ["stop"] => store.shutdown().await.map(done),
        other => Ok(tell(store, other)),
    }
}

/// What a member knows without asking anyone.
fn tell(store: &Store, words: &[&str]) -> String {
    match words {
        ["voters"] => {
            let voters = store.members().iter().filter(|member| member.voter).count();
            voters.to_string()
        }
        ["leader"] => {
            let leader = store.leadership().borrow().leader;
            leader.map_or(0, |leader| leader.0).to_string()
        }
        ["serves"] => store.is_ready().to_string(),
        ["term"] => store.term().to_string(),
        ["leads"] => store.leadership().borrow().fence.is_some().to_string(),
        ["metric", name] => {
            let text = kontiki_base::telemetry::metrics_text();
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or("none").to_owned()
        }
        ["ailments"] => {
            let all = store.ailments();
            let all: Vec<String> = all.iter().map(|ailment| format!("{ailment:?}")).collect();
            all.join(" ")
        }
        other => panic!("no such order: {other:?}"),
    }
}

/// `value version` of a key.
async fn get(store: &Store, key: &str, consistency: Consistency) -> Result<String, Error> {
    let request = RangeRequest::new(KeyRange::key(key.to_owned()));
    let reply = store.range(RangeRequest { consistency, ..request }).await?;
    let found = reply.kvs.first().map_or_else(
        || "0 0".to_owned(),
        |kv| format!("{} {}", String::from_utf8_lossy(&kv.value), kv.version),
    );
    Ok(found)
}

/// Raises a counter by one if nobody else did meanwhile: `raised N` or `lost`.
async fn increment(store: &Store, key: &str) -> Result<String, Error> {
    let request = RangeRequest::new(KeyRange::key(key.to_owned()));
    // A read that fails says for sure that nothing has happened.
    let Ok(reply) = store.range(request).await else { return Ok("lost".to_owned()) };
    let found = reply.kvs.first();
    let number =
        found.map_or(0, |kv| std::str::from_utf8(&kv.value).unwrap().parse::<u64>().unwrap());
    let at = found.map_or(Revision(0), |kv| kv.mod_revision);
    let next = (number + 1).to_string();
    match store.txn(put_if(key, &next, at)).await {
        Ok(reply) if reply.succeeded => Ok(format!("raised {next}")),
        Ok(_) | Err(Error::TooManyRequests | Error::Refused(Refusal::Fenced { .. })) => {
            Ok("lost".to_owned())
        }
        Err(error) => Err(error),
    }
}

/// All events of the revisions `from..=to`, as `count digest`.
async fn events(store: &Store, from: u64, to: u64) -> Result<String, Error> {
    let request = watch_all(from);
    let mut watch = store.watch(request).await?;
    let mut seen = Vec::new();
    loop {
        let batch = watch
            .recv()
            .await
            .map_err(|error| Error::Declined { reason: format!("the watch has ended: {error}") })?;
        for event in &batch.events {
            let key = String::from_utf8_lossy(&event.kv.key).into_owned();
            seen.push(format!("{:?} {key} {} {}", event.kind, event.kv.version, batch.revision));
        }
        if batch.revision.0 >= to {
            let all = seen.join("\n");
            return Ok(format!("{} {:08x}", seen.len(), crc32fast::hash(all.as_bytes())));
        }
    }
}

fn watch_all(from: u64) -> WatchRequest {
    WatchRequest { range: KeyRange::prefix(""), from: Some(Revision(from)), previous: false }
}

pub(crate) fn write_options(options: &Options, folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("chain.pem", &options.tls.identity.chain_pem);
    write("key.pem", &options.tls.identity.key_pem);
    write("roots.pem", &options.tls.roots.pem);
    let bootstrap = options.start == Start::Bootstrap;
    let reserve = options.tuning.disk_reserve.map_or_else(String::new, |bytes| bytes.to_string());
    let line = format!("{} {} {bootstrap} {reserve}", options.name, options.listen);
    write("options", &line);
}

fn read_options(folder: &Path) -> Options {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let line = read("options");
    let words: Vec<&str> = line.split(' ').collect();
    let listen: SocketAddr = words[1].parse().unwrap();
    let tls = PeerTls {
        identity: Identity { chain_pem: read("chain.pem"), key_pem: read("key.pem") },
        roots: Roots { pem: read("roots.pem") },
    };
    Options {
        data_dir: folder.join("data"),
        name: words[0].to_owned(),
        listen,
        peer_address: listen.to_string(),
        api_address: String::new(),
        client_address: String::new(),
        tls,
        timing: Timing::default(),
        tuning: Tuning {
            disk_reserve: words.get(3).and_then(|bytes| bytes.parse().ok()),
            ..Tuning::default()
        },
        start: if words[2] == "true" { Start::Bootstrap } else { Start::Join },
    }
}

/// Who waits for an answer; `None` once there will be no more.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Result<String, String>>>>>>;

/// A member that runs in a process of its own; it ends with this value.
pub(crate) struct Process {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) folder: Arc<Folder>,
    pid: Pid,
    child: tokio::sync::Mutex<Child>,
    input: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    last: AtomicU64,
}

impl Process {
    /// Starts a member in a new folder.
    pub(crate) async fn start(lab: &Lab, name: &str, start: Start) -> Process {
        let folder = Arc::new(Folder::new());
        write_options(&lab.options(name, folder.path().to_owned(), start), folder.path());
        Process::open(folder, "").await.unwrap()
    }

    /// Starts the member of a folder, with traps; or says why it does not start.
    pub(crate) async fn open(folder: Arc<Folder>, traps: &str) -> Result<Process, String> {
        Process::open_with(folder, Command::new(std::env::current_exe().unwrap()), traps).await
    }

    /// Starts it by a command that ends with the test binary.
    pub(crate) async fn open_with(
        folder: Arc<Folder>,
        mut command: Command,
        traps: &str,
    ) -> Result<Process, String> {
        let options = read_options(folder.path());
        let said = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.path().join("stderr"))
            .unwrap();
        command
            .args(["--exact", "process::member", "--nocapture"])
            .env(FOLDER, folder.path())
            .env("KONTIKI_TEST_LOG", "info,openraft=error")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said)
            .kill_on_drop(true);
        if !traps.is_empty() {
            command.env("KONTIKI_FAILPOINTS", traps);
        }
        let mut child = command.spawn().unwrap();
        let input = tokio::sync::Mutex::new(child.stdin.take().unwrap());
        let output = child.stdout.take().unwrap();
        let (started, begun) = oneshot::channel();
        let waiting = Waiting::new(Mutex::new(Some(HashMap::from([(0, started)]))));
        let listening = waiting.clone();
        let listen = async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Some((_, said)) = line.split_once(MARK) else { continue };
                let mut words = said.splitn(3, ' ');
                let id: u64 = words.next().unwrap().parse().unwrap();
                let good = words.next() == Some("ok");
                let text = words.next().unwrap_or_default().to_owned();
                let waiter = listening.lock().as_mut().and_then(|waiting| waiting.remove(&id));
                if let Some(waiter) = waiter {
                    let _ = waiter.send(if good { Ok(text) } else { Err(text) });
                }
            }
            *listening.lock() = None;
        };
        Tasks::new().spawn_infallible(kontiki_base::tasks::TaskKind::logged("listener"), listen);
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).unwrap())).unwrap();
        let gone = || Err("the process ended before it had started".to_owned());
        let begun = tokio::time::timeout(ANSWER_MAX, begun).await.expect("it starts or ends");
        let id = begun.unwrap_or_else(|_| gone())?.parse().unwrap();
        Ok(Process {
            id,
            name: options.name,
            address: options.listen,
            folder,
            pid,
            child: tokio::sync::Mutex::new(child),
            input,
            waiting,
            last: AtomicU64::new(0),
        })
    }

    /// Gives an order, and returns what comes of it.
    pub(crate) async fn tell(&self, order: &str) -> Result<String, String> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (waiter, answered) = oneshot::channel();
        match self.waiting.lock().as_mut() {
            Some(waiting) => drop(waiting.insert(id, waiter)),
            None => return Err("the process is gone".to_owned()),
        }
        let line = format!("{id} {order}\n");
        let written = self.input.lock().await.write_all(line.as_bytes()).await;
        if written.is_err() {
            return Err("the process is gone".to_owned());
        }
        let answer = tokio::time::timeout(ANSWER_MAX, answered).await;
        let answer = answer.unwrap_or_else(|_| panic!("{order}: no answer\n{}", self.said()));
        answer.unwrap_or_else(|_| Err("the process is gone".to_owned()))
    }

    /// As [`Process::tell`], where nothing may fail.
    pub(crate) async fn must(&self, order: &str) -> String {
        match self.tell(order).await {
            Ok(answer) => answer,
            Err(error) => panic!("{}: {order}: {error}\n{}", self.name, self.said()),
        }
    }

    /// A number that it says.
    pub(crate) async fn number(&self, order: &str) -> u64 {
        self.must(order).await.parse().unwrap()
    }

    /// What it wrote to its log.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits until every thread has stopped after a signal that says so.
    pub(crate) async fn stopped(&self) {
        let tasks = format!("/proc/{}/task", self.pid.as_raw_nonzero());
        eventually("every thread stopped", async || {
            std::fs::read_dir(&tasks).unwrap().flatten().all(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
            })
        })
        .await;
    }

    /// Waits until it has ended by itself; the folder stays.
    pub(crate) async fn ended(&self) -> Arc<Folder> {
        self.child.lock().await.wait().await.unwrap();
        self.folder.clone()
    }

    /// `kill -9`; the folder stays.
    pub(crate) async fn kill(&self) -> Arc<Folder> {
        self.child.lock().await.kill().await.unwrap();
        self.folder.clone()
    }

    /// Adds another member to the cluster of this one.
    pub(crate) async fn add(&self, other: &Process) {
        self.must(&format!("add {} {} {}", other.id, other.name, other.address)).await;
    }
}

/// Three members that all vote.
pub(crate) async fn three(lab: &Lab) -> Vec<Process> {
    let first = Process::start(lab, "m1", Start::Bootstrap).await;
    let second = Process::start(lab, "m2", Start::Join).await;
    let third = Process::start(lab, "m3", Start::Join).await;
    first.add(&second).await;
    first.add(&third).await;
    let members = vec![first, second, third];
    for member in &members {
        eventually("three voters", async || member.number("voters").await == 3).await;
        member.must("ready").await;
    }
    members
}

/// Moves the leader to the front; all of them must be alive.
pub(crate) async fn leader_first(members: &mut [Process]) {
    let start = Instant::now();
    loop {
        for at in 0..members.len() {
            if members[at].must("leads").await == "true" {
                members.rotate_left(at);
                return;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(30), "nobody leads");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
