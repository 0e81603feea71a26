//! How the members are, and what the leader does about it.
//!
//! Every second a member looks at its disk, and the leader asks the others how they are. A leader
//! that is sick gives leadership to a healthy voter; while too few voters have room for puts,
//! none are taken. All of it ends by itself when the disks are well again.

mod plan;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use kontiki_base::CancellationToken;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use self::plan::{Known, Reason};
use super::{Attempt, Inner};
use crate::{
    command::{Command, Proposal},
    disk::{Room, damage, space, space::Space},
    environment::blocking,
    error::Error,
    metrics,
    types::{MemberId, Op, Revision, Txn},
};

/// How often a member looks at its disk, and the leader at the others.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it waits for what the system says of the disk.
const LOOK_MAX: Duration = Duration::from_millis(200);
/// A member that does not say in time how it is, is not known to be well.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// What the leader told counts for so long.
const TIDINGS_MAX: Duration = Duration::from_secs(5);

/// How a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Condition {
    /// Of the log's fsyncs over the last seconds.
    pub(crate) fsync_p99: Duration,
    /// They are late again and again.
    pub(crate) slow: bool,
    /// On the disk of its data folder.
    pub(crate) room: Room,
    /// Its state differs from the others'.
    pub(crate) corrupt: bool,
}

impl Condition {
    /// Whether it could lead.
    fn is_well(self) -> bool {
        !self.slow && self.room == Room::Plenty && !self.corrupt
    }
}

impl fmt::Display for Ailment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ailment::NoSpace => "alarm:NOSPACE",
            Ailment::Corrupt => "alarm:CORRUPT",
            Ailment::SlowDisk => "the disk of the log is slow",
        })
    }
}

/// What can ail a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// Its disk is full, or it leads and too few voters have room.
    NoSpace,
    /// Its state differs from the majority's: it refuses to serve.
    Corrupt,
    /// The log's fsyncs are late again and again.
    SlowDisk,
}

/// What a leader says when it asks.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Tidings {
    /// Whether what it appends may be puts.
    pub(crate) takes_puts: bool,
    /// By how much its own lateness widens election time-outs.
    pub(crate) stretch: u32,
}

/// What a leader asks a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// How it is.
    Condition(Tidings),
    /// What its state's fingerprint is at a revision.
    Hash { at: Revision },
    /// Tells it what a comparison found, and whether it is the odd one out.
    Differs { finding: String, odd: bool },
}

/// What a member answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Finding {
    Condition(Condition),
    Hash {
        floor: Revision,
        hash: u64,
    },
    /// It cannot say.
    Unknown(String),
    Noted,
}

/// What a member knows about health, its own and the others'.
#[derive(Default)]
pub(crate) struct Health {
    own: Mutex<Condition>,
    /// While leading: whether enough voters have room.
    short_of_room: AtomicBool,
    /// What the leader told, and when.
    tidings: Mutex<Option<(Tidings, Instant)>>,
    /// Why this member refuses to serve.
    corrupt: OnceLock<String>,
    condemned: CancellationToken,
}

impl Health {
    /// Of a member that may have been condemned in an earlier life.
    pub(super) fn new(corrupt: Option<String>) -> Health {
        let health = Health::default();
        if let Some(reason) = corrupt {
            health.condemn(&reason);
        }
        health
    }

    /// From here on this member refuses to serve. `false` if it did before.
    fn condemn(&self, reason: &str) -> bool {
        let first = self.corrupt.set(reason.to_owned()).is_ok();
        self.condemned.cancel();
        first
    }

    /// Ends when this member refuses to serve.
    pub(super) async fn condemned(&self) {
        self.condemned.cancelled().await;
    }

    /// Why this member refuses to serve, if it does.
    pub(crate) fn corrupt(&self) -> Option<&str> {
        self.corrupt.get().map(String::as_str)
    }

    /// What ails this member.
    pub(super) fn ailments(&self) -> Vec<Ailment> {
        let own = *self.own.lock();
        let full = own.room != Room::Plenty || self.short_of_room.load(Ordering::Relaxed);
        let corrupt = self.corrupt().is_some();
        let all =
            [(full, Ailment::NoSpace), (corrupt, Ailment::Corrupt), (own.slow, Ailment::SlowDisk)];
        all.into_iter().filter(|(ails, _)| *ails).map(|(_, ailment)| ailment).collect()
    }

    fn tidings(&self) -> Option<Tidings> {
        let told = *self.tidings.lock();
        told.filter(|(_, at)| at.elapsed() < TIDINGS_MAX).map(|(tidings, _)| tidings)
    }

    /// Whether the log's fsyncs are late again and again.
    pub(crate) fn has_slow_disk(&self) -> bool {
        self.own.lock().slow
    }

