//! Starting a member: its folder, its identity, its runtime, its tasks.

use std::{
    io,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use kontiki_base::{
    CancellationToken,
    tasks::{TaskKind, Tasks},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{
    Inner, ReadIndexes, Store, batching, compactor, compare, health, leadership, leases, log_bound,
    membership, retention,
};
use crate::pulse;
use crate::{
    disk::{Alarm, damage, space},
    environment::{Environment, Host, blocking},
    error::Error,
    failpoints::{Step, pass},
    log::LogStore,
    options::{Options, Start},
    peer::{Peers, Service},
    proposals::Sequencer,
    raft_types::{MemberNode, Raft},
    state::{self, AppliedEntry, StateMachine},
    types::MemberId,
};

/// Of what peers say to each other; members more than one apart refuse each other.
pub const PROTOCOL_VERSION: u32 = 1;

/// A cluster, and its life after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterIdentity {
    pub(crate) id: u64,
    /// Rises with every restore, so that members of before cannot come back.
    pub(crate) generation: u64,
}

/// What the folder says this member is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct StoredIdentity {
    member: MemberId,
    cluster: Option<ClusterIdentity>,
}

const IDENTITY: &str = "identity";
const BOOT: &str = "boot";
const EXPELLED: &str = "expelled";

/// Who this member is; a member that waits to be added learns its cluster from the first leader.
pub(crate) struct Identified {
    pub(crate) member: MemberId,
    /// The version that it speaks.
    pub(crate) version: u32,
    cluster: OnceLock<ClusterIdentity>,
    expelling: AtomicBool,
    expelled: watch::Sender<Option<String>>,
    log: LogStore,
}

impl Identified {
    fn load(log: &LogStore, start: Start, version: u32) -> io::Result<Identified> {
        if let Some(reason) = log.read_own::<String>(EXPELLED)? {
            return Err(io::Error::other(format!(
                "{reason}; to join again as a new member, start with an empty folder"
            )));
        }
        let stored: Option<StoredIdentity> = log.read_own(IDENTITY)?;
        let mut stored =
            stored.unwrap_or_else(|| StoredIdentity { member: random_member(), cluster: None });
        if stored.cluster.is_none() && start == Start::Bootstrap {
            let id = rand::random::<u64>().max(1);
            stored.cluster = Some(ClusterIdentity { id, generation: 1 });
        }
        log.write_own(IDENTITY, &stored)?;
        let cluster = stored.cluster.map_or_else(OnceLock::new, OnceLock::from);
        Ok(Identified {
            member: stored.member,
            version,
            cluster,
            expelling: AtomicBool::new(false),
            expelled: watch::Sender::default(),
            log: log.clone(),
        })
    }

    /// This member is none any more, for good: it neither calls nor campaigns from here on.
    pub(crate) fn expel(&self, reason: &str) {
        // Several say so at once; the first counts.
        if self.expelling.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::error!(member = %self.member, "this member stops: {reason}");
        if let Err(error) = self.log.write_own(EXPELLED, &reason.to_owned()) {
            tracing::error!("cannot remember that: {error}");
        }
        self.expelled.send_replace(Some(reason.to_owned()));
    }

    /// Why this member is none any more.
    pub(crate) fn expelled(&self) -> Option<String> {
        self.expelled.borrow().clone()
    }

    /// Tells when it has been expelled.
    pub(super) fn watch_expelled(&self) -> watch::Receiver<Option<String>> {
        self.expelled.subscribe()
    }

    pub(crate) fn cluster(&self) -> Option<ClusterIdentity> {
        self.cluster.get().copied()
    }

    /// Joins a cluster, durably; `false` if it belongs to another.
    pub(crate) fn adopt(&self, cluster: ClusterIdentity) -> io::Result<bool> {
        if let Some(known) = self.cluster() {
            return Ok(known == cluster);
        }
        pass(Step::ClusterAdopt)?;
        let stored = StoredIdentity { member: self.member, cluster: Some(cluster) };
        self.log.write_own(IDENTITY, &stored)?;
        Ok(*self.cluster.get_or_init(|| cluster) == cluster)
    }
}

/// Makes a fresh log that of a new member of a cluster.
pub(crate) fn new_identity(log: &LogStore, cluster: ClusterIdentity) -> io::Result<MemberId> {
    let member = random_member();
    log.write_own(IDENTITY, &StoredIdentity { member, cluster: Some(cluster) })?;
    Ok(member)
}

/// Whose log it is, if its member was ever part of a cluster.
pub(crate) fn stored_identity(log: &LogStore) -> io::Result<Option<(MemberId, ClusterIdentity)>> {
    let stored: Option<StoredIdentity> = log.read_own(IDENTITY)?;
    Ok(stored.and_then(|stored| Some((stored.member, stored.cluster?))))
}

