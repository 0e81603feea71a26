//! A small TCP balancer: one address that stays while the servers behind it come and go.
//!
//! Connections go to the healthy backends in turn. A backend is healthy while it accepts
//! connections: that is tried many times a second, and a client's own failed attempt counts at once
//! and moves on to the next backend. When a backend turns unhealthy the connections through it are
//! closed, because a powered-off server closes none itself.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use futures::future::join_all;
use kontiki_base::{
    CancellationToken,
    tasks::{TaskKind, Tasks},
};
use tokio::{
    io::copy_bidirectional,
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::lab::Network;

const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Far above a connection's time on one machine, far below what a client notices.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
const CONNECTIONS_MAX: usize = 2_000;

/// A running balancer. Dropping it closes its listener and all connections.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    shutdown: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Balancer {
    /// Serves `listener` (of whichever network it was made in) from `backends`, reached in
    /// `network`.
    pub fn start(
        listener: TcpListener,
        network: Network,
        backends: Vec<SocketAddr>,
    ) -> anyhow::Result<Balancer> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let work = move || {
            if let Err(error) = run(listener, &network, &backends, &stop) {
                tracing::error!("balancer on {address} failed: {error:#}");
            }
        };
        let thread = std::thread::Builder::new().name("balancer".to_owned()).spawn(work)?;
        Ok(Balancer { address, shutdown, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    listener: TcpListener,
    network: &Network,
    backends: &[SocketAddr],
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    network.enter().context("enter the balancer's network")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let tasks = Tasks::new();
        let pool = Arc::new(Pool::new(backends));
        for backend in &pool.backends {
            let (backend, shutdown) = (backend.clone(), tasks.shutdown());
            tasks.spawn_infallible(TaskKind::logged("backend check"), async move {
                shutdown.run_until_cancelled(backend.check()).await;
            });
        }
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((client, _)) = accepted else { continue };
            let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
            let (pool, shutdown) = (pool.clone(), tasks.shutdown());
            tasks.spawn_infallible(TaskKind::logged("balanced connection"), async move {
                shutdown.run_until_cancelled(pool.serve(client)).await;
                drop(slot);
            });
        }
        tasks.stop().await;
        Ok(())
    })
}

struct Pool {
    backends: Vec<Arc<Backend>>,
    next: AtomicUsize,
}

struct Backend {
    address: SocketAddr,
    healthy: watch::Sender<bool>,
}

impl Pool {
    fn new(addresses: &[SocketAddr]) -> Pool {
        // Innocent until proven guilty: the first client need not wait for the first check.
        let backend = |address: &SocketAddr| {
            Arc::new(Backend { address: *address, healthy: watch::Sender::new(true) })
        };
        Pool { backends: addresses.iter().map(backend).collect(), next: AtomicUsize::new(0) }
    }

    /// Carries one client's connection from beginning to end.
    async fn serve(&self, mut client: TcpStream) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        for backend in self.candidates(turn) {
            let Some(mut server) = backend.connect().await else { continue };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let mut health = backend.healthy.subscribe();
            tokio::select! { biased;
                _ = health.wait_for(|healthy| !healthy) => {}
                _ = copy_bidirectional(&mut client, &mut server) => {}
            }
            return;
        }
    }

    /// The backends in the order to try them: this turn's first, unhealthy ones last.
    fn candidates(&self, turn: usize) -> Vec<Arc<Backend>> {
        let count = self.backends.len();
        let rotated = (0..count).map(|step| &self.backends[(turn + step) % count]);
        let mut candidates: Vec<_> = rotated.cloned().collect();
        candidates.sort_by_key(|backend| !*backend.healthy.borrow());
        candidates
    }
}

impl Backend {
    async fn connect(&self) -> Option<TcpStream> {
        let attempt = timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address)).await;
        let stream = attempt.ok().and_then(Result::ok);
        let healthy = stream.is_some();
        self.healthy.send_if_modified(|known| std::mem::replace(known, healthy) != healthy);
        stream
    }

    async fn check(&self) {
        let mut ticks = interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.connect().await;
        }
    }
}

/// Whether something accepts connections on each of `addresses`; for tests and the demo's account.
pub async fn reachable(addresses: &[SocketAddr]) -> Vec<bool> {
    let attempt = |address: &SocketAddr| timeout(CONNECT_TIMEOUT, TcpStream::connect(*address));
    let attempts = join_all(addresses.iter().map(attempt)).await;
    attempts.into_iter().map(|attempt| attempt.is_ok_and(|stream| stream.is_ok())).collect()
}