    /// By how much the leader wants election time-outs widened.
    pub(crate) fn leaders_stretch(&self) -> u32 {
        self.tidings().map_or(1, |tidings| tidings.stretch)
    }

    /// Whether there is room for what a leader appends. A leader that takes no puts only appends
    /// what gives room back.
    pub(crate) fn may_append(&self) -> bool {
        let critical = self.own.lock().room == Room::Critical;
        !critical || self.tidings().is_some_and(|tidings| !tidings.takes_puts)
    }
}

/// Looks after the members until shutdown.
pub(super) async fn run(
    inner: Arc<Inner>,
    folder: PathBuf,
    reserve: Option<u64>,
    lease: Duration,
    shutdown: CancellationToken,
) {
    let mut known: BTreeMap<MemberId, Known> = BTreeMap::new();
    let mut moved: Option<Instant> = None;
    let mut looking = None;
    loop {
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
        }
        // A disk that hangs may hang this, too: then what was known of it stays, and it is not
        // asked again before it has answered.
        let folder = folder.clone();
        let look =
            looking.get_or_insert_with(|| Box::pin(blocking(move || Space::of(&folder).ok())));
        let space = timeout(LOOK_MAX, look).await.ok();
        if space.is_some() {
            looking = None;
        }
        inner.look_at_own(space.and_then(Result::ok).flatten(), reserve, lease);
        if inner.leadership.borrow().fence.is_none() {
            known.clear();
            inner.health.short_of_room.store(false, Ordering::Relaxed);
            metrics::health().takes_puts.set(0);
            continue;
        }
        inner.ask_others(&mut known).await;
        let own = *inner.health.own.lock();
        inner.weigh_room(&own, &known);
        let since = moved.map(|moved| moved.elapsed());
        if let Some((to, reason)) = plan::hand_over(&own, &known, since) {
            moved = Some(Instant::now());
            inner.leave(&own, &to, reason, lease / 2).await;
        }
    }
}

impl Inner {
    /// Looks at this member's own disk, and says what has changed.
    fn look_at_own(&self, space: Option<Space>, reserve: Option<u64>, lease: Duration) {
        let look = self.log.latencies().look(lease / 2, Instant::now());
        let before = *self.health.own.lock();
        let metrics = metrics::health();
        let room = space.map_or(before.room, |space| {
            metrics.disk_available_bytes.set(i64::try_from(space.available).unwrap_or(i64::MAX));
            let reserve = space.reserve(reserve);
            let room = space::judge(before.room, space.available, reserve);
            let available = space.available;
            if room > before.room {
                tracing::error!(?room, available, reserve, "the disk of the data folder is full");
            } else if room < before.room {
                tracing::info!(?room, available, reserve, "there is room on the disk again");
            }
            room
        });
        let corrupt = self.health.corrupt().is_some();
        let now = Condition { fsync_p99: look.p99, slow: look.slow, room, corrupt };
        if now.slow != before.slow {
            let (p99, limit) = (look.p99, lease / 2);
            if now.slow {
                tracing::warn!(?p99, ?limit, fsyncs = look.fsyncs, "the disk of the log is slow");
            } else {
                tracing::info!(?p99, ?limit, "the disk of the log is as fast as before");
            }
        }
        let bytes = i64::try_from(self.shared.db().disk_bytes()).unwrap_or(i64::MAX);
        metrics::store().database_bytes.set(bytes);
        metrics.fsync_p99_seconds.set(look.p99.as_secs_f64());
        metrics.disk_full.set(room as i64);
        metrics.corrupt.set(i64::from(corrupt));
        *self.health.own.lock() = now;
    }

    /// Asks the other voters how they are.
    async fn ask_others(&self, known: &mut BTreeMap<MemberId, Known>) {
        let voters: Vec<MemberId> = self.other_voters();
        known.retain(|member, _| voters.contains(member));
        let takes_puts = !self.health.short_of_room.load(Ordering::Relaxed);
        let tidings = Tidings { takes_puts, stretch: self.pulse.stretch() };
        let asked = voters.into_iter().map(|member| async move {
            let question = Question::Condition(tidings);
            let answer = timeout(ANSWER_MAX, self.peers.examine(member, &question)).await;
            (member, answer)
        });
        for (member, answer) in join_all(asked).await {
            let known = known.entry(member).or_default();
            known.answered = false;
            if let Ok(Ok(Finding::Condition(condition))) = answer {
                *known = Known { condition, answered: true };
            }
        }
    }

    pub(super) fn other_voters(&self) -> Vec<MemberId> {
        let own = self.identified.member;
        let members = self.members().into_iter();
        members.filter(|member| member.voter && member.id != own).map(|member| member.id).collect()
    }

