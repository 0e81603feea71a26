//! Openraft's runtime in tests: tokio's, but what a simulated process spawns belongs to it.

use std::{cell::Cell, future::Future, io, time::Duration};

use openraft::{AsyncRuntime, OptionalSend, impls::TokioRuntime};

use super::{Mutation, gate::Gate};

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static MUTATION: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Whether this thread simulates: nothing may then leave it.
pub(crate) fn is_running() -> bool {
    RUNNING.get()
}

/// The mistake that is built in.
pub(super) fn mutation() -> Option<Mutation> {
    MUTATION.get()
}

/// Whether this mistake is built in.
pub(crate) fn is_mutated(mutation: Mutation) -> bool {
    MUTATION.get() == Some(mutation)
}

/// Turns this thread into one that simulates.
pub(super) fn enter(mutation: Option<Mutation>) {
    RUNNING.set(true);
    MUTATION.set(mutation);
}

/// Tokio's runtime behind the gates of processes.
#[derive(Debug)]
pub(crate) struct SimRuntime(TokioRuntime);

impl AsyncRuntime for SimRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match Gate::current() {
            Some(gate) => gate.start(future),
            None => TokioRuntime::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn new(threads: usize) -> SimRuntime {
        SimRuntime(TokioRuntime::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }

    async fn spawn_blocking<F, T>(work: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        crate::environment::blocking(work).await.map_err(io::Error::other)
    }
}
