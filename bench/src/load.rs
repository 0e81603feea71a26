//! Many clients working through numbered operations.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kontiki_base::tasks::Tasks;

use crate::{connection::Connection, latency::Latencies, target::Target};

/// What a run of operations came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Of the operations that succeeded.
    pub latencies: Latencies,
    /// How many failed.
    pub errors: usize,
    /// The first error.
    pub first_error: Option<String>,
    /// From the first start to the last end.
    pub elapsed: Duration,
}

impl Outcome {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        let operations = u32::try_from(self.latencies.len()).map_or(f64::MAX, f64::from);
        operations / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// The connections of simulated clients.
pub struct Clients(Vec<Connection>);

impl Clients {
    /// Connects them, shared out among the servers.
    pub async fn connect(target: &Target, clients: usize, tasks: &Tasks) -> Result<Clients> {
        let mut connections = Vec::with_capacity(clients);
        for client in 0..clients {
            let server = target.server(client);
            connections.push(Connection::open(server, &target.tls, tasks).await?);
        }
        Ok(Clients(connections))
    }

    /// The first of them, for what is not measured.
    pub fn one(&self) -> Result<Connection> {
        self.0.first().cloned().context("at least one client is needed")
    }

    /// Runs operations `0..total`, each client taking the next one as soon as it is free.
    pub async fn run<F, R>(&self, total: usize, operation: F) -> Outcome
    where
        F: Fn(Connection, usize) -> R + Sync,
        R: Future<Output = Result<()>> + Send,
    {
        let next = Arc::new(AtomicUsize::new(0));
        let began = Instant::now();
        let workers = self.0.iter().map(|connection| {
            let (next, operation) = (next.clone(), &operation);
            async move {
                let mut outcome = Outcome::default();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return outcome;
                    }
                    let start = Instant::now();
                    match operation(connection.clone(), number).await {
                        Ok(()) => outcome.latencies.record(start.elapsed()),
                        Err(error) => {
                            outcome.errors += 1;
                            outcome.first_error.get_or_insert(format!("{error:#}"));
                        }
                    }
                }
            }
        });
        let mut sum = Outcome::default();
        for outcome in futures::future::join_all(workers).await {
            sum.latencies.extend(outcome.latencies);
            sum.errors += outcome.errors;
            sum.first_error = sum.first_error.or(outcome.first_error);
        }
        sum.elapsed = began.elapsed();
        sum
    }
}
