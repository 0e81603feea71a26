//! Hosts: what a machine keeps across the lives of its process, and those lives.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use kontiki_base::{
    tasks::Tasks,
    tls::{Identity, Roots},
};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::{
    dice::Dice,
    disk::SharedDisk,
    gate::{DiskTimes, Gate},
    history::History,
    network::{Network, SimTransport},
    trace::Trace,
};
use crate::{
    Store,
    environment::Environment,
    error::Error,
    log::LogStore,
    options::{Options, PeerTls, Start, Timing, Tuning},
    peer::{Service, Transport},
    state::StateDb,
    types::Member,
};

/// Entries between snapshots, and kept behind one: few, so that members often need one.
const SNAPSHOT_ENTRIES: u64 = 60;
const LOG_ENTRIES_KEPT: u64 = 30;
/// How long a planned stop may take before the process is killed.
const SHUTDOWN_MAX: Duration = Duration::from_secs(8);

/// Everything that is simulated.
pub(super) struct World {
    pub(super) trace: Trace,
    pub(super) network: Network,
    pub(super) history: History,
    dice: Mutex<Dice>,
    hosts: Mutex<Vec<Arc<Host>>>,
    folder: tempfile::TempDir,
    disk_times: DiskTimes,
}

/// A machine.
pub(super) struct Host {
    pub(super) number: usize,
    disk: SharedDisk,
    start: Start,
    life: watch::Sender<Option<Life>>,
}

/// A process of a machine.
#[derive(Clone)]
pub(super) struct Life {
    pub(super) gate: Gate,
    pub(super) store: Option<Store>,
    tasks: Tasks,
}

impl World {
    pub(super) fn new(dice: &mut Dice, disk_times: DiskTimes) -> World {
        let trace = Trace::new();
        World {
            network: Network::new(dice.fork(), trace.clone()),
            history: History::new(trace.clone()),
            trace,
            dice: Mutex::new(dice.fork()),
            hosts: Mutex::default(),
            folder: tempfile::tempdir().expect("a folder for snapshots"),
            disk_times,
        }
    }

    /// A new machine, with nothing on it.
    pub(super) fn add_host(&self, start: Start) -> Arc<Host> {
        let mut hosts = self.hosts.lock();
        let disk = SharedDisk::new(self.dice.lock().fork());
        let life = watch::Sender::new(None);
        let host = Arc::new(Host { number: hosts.len(), disk, start, life });
        hosts.push(host.clone());
        host
    }

    pub(super) fn hosts(&self) -> Vec<Arc<Host>> {
        self.hosts.lock().clone()
    }

    /// Starts a host's process. The store is there once it has opened.
    pub(super) fn start(self: &Arc<World>, host: &Arc<Host>) -> JoinHandle<()> {
        let gate = Gate::new(self.disk_times, self.dice.lock().fork());
        let tasks = Tasks::on(Arc::new(gate.clone()));
        let life = Life { gate: gate.clone(), store: None, tasks: tasks.clone() };
        self.trace.line(format_args!("host {} starts", host.number));
        host.life.send_replace(Some(life.clone()));
        let environment = SimEnvironment { world: self.clone(), host: host.clone(), gate };
        let options = host.options(self.folder.path());
        let (world, host) = (self.clone(), host.clone());
        life.gate.clone().start(async move {
            match Store::open_on(Arc::new(environment), options, &tasks).await {
                Ok(store) => {
                    let life = Life { store: Some(store), ..life };
                    host.life.send_replace(Some(life));
                }
                Err(error) => {
                    let reason = kontiki_base::tasks::render(&error);
                    world.stopped(&host, &format!("does not start: {reason}"));
                }
            }
        })
    }

    /// Kills a host's process; what its disk has not synced is lost.
    pub(super) fn crash(&self, host: &Host) {
        let Some(life) = host.life.send_replace(None) else { return };
        self.end(host, &life, "crashes");
    }

    /// Stops a host's process in good order.
    pub(super) async fn shut_down(&self, host: &Host) {
        let Some(life) = host.life() else { return };
        self.trace.line(format_args!("host {} stops", host.number));
        if let Some(store) = life.store.clone() {
            let stopped = life.gate.start(async move { store.shutdown().await.is_ok() });
            let stopped = timeout(SHUTDOWN_MAX, stopped).await;
            self.trace.line(format_args!("host {} stopped: {stopped:?}", host.number));
        }
        if host.life().is_some_and(|now| !now.gate.has_ended()) {
            host.life.send_replace(None);
            self.end(host, &life, "ends");
        }
    }