    /// Decides whether puts are taken.
    fn weigh_room(&self, own: &Condition, known: &BTreeMap<MemberId, Known>) {
        let takes_puts = plan::takes_puts(own, known);
        metrics::health().takes_puts.set(i64::from(takes_puts));
        let before = self.health.short_of_room.swap(!takes_puts, Ordering::Relaxed);
        if before == takes_puts {
            if takes_puts {
                tracing::info!("a majority of the voters has room: puts are taken again");
            } else {
                let full = |member: &MemberId| known[member].condition.room != Room::Plenty;
                let others: Vec<String> =
                    known.keys().filter(|id| full(id)).map(ToString::to_string).collect();
                tracing::error!(
                    own = ?own.room, full = %others.join(" "),
                    "no majority of the voters has room on its disk: puts are refused, \
                     deletions and compactions go on"
                );
            }
        }
    }

    /// Gives leadership away.
    async fn leave(
        &self,
        own: &Condition,
        to: &BTreeMap<MemberId, Condition>,
        reason: Reason,
        limit: Duration,
    ) {
        // Whose disk is fastest comes first.
        let mut candidates: Vec<(Duration, MemberId)> =
            to.iter().map(|(member, condition)| (condition.fsync_p99, *member)).collect();
        candidates.sort();
        let best = candidates.first().map(|(p99, _)| *p99).unwrap_or_default();
        tracing::warn!(
            %reason, fsync_p99 = ?own.fsync_p99, ?limit, room = ?own.room,
            healthy = to.len(), their_fsync_p99 = ?best, "handing leadership over"
        );
        for (_, member) in candidates {
            let outcome = self.transfer(Some(member)).await;
            // A slow member may hear late that somebody has taken over.
            let leader = self.leadership.borrow().leader;
            let gone = leader.is_some_and(|leader| leader != self.identified.member);
            if gone || matches!(outcome, Attempt::Done(())) {
                metrics::health().handovers.inc();
                tracing::info!(%reason, %member, "handed leadership over");
                return;
            }
            tracing::info!(%reason, %member, ?outcome, "it has not taken over");
        }
    }

    /// Answers a leader.
    pub(crate) async fn examine(&self, question: Question) -> Finding {
        match question {
            Question::Condition(tidings) => {
                *self.health.tidings.lock() = Some((tidings, Instant::now()));
                Finding::Condition(*self.health.own.lock())
            }
            Question::Hash { at } => match self.fingerprint(at).await {
                Ok((floor, hash)) => Finding::Hash { floor, hash },
                Err(error) => Finding::Unknown(kontiki_base::tasks::render(&error)),
            },
            Question::Differs { finding, odd } => {
                self.heed(&finding, odd).await;
                Finding::Noted
            }
        }
    }

    /// Takes note that members differ; the odd one out serves no more.
    pub(super) async fn heed(&self, finding: &str, odd: bool) {
        let member = self.identified.member;
        if !odd {
            tracing::error!(%member, "the members' states differ: {finding}");
            return;
        }
        let reason = format!("the state of {member} differs from the majority's: {finding}");
        if !self.health.condemn(&reason) {
            return;
        }
        tracing::error!("{reason}; it refuses to serve: {}", damage::ADVICE);
        metrics::health().corrupt.set(1);
        let log = self.log.clone();
        let kept = blocking(move || log.write_own(CORRUPT, &reason)).await;
        if let Ok(Err(error)) = kept {
            tracing::error!("cannot keep that this member is corrupt: {error}");
        }
    }

    /// Refuses when this member is none any more, or its state is not to be believed.
    pub(super) fn may_serve(&self) -> Result<(), Error> {
        if let Some(reason) = self.identified.expelled() {
            return Err(Error::Removed { reason });
        }
        match self.health.corrupt() {
            None => Ok(()),
            Some(reason) => Err(Error::CorruptMember { reason: reason.to_owned() }),
        }
    }

    /// Whether this leader takes the proposal, or has no room for what it puts.
    pub(super) fn has_room_for(&self, proposal: &Proposal) -> bool {
        if !self.health.short_of_room.load(Ordering::Relaxed) {
            return true;
        }
        proposal.open().is_ok_and(|envelope| !grows(&envelope.command))
    }
}

/// Where the log keeps that this member is corrupt.
pub(super) const CORRUPT: &str = "corrupt";

/// Whether a command may store something that was not there before.
fn grows(command: &Command) -> bool {
    match command {
        Command::Txn(txn) => puts(txn),
        Command::LeaseGrant { .. } => true,
        _ => false,
    }
}

fn puts(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(nested) => puts(nested),
        Op::Delete(_) | Op::Range(_) => false,
    })
}
