//! A worker with a queue, which takes all that waits at once.

use std::{
    io,
    sync::mpsc::{self, Receiver, SyncSender},
    thread::JoinHandle,
};

use parking_lot::Mutex;

use crate::{log::other, pulse};

/// A thread that does what is queued.
pub(crate) struct Worker<T> {
    queue: Mutex<Option<Queue<T>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Queue<T> {
    Thread(SyncSender<T>),
    #[cfg(test)]
    Simulated(tokio::sync::mpsc::UnboundedSender<T>),
}

impl<T: Send + 'static> Worker<T> {
    /// Starts it, with room for `waiting_max` items.
    pub(crate) fn start(
        name: &str,
        waiting_max: usize,
        work: impl FnMut(&mut Vec<T>) + Send + 'static,
    ) -> io::Result<Worker<T>> {
        #[cfg(test)]
        if crate::sim::is_running() {
            let queue = Queue::Simulated(crate::sim::start_worker(work));
            return Ok(Worker { queue: Mutex::new(Some(queue)), thread: Mutex::new(None) });
        }
        let (queue, waiting) = mpsc::sync_channel(waiting_max);
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&waiting, work))?;
        let queue = Mutex::new(Some(Queue::Thread(queue)));
        Ok(Worker { queue, thread: Mutex::new(Some(thread)) })
    }

    /// Hands it something to do; waits while there is no room.
    pub(crate) fn queue(&self, item: T) -> io::Result<()> {
        let ended = || other("the worker has ended");
        match self.queue.lock().as_ref().ok_or_else(ended)? {
            Queue::Thread(queue) => queue.send(item).map_err(|_| ended()),
            #[cfg(test)]
            Queue::Simulated(queue) => queue.send(item).map_err(|_| ended()),
        }
    }
}

impl<T> Worker<T> {
    /// Does what is queued and ends.
    pub(crate) fn stop(&self) {
        drop(self.queue.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run<T>(waiting: &Receiver<T>, mut work: impl FnMut(&mut Vec<T>)) {
    pulse::prefer_this_thread();
    let mut items = Vec::new();
    while let Ok(first) = waiting.recv() {
        items.push(first);
        items.extend(waiting.try_iter());
        work(&mut items);
        items.clear();
    }
}