    fn end(&self, host: &Host, life: &Life, how: &str) {
        life.gate.end();
        if let Some(failure) = life.tasks.failure() {
            self.stopped(host, failure);
        }
        self.network.gone(host.number);
        let lost = host.disk.crash();
        self.trace.line(format_args!("host {} {how}, {lost} writes lost", host.number));
    }

    /// A process has stopped by itself: only one whose member was removed may.
    fn stopped(&self, host: &Host, reason: &str) {
        // Its name is nobody's, and no seed's.
        let reason = reason.replace(&*self.folder.path().to_string_lossy(), "");
        if reason.contains("removed from its cluster") {
            self.trace.line(format_args!("host {}: {reason}", host.number));
        } else {
            self.history.violation(format!("host {} has stopped: {reason}", host.number));
        }
    }

    /// Whether a process has stopped by itself.
    pub(super) fn note_failures(&self) {
        for host in self.hosts() {
            let failure = host.life().and_then(|life| life.tasks.failure().map(str::to_owned));
            if let Some(failure) = failure {
                self.stopped(&host, &failure);
            }
        }
    }
}

impl Host {
    /// The present process.
    pub(super) fn life(&self) -> Option<Life> {
        self.life.borrow().clone()
    }

    /// Its store, if it has opened.
    pub(super) fn store(&self) -> Option<(Gate, Store)> {
        let life = self.life()?;
        Some((life.gate, life.store?))
    }

    /// Waits until its store has opened.
    pub(super) async fn opened(&self) -> (Gate, Store) {
        let mut life = self.life.subscribe();
        let is_open = |life: &Option<Life>| life.as_ref().is_some_and(|life| life.store.is_some());
        let _ = life.wait_for(is_open).await;
        self.store().expect("nothing has happened since")
    }

    fn address(&self) -> String {
        format!("host-{}:2380", self.number)
    }

    /// How the cluster knows the member of this host.
    pub(super) fn member(&self, store: &Store) -> Member {
        let Options { name, peer_address, api_address, client_address, .. } =
            self.options(Path::new("unused"));
        Member { id: store.id(), name, peer_address, api_address, client_address, voter: false }
    }

    fn options(&self, folder: &Path) -> Options {
        let pem = Identity { chain_pem: String::new(), key_pem: String::new() };
        Options {
            data_dir: folder.join(self.number.to_string()),
            name: format!("host-{}", self.number),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            peer_address: self.address(),
            api_address: format!("host-{}:6443", self.number),
            client_address: String::new(),
            tls: PeerTls { identity: pem, roots: Roots { pem: String::new() } },
            timing: Timing::default(),
            start: self.start,
            tuning: Tuning::default(),
        }
    }
}

/// What a simulated process runs on.
struct SimEnvironment {
    world: Arc<World>,
    host: Arc<Host>,
    gate: Gate,
}

impl Environment for SimEnvironment {
    fn runtime(&self) -> std::io::Result<Option<tokio::runtime::Runtime>> {
        Ok(None)
    }

    fn adapt(&self, config: &mut openraft::Config) {
        config.snapshot_policy = openraft::SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES);
        config.max_in_snapshot_log_to_keep = LOG_ENTRIES_KEPT;
        config.purge_batch_size = 8;
        config.replication_lag_threshold = SNAPSHOT_ENTRIES + LOG_ENTRIES_KEPT;
    }

    fn open_log(&self, _folder: &Path) -> std::io::Result<LogStore> {
        LogStore::on(Arc::new(self.host.disk.open_log()))
    }

    fn open_state(&self, _folder: &Path) -> std::io::Result<StateDb> {
        Ok(StateDb::on(Box::new(self.host.disk.open_state())))
    }

    fn transport(&self, _options: &Options) -> Result<Arc<dyn Transport>, Error> {
        let (network, host) = (self.world.network.clone(), self.host.number);
        Ok(Arc::new(SimTransport { network, host, gate: self.gate.clone() }))
    }

    fn serve<'a>(
        &'a self,
        service: Service,
        options: &'a Options,
        _tasks: &'a Tasks,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let (host, gate) = (self.host.number, self.gate.clone());
        self.world.network.listen(&options.peer_address, host, service, gate);
        Box::pin(std::future::ready(Ok(())))
    }
}
