//! A program running in a lab host, reaped whether or not anyone looks.

use std::{
    process::{Child, ExitStatus},
    time::Duration,
};

use tokio::sync::watch;

/// A program running in a host. Dropping the handle leaves it running.
///
/// A thread waits for it from the start: an unreaped child would keep its host's process namespace
/// from ever going away.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Process id on the machine.
    pub pid: u32,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Daemon {
    pub(crate) fn watch(mut child: Child) -> Daemon {
        let pid = child.id();
        let (sender, exit) = watch::channel(None);
        std::thread::spawn(move || {
            let status = child.wait().unwrap_or_default();
            sender.send_replace(Some(status));
        });
        Daemon { pid, exit }
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits until it has ended.
    pub async fn wait(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let status = exit.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        status.unwrap_or_default()
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.exit_status().is_none() {
            send(self.pid, signal);
        }
    }

    /// Asks it to end, and makes it after `grace`.
    pub async fn stop(&self, grace: Duration) -> ExitStatus {
        self.signal(Signal::Terminate);
        if let Ok(status) = tokio::time::timeout(grace, self.wait()).await {
            return status;
        }
        self.signal(Signal::Kill);
        self.wait().await
    }
}

/// The signals that faults are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Go on after [`Signal::Stop`].
    Continue,
    /// Die at once.
    Kill,
    /// Hang.
    Stop,
    /// End in good order.
    Terminate,
}

/// Sends a signal to a process of the machine; one that is gone is no error.
pub fn send(pid: u32, signal: Signal) {
    let number = match signal {
        Signal::Continue => libc::SIGCONT,
        Signal::Kill => libc::SIGKILL,
        Signal::Stop => libc::SIGSTOP,
        Signal::Terminate => libc::SIGTERM,
    };
    let pid = i32::try_from(pid).expect("process ids are small");
    #[expect(unsafe_code, reason = "kill(2) takes two numbers")]
    unsafe {
        libc::kill(pid, number);
    }
}
