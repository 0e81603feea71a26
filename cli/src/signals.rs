//! Being told to stop.

use anyhow::{Context, Result};
use kontiki_base::tasks::Tasks;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, listened to from the moment this is made.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Signals> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for a signal, or until a task that the process cannot do without has failed, which
    /// is the error.
    pub(crate) async fn stopped(&mut self, tasks: &Tasks) -> Result<()> {
        let shutdown = tasks.shutdown();
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            _ = self.terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        check(tasks)
    }

    /// Does something that may take long, unless there is a signal first: `None`.
    pub(crate) async fn unless_stopped<T>(
        &mut self,
        tasks: &Tasks,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Option<T>> {
        tokio::select! { biased;
            stopped = self.stopped(tasks) => stopped.map(|()| None),
            done = work => done.map(Some),
        }
    }
}

fn check(tasks: &Tasks) -> Result<()> {
    match tasks.failure() {
        Some(failure) => anyhow::bail!("{failure}"),
        None => Ok(()),
    }
}