/// Never 0, which means nobody; random, so never used twice.
fn random_member() -> MemberId {
    MemberId(rand::random::<u64>().max(1))
}

impl Store {
    /// Starts a member in its folder.
    pub async fn open(options: Options, tasks: &Tasks) -> Result<Store, Error> {
        Store::open_on(Arc::new(Host), options, tasks).await
    }

    /// Starts a member on what it is given.
    pub(crate) async fn open_on(
        environment: Arc<dyn Environment>,
        options: Options,
        tasks: &Tasks,
    ) -> Result<Store, Error> {
        let tasks = tasks.child();
        let folder = options.data_dir.clone();
        let (disks, first, version) = (environment.clone(), options.start, options.tuning.version);
        let opened = blocking(move || prepare(&*disks, &folder, first, version))
            .await
            .map_err(|error| Error::Storage(io::Error::other(error)))??;
        let runtime = environment.runtime()?;
        let starting = start(environment, options, opened, tasks.clone());
        let started = match &runtime {
            Some(runtime) => {
                let started = runtime.spawn(starting).await;
                started.map_err(|error| Error::Storage(io::Error::other(error)))
            }
            None => Ok(Box::pin(starting).await),
        };
        match started.and_then(|started| started) {
            Ok(inner) => {
                *inner.runtime.lock() = runtime;
                // Where the readers are: many watches must not delay Raft.
                tasks.spawn_infallible(
                    TaskKind::vital("watch hub"),
                    inner.shared.hub().clone().run(tasks.shutdown()),
                );
                Ok(Store(inner))
            }
            Err(error) => {
                tasks.stop().await;
                if let Some(runtime) = runtime {
                    runtime.shutdown_background();
                }
                Err(error)
            }
        }
    }
}

/// What the folder holds.
struct Opened {
    log: LogStore,
    identified: Identified,
    boot: u64,
    shared: Arc<state::Shared>,
    machine: StateMachine,
    /// Why this member serves no more, if that was found before.
    corrupt: Option<String>,
}

fn prepare(
    disks: &dyn Environment,
    folder: &Path,
    start: Start,
    version: u32,
) -> Result<Opened, Error> {
    let unusable = |error: io::Error| unusable(folder, &error);
    std::fs::create_dir_all(folder).map_err(unusable)?;
    space::wait_to_start(folder);
    let log = disks.open_log(folder).map_err(unusable)?;
    let identified = Identified::load(&log, start, version).map_err(unusable)?;
    let boot = log.read_own::<u64>(BOOT).map_err(unusable)?.unwrap_or(0) + 1;
    log.write_own(BOOT, &boot).map_err(unusable)?;
    let state = disks.open_state(folder).map_err(unusable)?;
    let (shared, machine, entry) = state::on(folder, state).map_err(unusable)?;
    check_together(&log, &entry).map_err(unusable)?;
    let corrupt = log.read_own(health::CORRUPT).map_err(unusable)?;
    let machine = StateMachine::new(shared.clone(), machine, entry, log.durable());
    Ok(Opened { log, identified, boot, shared, machine, corrupt })
}

fn unusable(folder: &Path, error: &io::Error) -> Error {
    let mut reason = kontiki_base::tasks::render(error);
    if error.kind() == io::ErrorKind::InvalidData {
        reason = format!("{reason}; {}", damage::ADVICE);
    }
    Error::DataFolder { path: folder.to_owned(), reason }
}

/// What the log has dropped, the state must hold: otherwise one of them has lost something.
fn check_together(log: &LogStore, applied: &AppliedEntry) -> io::Result<()> {
    let applied = applied.log_id.map(|id| id.index);
    let purged = log.purged()?;
    if applied < purged {
        let name = |index: Option<u64>| index.map_or_else(|| "none".to_owned(), |n| n.to_string());
        return Err(damage::found(format!(
            "the state ends with entry {}, but the log begins behind entry {}: what was between \
             them is gone",
            name(applied),
            name(purged)
        )));
    }
    Ok(())
}

/// Stops the member when damage is found in what it reads.
async fn guard(alarm: Alarm, shutdown: CancellationToken) -> Result<(), String> {
    tokio::select! { biased;
        () = shutdown.cancelled() => Ok(()),
        damage = alarm.rings() => Err(format!("{damage}; {}", damage::ADVICE)),
    }
}

fn raft_config(
    environment: &dyn Environment,
    options: &Options,
) -> Result<openraft::Config, Error> {
    let config = options.timing.raft_config().map_err(|error| Error::DataFolder {
        path: options.data_dir.clone(),
        reason: format!("timing: {error}"),
    });
    config.map(|mut config| {
        environment.adapt(&mut config);
        config
    })
}

