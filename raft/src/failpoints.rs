//! Steps of the store at which a test can make a member die, wait or fail.
//!
//! Every write, flush, purge, snapshot and change of the membership passes a [`Step`]. Built
//! without the feature `failpoints`, as everything that is shipped, passing one is nothing at all.
//! With it, a trap is set from within the process or by the environment of a child process:
//!
//! ```text
//! KONTIKI_FAILPOINTS="log.flush=kill@3; log.append=sleep:50; peer.call=fail:4711"
//! ```
//!
//! A failure that names a member is one of the link to it alone.

#[cfg(not(feature = "failpoints"))]
use std::io;

#[cfg(not(feature = "failpoints"))]
use crate::types::MemberId;

macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident = $name:literal,)*) => {
        /// A step that a trap can be set at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step { $($(#[$doc])* $step,)* }

        impl Step {
            /// All of them, so that a test can walk the table.
            pub const ALL: &[Step] = &[$(Step::$step,)*];

            /// What a trap calls it.
            pub fn name(self) -> &'static str {
                match self { $(Step::$step => $name,)* }
            }
        }
    };
}

steps! {
    /// Before a write of the member's own data: identity, boot counter.
    OwnWrite = "own.write",
    /// Behind it, durable.
    OwnWritten = "own.written",
    /// Before entries are written to the log.
    LogAppend = "log.append",
    /// Behind it, before they are durable.
    LogAppended = "log.appended",
    /// Before appends are made durable.
    LogFlush = "log.flush",
    /// Behind it, before anyone is told.
    LogFlushed = "log.flushed",
    /// Before a vote is written.
    VoteWrite = "vote.write",
    /// Behind it, durable.
    VoteWritten = "vote.written",
    /// Behind the write of the committed index.
    CommittedWritten = "committed.written",
    /// Before entries that lost are removed.
    LogTruncate = "log.truncate",
    /// Behind it.
    LogTruncated = "log.truncated",
    /// Before entries that the state holds durably are dropped.
    LogPurge = "log.purge",
    /// Behind the mark, before the files go.
    LogPurged = "log.purged",
    /// Before a batch is written to the state.
    StateWrite = "state.write",
    /// Behind it, before anyone sees it.
    StateWritten = "state.written",
    /// Behind its publication, before callers are answered.
    StatePublished = "state.published",
    /// Before the state is flushed.
    StateFlush = "state.flush",
    /// Behind it.
    StateFlushed = "state.flushed",
    /// Before a step of compaction is written.
    Compaction = "state.compaction",
    /// Before a snapshot is made.
    SnapshotBuild = "snapshot.build",
    /// Behind it, before it is handed out.
    SnapshotBuilt = "snapshot.built",
    /// Before a file of a snapshot is sent.
    SnapshotSend = "snapshot.send",
    /// Before a file of a snapshot is written by its receiver.
    SnapshotReceive = "snapshot.receive",
    /// Behind the last file, durable.
    SnapshotReceived = "snapshot.received",
    /// Before a received snapshot is moved to its place.
    SnapshotInstall = "snapshot.install",
    /// Behind it, before `CURRENT` is written.
    SnapshotMoved = "snapshot.moved",
    /// `CURRENT` is written beside the old one.
    CurrentWritten = "current.written",
    /// `CURRENT` is swapped.
    CurrentSwapped = "current.swapped",
    /// Before the membership is changed.
    MembershipChange = "membership.change",
    /// Behind it.
    MembershipChanged = "membership.changed",
    /// Before a cluster is joined.
    ClusterAdopt = "cluster.adopt",
    /// Before anything is said to another member.
    PeerCall = "peer.call",
    /// Before anything another member said is looked at.
    PeerServe = "peer.serve",
}

/// Passes a step.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "it fails where traps can be set")]
#[inline(always)]
pub(crate) fn pass(_step: Step) -> io::Result<()> {
    Ok(())
}

/// Passes a step at the link to another member.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "it fails where traps can be set")]
#[inline(always)]
pub(crate) fn pass_between(_step: Step, _with: MemberId) -> io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub use self::armed::set;
#[cfg(feature = "failpoints")]
pub(crate) use self::armed::{pass, pass_between};

