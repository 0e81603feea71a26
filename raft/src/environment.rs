//! What a member runs on: disks, network, threads. A simulation brings its own.

mod worker;

use std::{io, path::Path, sync::Arc};

use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use kontiki_base::tasks::Tasks;
use tokio::{
    runtime::{Builder, Handle, Runtime, RuntimeFlavor},
    sync::mpsc,
    task::JoinError,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    error::Error,
    log::LogStore,
    options::Options,
    peer::{self, Service, Transport},
    pulse,
    state::StateDb,
};

pub(crate) use self::worker::Worker;

/// Threads of Raft's own runtime at most: load on the API's runtime never delays a heartbeat. On
/// fewer than four cores it is one: more only pass work to and fro, and what takes long makes way
/// (see [`aside`]).
const RAFT_THREADS_MAX: usize = 4;

/// What a member runs on.
pub(crate) trait Environment: Send + Sync {
    /// The runtime of Raft; `None` shares the caller's.
    fn runtime(&self) -> io::Result<Option<Runtime>>;

    /// Adapts Raft's configuration.
    fn adapt(&self, _config: &mut openraft::Config) {}

    /// Opens or creates the log of the member in `folder`.
    fn open_log(&self, folder: &Path) -> io::Result<LogStore>;

    /// Opens or creates the state of the member in `folder`.
    fn open_state(&self, folder: &Path) -> io::Result<StateDb>;

    /// The way to other members.
    fn transport(&self, options: &Options) -> Result<Arc<dyn Transport>, Error>;

    /// Lets other members in until the tasks stop.
    fn serve<'a>(
        &'a self,
        service: Service,
        options: &'a Options,
        tasks: &'a Tasks,
    ) -> BoxFuture<'a, Result<(), Error>>;
}

/// A real machine.
pub(crate) struct Host;

impl Environment for Host {
    fn runtime(&self) -> io::Result<Option<Runtime>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads((cores / 2).clamp(1, RAFT_THREADS_MAX))
            .max_blocking_threads(8)
            .thread_name("raft")
            .on_thread_start(pulse::prefer_this_thread)
            .enable_all()
            .build();
        runtime.map(Some)
    }

    fn open_log(&self, folder: &Path) -> io::Result<LogStore> {
        LogStore::open(&folder.join("log"))
    }

    fn open_state(&self, folder: &Path) -> io::Result<StateDb> {
        StateDb::open_current(&folder.join("state"))
    }

    fn transport(&self, options: &Options) -> Result<Arc<dyn Transport>, Error> {
        peer::grpc(options)
    }

    fn serve<'a>(
        &'a self,
        service: Service,
        options: &'a Options,
        tasks: &'a Tasks,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(peer::listen(service, options, tasks))
    }
}

/// Openraft's runtime.
#[cfg(not(test))]
pub(crate) type AsyncRuntime = openraft::impls::TokioRuntime;
#[cfg(test)]
pub(crate) type AsyncRuntime = crate::sim::SimRuntime;

/// Does what may block apart from tasks that must not wait for it.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, JoinError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    #[cfg(test)]
    if crate::sim::is_running() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// Does what may take long while another thread serves the tasks of this one: heartbeats among
/// them.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // A simulation's, or a test's: there is no other thread.
        _ => work(),
    }
}

/// A stream of what `produce` pushes, which may block and reads `ahead` items at most before they
/// are wanted. A push fails when nobody wants them any more.
pub(crate) fn produced<T, F>(ahead: usize, produce: F) -> BoxStream<'static, T>
where
    T: Send + 'static,
    F: FnOnce(&dyn Fn(T) -> io::Result<()>) + Send + 'static,
{
    #[cfg(test)]
    if crate::sim::is_running() {
        let items = parking_lot::Mutex::new(Vec::new());
        produce(&|item| {
            items.lock().push(item);
            Ok(())
        });
        return futures::stream::iter(items.into_inner()).boxed();
    }
    let (sender, receiver) = mpsc::channel(ahead);
    tokio::task::spawn_blocking(move || {
        produce(&|item| {
            sender.blocking_send(item).map_err(|_| io::Error::other("the receiver is gone"))
        });
    });
    ReceiverStream::new(receiver).boxed()
}