async fn start(
    environment: Arc<dyn Environment>,
    options: Options,
    opened: Opened,
    tasks: Tasks,
) -> Result<Arc<Inner>, Error> {
    let Opened { log, identified, boot, shared, machine, corrupt } = opened;
    if let Some(reason) = &corrupt {
        tracing::error!("{reason}; it refuses to serve: {}", damage::ADVICE);
    }
    let config = raft_config(&*environment, &options)?;
    let member = identified.member;
    let identified = Arc::new(identified);
    let node = MemberNode {
        name: options.name.clone(),
        peer_address: options.peer_address.clone(),
        api_address: options.api_address.clone(),
        client_address: options.client_address.clone(),
        version: options.tuning.version,
    };
    let transport = environment.transport(&options)?;
    let peers = Peers::new(
        identified.clone(),
        node.clone(),
        options.tuning.snapshot_rate,
        transport,
        &tasks,
    );
    let raft = Raft::new(member.0, Arc::new(config), peers.clone(), log.clone(), machine)
        .await
        .map_err(|error| Error::Storage(io::Error::other(error)))?;
    // What it found on disk, members above all, can be seen once its core runs: then it answers.
    raft.with_raft_state(|_| ()).await.map_err(|error| Error::Storage(io::Error::other(error)))?;
    let (read_indexes, read_index_queue) = ReadIndexes::new();
    let (batching, proposals) = batching::queue();
    let inner = Arc::new(Inner {
        raft,
        shared,
        log,
        sequencer: Sequencer::new(member, boot),
        peers,
        leadership: watch::Sender::default(),
        pulse: pulse::Pulse::default(),
        membership: tokio::sync::Mutex::default(),
        read_indexes,
        batching,
        health: health::Health::new(corrupt),
        ready: tokio::sync::OnceCell::new(),
        tasks: tasks.clone(),
        runtime: Mutex::new(None),
        identified,
    });
    environment.serve(Service::new(&inner, &tasks), &options, &tasks).await?;
    if options.start == Start::Bootstrap {
        initialize(&inner.raft, member, &node).await?;
    }
    tracing::info!(
        member = %member, cluster = format!("{:016x}", inner.identified.cluster().map_or(0, |c| c.id)),
        boot, revision = %inner.shared.applied().revision, "the store has started"
    );
    tasks.spawn(TaskKind::vital("raft"), leadership::follow(inner.clone(), tasks.shutdown()));
    tasks.spawn_infallible(
        TaskKind::vital("read index"),
        super::read_index::run(inner.clone(), read_index_queue, tasks.shutdown()),
    );
    tasks.spawn_infallible(
        TaskKind::vital("batching"),
        batching::run(inner.clone(), proposals, tasks.shutdown()),
    );
    tasks.spawn(TaskKind::vital("lease keeper"), leases::run(inner.clone(), tasks.shutdown()));
    look_after(&inner, &options, &tasks);
    membership::start(&inner, node, options.tuning, &tasks);
    Ok(inner)
}

/// Starts what keeps the member well.
fn look_after(inner: &Arc<Inner>, options: &Options, tasks: &Tasks) {
    tasks.spawn_infallible(
        TaskKind::vital("pulse"),
        pulse::run(inner.clone(), options.timing, tasks.shutdown()),
    );
    tasks.spawn_infallible(
        TaskKind::vital("retention"),
        retention::run(inner.clone(), options.tuning.retention, tasks.shutdown()),
    );
    tasks.spawn(
        TaskKind::vital("compactor"),
        compactor::run(inner.shared.clone(), tasks.shutdown()),
    );
    let alarm = inner.shared.db().alarm();
    tasks.spawn(TaskKind::vital("state's disk"), guard(alarm, tasks.shutdown()));
    let (folder, reserve) = (options.data_dir.clone(), options.tuning.disk_reserve);
    let lease = options.timing.election_max;
    tasks.spawn_infallible(
        TaskKind::vital("health"),
        health::run(inner.clone(), folder, reserve, lease, tasks.shutdown()),
    );
    tasks.spawn_infallible(
        TaskKind::vital("log's bound"),
        log_bound::run(inner.clone(), options.tuning.log_bytes, tasks.shutdown()),
    );
    tasks.spawn_infallible(
        TaskKind::logged("comparison"),
        compare::run(inner.clone(), options.tuning.compare_every, tasks.shutdown()),
    );
}

/// Makes this member the first voter of its cluster, unless it is one already.
async fn initialize(raft: &Raft, member: MemberId, node: &MemberNode) -> Result<(), Error> {
    let storage = |error: String| Error::Storage(io::Error::other(error));
    if raft.is_initialized().await.map_err(|error| storage(error.to_string()))? {
        return Ok(());
    }
    let members = std::collections::BTreeMap::from([(member.0, node.clone())]);
    raft.initialize(members).await.map_err(|error| storage(error.to_string()))
}
