//! Supervised tasks: every task has a name, an owner and a written-down consequence of failure.
//!
//! A [`Tasks`] group is a tree node: cancelling it cancels its children. A panic is contained at
//! its task. A task declared [`OnError::StopProcess`] brings its whole tree down, with the reason
//! kept for the process's exit message; any other failure is logged with the task's name.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
};

use futures::{FutureExt, future::BoxFuture};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the failure of a task means for the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Log it; the rest goes on.
    Log,
    /// Without this task the process lies to its users: stop it all.
    StopProcess,
}

/// A kind of task: what logs call it, and what its failure means.
#[derive(Clone, Copy, Debug)]
pub struct TaskKind {
    /// Name in logs and metrics.
    pub name: &'static str,
    /// Consequence of an error or a panic.
    pub on_error: OnError,
}

impl TaskKind {
    /// A task whose failure is logged.
    pub const fn logged(name: &'static str) -> TaskKind {
        TaskKind { name, on_error: OnError::Log }
    }

    /// A task whose failure stops the process.
    pub const fn vital(name: &'static str) -> TaskKind {
        TaskKind { name, on_error: OnError::StopProcess }
    }
}

/// The error type tasks end with: whatever it is, it ends up in one log line.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// Runs tasks in tokio's place: a simulation holds them back, and ends them.
pub trait Executor: Send + Sync {
    /// Starts a task.
    fn spawn(&self, task: BoxFuture<'static, ()>) -> JoinHandle<()>;
}

/// A group of tasks that is cancelled and awaited together. Cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    executor: Option<Arc<dyn Executor>>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    root: CancellationToken,
    failure: Arc<OnceLock<String>>,
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks::new()
    }
}

impl Tasks {
    /// A new tree of tasks.
    pub fn new() -> Tasks {
        let root = CancellationToken::new();
        Tasks {
            executor: None,
            tracker: TaskTracker::new(),
            shutdown: root.clone(),
            root,
            failure: Arc::new(OnceLock::new()),
        }
    }

    /// A new tree of tasks that something else than tokio's runtime starts.
    pub fn on(executor: Arc<dyn Executor>) -> Tasks {
        Tasks { executor: Some(executor), ..Tasks::new() }
    }

    /// A group that stops with this one, and can be stopped and awaited on its own before.
    pub fn child(&self) -> Tasks {
        Tasks {
            executor: self.executor.clone(),
            tracker: TaskTracker::new(),
            shutdown: self.shutdown.child_token(),
            root: self.root.clone(),
            failure: self.failure.clone(),
        }
    }

    /// The token that tells this group's tasks to stop.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Spawns a task that can fail.
    pub fn spawn<F, E>(&self, kind: TaskKind, future: F) -> JoinHandle<()>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError> + Send,
    {
        let (root, failure) = (self.root.clone(), self.failure.clone());
        let task = self.tracker.track_future(async move {
            let outcome = AssertUnwindSafe(future).catch_unwind().await;
            let problem = match outcome {
                Ok(Ok(())) => return,
                Ok(Err(error)) => render(&*error.into()),
                Err(panic) => format!("panicked: {}", panic_message(&*panic)),
            };
            tracing::error!(task = kind.name, "task failed: {problem}");
            if kind.on_error == OnError::StopProcess {
                let _ = failure.set(format!("{}: {problem}", kind.name));
                root.cancel();
            }
        });
        match &self.executor {
            Some(executor) => executor.spawn(Box::pin(task)),
            None => Handle::current().spawn(task),
        }
    }

    /// Spawns a task that cannot fail, only panic.
    pub fn spawn_infallible<F>(&self, kind: TaskKind, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(kind, future.map(|()| Ok::<(), TaskError>(())))
    }

    /// Why the tree was stopped, if a vital task failed.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Cancels the group and waits until all its tasks have ended.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// An error and its sources in one line.
pub fn render(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The message of a caught panic.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vital_panic_stops_the_tree_and_is_named() {
        let tasks = Tasks::new();
        let child = tasks.child();
        child.spawn_infallible(TaskKind::vital("log writer"), async { panic!("disk gone") });
        tasks.shutdown().cancelled().await;
        assert_eq!(tasks.failure(), Some("log writer: panicked: disk gone"));
    }

    #[tokio::test]
    async fn a_logged_failure_leaves_the_others_alone() {
        let tasks = Tasks::new();
        let handle =
            tasks.spawn(TaskKind::logged("probe"), async { Err(std::io::Error::other("refused")) });
        handle.await.expect("the wrapper does not panic");
        assert!(!tasks.shutdown().is_cancelled());
        assert_eq!(tasks.failure(), None);
    }

    #[tokio::test]
    async fn stop_waits_for_the_tasks_to_end() {
        let tasks = Tasks::new();
        let ended = Arc::new(OnceLock::new());
        let (token, mark) = (tasks.shutdown(), ended.clone());
        tasks.spawn_infallible(TaskKind::logged("waiter"), async move {
            token.cancelled().await;
            let _ = mark.set(());
        });
        tasks.stop().await;
        assert!(ended.get().is_some());
    }
}