#[cfg(feature = "failpoints")]
mod armed {
    use std::{
        io,
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use parking_lot::{Mutex, Once};

    use super::Step;
    use crate::types::MemberId;

    const ENVIRONMENT: &str = "KONTIKI_FAILPOINTS";

    static READ: Once = Once::new();
    static ARMED: AtomicBool = AtomicBool::new(false);
    static TRAPS: Mutex<Vec<Trap>> = Mutex::new(Vec::new());

    #[derive(Clone, Copy, Debug)]
    enum Action {
        /// Ends the process as `kill -9` does.
        Kill,
        /// Holds the thread up.
        Sleep(Duration),
        /// The disk is full.
        Full,
        /// Something else fails.
        Fail,
    }

    #[derive(Clone, Copy, Debug)]
    struct Trap {
        step: Step,
        action: Action,
        /// Times that it is passed before the trap springs.
        before: u32,
        /// Whether it stays.
        stays: bool,
        /// The link at which it is set, if not at all.
        with: Option<MemberId>,
    }

    /// Sets traps in this process, in place of those before: `step=action[:millis][@nth]`,
    /// separated by semicolons. With `@nth` a trap springs once, without it every time.
    pub fn set(traps: &str) -> Result<(), String> {
        READ.call_once(|| {});
        let traps: Vec<Trap> = traps
            .split(';')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(parse)
            .collect::<Result<_, _>>()?;
        ARMED.store(!traps.is_empty(), Ordering::Release);
        *TRAPS.lock() = traps;
        Ok(())
    }

    fn parse(trap: &str) -> Result<Trap, String> {
        let wrong = || format!("the trap {trap:?} makes no sense");
        let (name, action) = trap.split_once('=').ok_or_else(wrong)?;
        let step = *Step::ALL.iter().find(|step| step.name() == name).ok_or_else(wrong)?;
        let (action, nth) = action.split_once('@').unwrap_or((action, ""));
        let before = if nth.is_empty() { 1 } else { nth.parse().map_err(|_| wrong())? };
        let mut with = None;
        let action = match action.split_once(':').unwrap_or((action, "")) {
            ("kill", "") => Action::Kill,
            ("full", "") => Action::Full,
            ("fail", "") => Action::Fail,
            ("fail", member) => {
                with = Some(MemberId(member.parse().map_err(|_| wrong())?));
                Action::Fail
            }
            ("sleep", millis) => {
                Action::Sleep(Duration::from_millis(millis.parse().map_err(|_| wrong())?))
            }
            _ => return Err(wrong()),
        };
        Ok(Trap { step, action, before: before.max(1) - 1, stays: nth.is_empty(), with })
    }

    /// Passes a step, and springs the trap that is set there.
    pub(crate) fn pass(step: Step) -> io::Result<()> {
        pass_at(step, None)
    }

    /// Passes a step at the link to another member.
    pub(crate) fn pass_between(step: Step, with: MemberId) -> io::Result<()> {
        pass_at(step, Some(with))
    }

    fn pass_at(step: Step, with: Option<MemberId>) -> io::Result<()> {
        READ.call_once(|| {
            if let Ok(traps) = std::env::var(ENVIRONMENT) {
                let traps: Result<Vec<Trap>, String> =
                    traps.split(';').map(|trap| parse(trap.trim())).collect();
                *TRAPS.lock() = traps.expect("the environment sets traps that exist");
                ARMED.store(true, Ordering::Release);
            }
        });
        if !ARMED.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(action) = sprung(step, with) else { return Ok(()) };
        match action {
            Action::Kill => {
                let own = rustix::process::getpid();
                let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
                loop {
                    std::thread::park();
                }
            }
            Action::Sleep(span) => {
                std::thread::sleep(span);
                Ok(())
            }
            Action::Full => {
                Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()))
            }
            Action::Fail => Err(io::Error::other(format!("a trap at {}", step.name()))),
        }
    }

    fn sprung(step: Step, with: Option<MemberId>) -> Option<Action> {
        let mut traps = TRAPS.lock();
        let set = |trap: &Trap| trap.step == step && (trap.with.is_none() || trap.with == with);
        let at = traps.iter().position(set)?;
        let trap = &mut traps[at];
        if trap.before > 0 {
            trap.before -= 1;
            return None;
        }
        let action = trap.action;
        if !trap.stays {
            traps.remove(at);
        }
        Some(action)
    }
}
