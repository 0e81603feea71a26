//! A private containerd: started, watched, restarted, and adopted again by the next agent.
//!
//! containerd belongs to the node, not to the agent: it runs in its own process group, outlives an
//! agent that stops or crashes, and the next agent finds it by its socket. Containers belong to
//! their shims and outlive both. Only a changed configuration makes an agent replace a running
//! containerd.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use k8s_cri::v1::VersionRequest;
use kontiki_base::{CancellationToken, backoff::Backoff};
use tokio::{
    io::unix::AsyncFd,
    net::UnixStream,
    process::Command,
    time::{Instant, sleep, timeout},
};

use crate::runtime::{Runtime, config::ContainerdConfig};

/// How long a containerd may take to answer after its start; a busy machine with many leftover
/// containers needs a while.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a containerd may take to end when asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// One that ran for so long was healthy: its next end is a first one again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// The log is started afresh at this size, when containerd is started.
const LOG_SIZE_MAX: u64 = 10 << 20;

/// Why containerd does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("cannot start {} (is the package containerd installed?)", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It started and ended, or never answered.
    #[error("containerd {problem}; its log is {}", log.display())]
    NoAnswer {
        /// What happened.
        problem: String,
        /// Its log.
        log: PathBuf,
    },
    /// A file or process operation failed.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// The cause.
        source: io::Error,
    },
}

fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let action = action.into();
    move |source| Error::Io { action, source }
}

/// Supervises one private containerd.
pub struct Containerd {
    program: PathBuf,
    dir: PathBuf,
    cni_bin_dir: PathBuf,
    cni_conf_dir: PathBuf,
}

impl Containerd {
    /// A containerd of this program that keeps everything under `dir`.
    pub fn new(
        program: &Path,
        dir: PathBuf,
        cni_bin_dir: &Path,
        cni_conf_dir: PathBuf,
    ) -> Containerd {
        Containerd {
            program: program.to_owned(),
            dir,
            cni_bin_dir: cni_bin_dir.to_owned(),
            cni_conf_dir,
        }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("containerd.log")
    }

    /// Adopts the running one or starts one; returns once it answers.
    pub async fn ensure(&self) -> Result<RunningContainerd, Error> {
        let changed = self.write_config()?;
        if let Some(running) = self.running().await? {
            self.wait_until_it_answers(&running).await?;
            if !changed {
                tracing::info!(pid = running.pid, "adopted the running containerd");
                return Ok(running);
            }
            tracing::info!(pid = running.pid, "replacing containerd: its configuration changed");
            running.stop().await?;
        }
        self.start().await
    }

    /// Keeps it running until shutdown: started again, with back-off, whenever it ends.
    pub async fn supervise(self, mut running: RunningContainerd, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            let since = Instant::now();
            tokio::select! { biased;
                () = shutdown.cancelled() => return,
                () = running.ended() => {}
            }
            if since.elapsed() > HEALTHY_AFTER {
                backoff.reset();
            }
            tracing::warn!(pid = running.pid, "containerd ended, starting it again");
            running = loop {
                tokio::select! { biased;
                    () = shutdown.cancelled() => return,
                    () = sleep(backoff.next_delay()) => {}
                }
                match self.ensure().await {
                    Ok(running) => break running,
                    Err(error) => {
                        tracing::warn!("{}", kontiki_base::tasks::render(&error));
                    }
                }
            };
        }
    }

    /// Writes `config.toml`; tells whether it differs from what was there.
    fn write_config(&self) -> Result<bool, Error> {
        for dir in [&self.dir.join("certs.d"), &self.cni_conf_dir] {
            fs::create_dir_all(dir).map_err(failed(format!("create {}", dir.display())))?;
        }
        let text = ContainerdConfig {
            dir: &self.dir,
            cni_bin_dir: &self.cni_bin_dir,
            cni_conf_dir: &self.cni_conf_dir,
        }
        .render();
        let path = self.dir.join("config.toml");
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(false);
        }
        fs::write(&path, text).map_err(failed(format!("write {}", path.display())))?;
        Ok(true)
    }

    /// The one that runs already, if any: whoever listens on the socket.
    pub async fn running(&self) -> Result<Option<RunningContainerd>, Error> {
        let Ok(stream) = UnixStream::connect(self.socket()).await else { return Ok(None) };
        let peer = stream.peer_cred().map_err(failed("ask who listens on containerd's socket"))?;
        let Some(pid) = peer.pid() else { return Ok(None) };
        Ok(RunningContainerd::watch(pid).ok())
    }

    async fn start(&self) -> Result<RunningContainerd, Error> {
        let log = self.open_log().map_err(failed("open containerd's log"))?;
        let errors = log.try_clone().map_err(failed("open containerd's log"))?;
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
            .map_err(|source| Error::Start { program: self.program.clone(), source })?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| self.no_answer("ended at once"))?;
        let running = RunningContainerd::watch(pid).map_err(failed("watch containerd"))?;
        // tokio reaps the child by itself after `child` is dropped.
        self.wait_until_it_answers(&running).await?;
        tracing::info!(pid, "started containerd");
        Ok(running)
    }

    fn open_log(&self) -> io::Result<File> {
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_SIZE_MAX) {
            fs::rename(&path, self.dir.join("containerd.log.1"))?;
        }
        File::options().create(true).append(true).open(path)
    }

    fn no_answer(&self, problem: &str) -> Error {
        Error::NoAnswer { problem: problem.to_owned(), log: self.log() }
    }

    /// A socket cannot be waited for; it is tried often for the moment that a start takes.
    async fn wait_until_it_answers(&self, running: &RunningContainerd) -> Result<(), Error> {
        let answering = async {
            loop {
                let runtime = Runtime::new(&self.socket());
                if runtime.version(VersionRequest::default()).await.is_ok() {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! { biased;
            () = running.ended() => Err(self.no_answer("ended while starting")),
            outcome = timeout(START_TIMEOUT, answering) => {
                outcome.map_err(|_| self.no_answer("does not answer"))
            }
        }
    }
}

/// A containerd process, ours or our predecessor's.
pub struct RunningContainerd {
    pid: i32,
    process: AsyncFd<OwnedFd>,
}

impl RunningContainerd {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    #[expect(unsafe_code, reason = "pidfd_open has no safe wrapper in the standard library")]
    fn watch(pid: i32) -> io::Result<RunningContainerd> {
        // SAFETY: the call takes plain numbers; the result is checked before it becomes an owner.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it, and it stays open for
        // as long as it is registered.
        let process = unsafe { AsyncFd::register(OwnedFd::from_raw_fd(fd)) }?;
        Ok(RunningContainerd { pid, process })
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        // An error would mean that the descriptor is not pollable: then it has ended for us.
        let _ = self.process.readable().await;
    }

    #[expect(unsafe_code, reason = "pidfd_send_signal has no safe wrapper in the standard library")]
    fn signal(&self, signal: i32) -> io::Result<()> {
        let (fd, info) = (self.process.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: the descriptor is open for as long as `self`; a null info is allowed.
        match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Asks it to end, then makes it. Its containers run on.
    pub async fn stop(&self) -> Result<(), Error> {
        self.signal(libc::SIGTERM).map_err(failed("stop containerd"))?;
        if timeout(STOP_TIMEOUT, self.ended()).await.is_err() {
            self.signal(libc::SIGKILL).map_err(failed("kill containerd"))?;
            self.ended().await;
        }
        Ok(())
    }
}
