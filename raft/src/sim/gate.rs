//! The life of a simulated process: its tasks pass a gate at every step, which pauses or ends them.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::future::BoxFuture;
use kontiki_base::tasks::Executor;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::{AbortHandle, JoinHandle},
};

use super::dice::Dice;

thread_local! {
    /// The process whose task is being polled: what it spawns belongs to it.
    static CURRENT: RefCell<Option<Gate>> = const { RefCell::new(None) };
}

/// One life of a process, from its start to its end.
#[derive(Clone)]
pub(super) struct Gate(Arc<Mutex<State>>);

struct State {
    paused: bool,
    ended: bool,
    /// Tasks that were ready while the process was paused.
    held: Vec<Waker>,
    tasks: Vec<AbortHandle>,
    tidy_at: usize,
    disk: DiskTimes,
    dice: Dice,
}

/// How long a sync of the disk takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct DiskTimes {
    pub(super) least: Duration,
    pub(super) most: Duration,
    /// So many in ten thousand take a hundred times as long.
    pub(super) stalls: u64,
}

impl Default for DiskTimes {
    fn default() -> DiskTimes {
        let (least, most) = (Duration::from_micros(200), Duration::from_millis(3));
        DiskTimes { least, most, stalls: 20 }
    }
}

impl Gate {
    /// A new process.
    pub(super) fn new(disk: DiskTimes, dice: Dice) -> Gate {
        Gate(Arc::new(Mutex::new(State {
            paused: false,
            ended: false,
            held: Vec::new(),
            tasks: Vec::new(),
            tidy_at: 64,
            disk,
            dice,
        })))
    }

    /// The process whose task is being polled.
    pub(super) fn current() -> Option<Gate> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Starts a task of the process.
    pub(super) fn start<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task =
            Handle::current().spawn(Passing { gate: self.clone(), future: Box::pin(future) });
        let mut state = self.0.lock();
        if state.ended {
            task.abort();
            return task;
        }
        if state.tasks.len() >= state.tidy_at {
            state.tasks.retain(|task| !task.is_finished());
            state.tidy_at = (state.tasks.len() * 2).max(64);
        }
        state.tasks.push(task.abort_handle());
        task
    }

    /// Stops it as SIGSTOP does; the clock and the network go on.
    pub(super) fn pause(&self) {
        self.0.lock().paused = true;
    }

    /// Lets it go on.
    pub(super) fn resume(&self) {
        let held = {
            let mut state = self.0.lock();
            state.paused = false;
            std::mem::take(&mut state.held)
        };
        held.into_iter().for_each(Waker::wake);
    }

    /// Ends it as SIGKILL does: no task makes another step.
    pub(super) fn end(&self) {
        let (held, tasks) = {
            let mut state = self.0.lock();
            state.ended = true;
            (std::mem::take(&mut state.held), std::mem::take(&mut state.tasks))
        };
        tasks.iter().for_each(AbortHandle::abort);
        drop(held);
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.0.lock().ended
    }

    fn sync_time(&self) -> Duration {
        let mut state = self.0.lock();
        let DiskTimes { least, most, stalls } = state.disk;
        let time = state.dice.time(least, most);
        if state.dice.chance(stalls) { time * 100 } else { time }
    }
}

impl Executor for Gate {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> JoinHandle<()> {
        self.start(task)
    }
}

/// A task of a process.
struct Passing<F> {
    gate: Gate,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Passing<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        {
            let mut state = self.gate.0.lock();
            if state.ended {
                return Poll::Pending;
            }
            if state.paused {
                state.held.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        let _current = Current::enter(self.gate.clone());
        self.future.as_mut().poll(cx)
    }
}

struct Current(Option<Gate>);

impl Current {
    fn enter(gate: Gate) -> Current {
        Current(CURRENT.replace(Some(gate)))
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// A worker of the process whose task calls: a task that takes as long as its disk.
pub(crate) fn start_worker<T: Send + 'static>(
    mut work: impl FnMut(&mut Vec<T>) + Send + 'static,
) -> UnboundedSender<T> {
    let gate = Gate::current().expect("only processes have workers");
    let (queue, mut waiting) = unbounded_channel();
    let disk = gate.clone();
    gate.start(async move {
        let mut items = Vec::new();
        while waiting.recv_many(&mut items, usize::MAX).await > 0 {
            tokio::time::sleep(disk.sync_time()).await;
            work(&mut items);
            items.clear();
        }
    });
    queue
}
