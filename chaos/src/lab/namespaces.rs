//! Starting processes and threads inside another process's namespaces.
//!
//! No `nsenter` or `unshare` wrapper stands between the lab and what it started: the child is the
//! program itself, so a signal or an exit status means what it says. (The wrappers stop themselves
//! when their child is stopped, and survive when it is killed.)

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

/// Which namespaces of the target a process enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of them: the process lives on that host.
    Host,
    /// The network alone: plumbing, done from outside with the outside's process ids and files.
    Network,
}

/// Starts `command` as process 1 of new namespaces of every kind.
pub(crate) fn spawn_init(command: &mut Command) -> io::Result<Child> {
    let kinds = libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET;
    #[expect(unsafe_code, reason = "unshare between fork and exec; async-signal-safe")]
    unsafe {
        command.pre_exec(move || check(libc::unshare(kinds)));
    }
    for _ in 0..100 {
        match spawn_first_process(command) {
            // Some other thread's child was forked while the program's file was being written, and
            // has not got rid of the descriptor yet.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
    Err(io::ErrorKind::ExecutableFileBusy.into())
}

/// The next child of a thread that does this becomes process 1; the thread itself stays.
fn spawn_first_process(command: &mut Command) -> io::Result<Child> {
    #[expect(unsafe_code, reason = "a system call on the calling thread alone")]
    on_fresh_thread(|| {
        check(unsafe { libc::unshare(libc::CLONE_NEWPID) })?;
        command.spawn()
    })
}

/// Starts `command` in the namespaces of process `target`.
pub(crate) fn spawn(target: u32, scope: Scope, command: &mut Command) -> io::Result<Child> {
    let process = pidfd(target)?;
    let raw = process.as_raw_fd();
    let kinds = match scope {
        Scope::Host => {
            libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET
        }
        Scope::Network => libc::CLONE_NEWNET,
    };
    command.process_group(0);
    #[expect(unsafe_code, reason = "setns between fork and exec; async-signal-safe")]
    unsafe {
        command.pre_exec(move || check(libc::setns(raw, kinds)));
    }
    #[expect(unsafe_code, reason = "a system call on the calling thread alone")]
    on_fresh_thread(|| {
        if scope == Scope::Host {
            check(unsafe { libc::setns(process.as_raw_fd(), libc::CLONE_NEWPID) })?;
        }
        command.spawn()
    })
}

/// A network namespace that threads can work in.
#[derive(Clone, Debug)]
pub struct Network(Arc<File>);

impl Network {
    /// The network that process `pid` lives in.
    pub fn of_process(pid: u32) -> io::Result<Network> {
        Ok(Network(Arc::new(File::open(format!("/proc/{pid}/ns/net"))?)))
    }

    /// Moves the calling thread into this network: sockets it opens from now on belong there.
    pub fn enter(&self) -> io::Result<()> {
        #[expect(unsafe_code, reason = "a system call on the calling thread alone")]
        check(unsafe { libc::setns(self.0.as_fd().as_raw_fd(), libc::CLONE_NEWNET) })
    }

    /// Runs `work` on a thread of its own inside this network.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_fresh_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// A runtime all of whose threads live in this network.
    pub fn runtime(&self, threads: usize) -> io::Result<tokio::runtime::Runtime> {
        let network = self.clone();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .on_thread_start(move || network.enter().expect("an open network can be entered"))
            .build()
    }
}

fn pidfd(process: u32) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "pidfd_open returns a descriptor that is ours alone")]
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(process), 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd).expect("descriptors are small")))
    }
}

fn on_fresh_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
