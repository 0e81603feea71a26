//! The store's handle: cheap to clone, not generic, the same on every member.
//!
//! A write becomes a proposal, goes to whoever leads, and is tried again under the same identity
//! until it is answered or its time is over. A linearizable read first learns from the leader how
//! far this member must have applied.

mod administering;
mod batching;
mod compactor;
mod compare;
mod deleting;
mod discovery;
mod health;
mod leadership;
mod leases;
mod log_bound;
mod membership;
mod open;
mod proposing;
mod read_index;
mod retention;
mod status;
mod versions;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{runtime::Runtime, sync::watch, time::timeout};

use crate::{
    backup::{self, Attachment, Backup},
    command::{Command, Reply},
    environment::blocking,
    error::{Error, Refusal},
    log::LogStore,
    mvcc,
    peer::Peers,
    proposals::Sequencer,
    pulse::Pulse,
    raft_types::Raft,
    state::Shared,
    types::{
        Consistency, Leadership, MemberId, RangeReply, RangeRequest, Revision, Txn, TxnReply,
        WatchRequest,
    },
    watch::Watch,
};
use kontiki_base::tasks::Tasks;

pub use self::{
    administering::{MemberStanding, MemberStatus},
    health::Ailment,
    open::PROTOCOL_VERSION,
    status::Status,
};
use self::{health::Health, read_index::ReadIndexes};
pub(crate) use self::{
    health::{Finding, Question},
    open::{ClusterIdentity, Identified, new_identity, stored_identity},
    proposing::Attempt,
};

/// How long a leader that stops waits for another to take over.
const HANDOVER_MAX: Duration = Duration::from_secs(2);

/// How long a snapshot or a purge on request may take.
const MAINTENANCE_MAX: Duration = Duration::from_secs(60);

/// A member's handle to the replicated store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) identified: Arc<Identified>,
    pub(crate) raft: Raft,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: LogStore,
    pub(crate) sequencer: Sequencer,
    pub(crate) peers: Peers,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) pulse: Pulse,
    /// One change of the membership at a time.
    membership: tokio::sync::Mutex<()>,
    read_indexes: ReadIndexes,
    batching: batching::Batching,
    pub(crate) health: Health,
    ready: tokio::sync::OnceCell<()>,
    tasks: Tasks,
    runtime: Mutex<Option<Runtime>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.id()).finish()
    }
}

impl Store {
    /// This member.
    pub fn id(&self) -> MemberId {
        self.0.identified.member
    }

    /// The cluster it belongs to; 0 until it has been added to one.
    pub fn cluster_id(&self) -> u64 {
        self.0.identified.cluster().map_or(0, |cluster| cluster.id)
    }

    /// The side of the state that readers use.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.0.shared.clone()
    }

    /// Executes a transaction. It is applied at most once, and acknowledged once it is durable on
    /// a majority. After [`Error::Timeout`] it may or may not have happened. One that only reads
    /// is answered from this member's state, as fresh as a linearizable read. One that is nothing
    /// but a delete of more than half a GiB is done in several, with a revision each.
    pub async fn txn(&self, txn: Txn) -> Result<TxnReply, Error> {
        if let Some(key) = mvcc::duplicates::find(&txn) {
            let key = String::from_utf8_lossy(&key).into_owned();
            return Err(Error::Refused(Refusal::DuplicateKey { key }));
        }
        if txn.fence.is_none() && txn.is_read_only() {
            return self.read_txn(txn).await;
        }
        let large = deleting::alone(&txn).map(|delete| (txn.fence, delete.range.clone()));
        match (self.0.propose(Command::Txn(txn)).await, large) {
            (Ok(Reply::Txn(reply)), _) => Ok(reply),
            (Ok(other), _) => Err(unexpected(&other)),
            (Err(Error::Refused(Refusal::TooLarge { .. })), Some((fence, range))) => {
                self.delete_in_steps(fence, range).await
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn read_txn(&self, txn: Txn) -> Result<TxnReply, Error> {
        self.read_index().await?;
        let shared = self.0.shared.clone();
        let read = move || mvcc::txn::read(&shared.db().read(), &txn);
        let read = blocking(read).await.map_err(|_| Error::ShutDown)?;
        read.map_err(Error::from)
    }

    /// Reads keys.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeReply, Error> {
        self.0.may_serve()?;
        // Looking a key up is quicker than having another thread do it.
        let small = request.query.range.single().is_some();
        if request.consistency == Consistency::Linearizable {
            self.read_index().await?;
        }
        let shared = self.0.shared.clone();
        let read = move || mvcc::range::range(&shared.db().read(), &request);
        if small {
            return read();
        }
        blocking(read).await.map_err(|_| Error::ShutDown)?
    }

    /// Subscribes to changes.
    pub async fn watch(&self, request: WatchRequest) -> Result<Watch, Error> {
        self.0.may_serve()?;
        if let Some(from) = request.from {
            let oldest = self.0.shared.applied().floor;
            if from < oldest {
                return Err(Error::Compacted { requested: from, oldest });
            }
        }
        Ok(Watch::new(self.0.shared.clone(), request))
    }

    /// Waits until this member has applied everything that was acknowledged anywhere before the
    /// call, and says its revision.
    pub async fn read_index(&self) -> Result<Revision, Error> {
        self.0.may_serve()?;
        let _place = self.0.read_indexes.enter()?;
        let index = self.0.read_indexes.next().await?;
        let mut applied = self.0.shared.watch_applied();
        let reached = applied.wait_for(|applied| applied.next_index > index);
        match timeout(read_index::READ_INDEX_MAX, reached).await {
            Ok(Ok(applied)) => Ok(applied.revision),
            Ok(Err(_)) => Err(Error::ShutDown),
            Err(_) => Err(Error::Timeout {
                waited: read_index::READ_INDEX_MAX,
                last: format!("this member has not applied entry {index}"),
            }),
        }
    }

    /// Waits until this member has applied `revision`, which somebody was told of: what follows
    /// on this member sees it. Gives up silently when the member lags far behind.
    pub async fn applied(&self, revision: Revision) {
        if self.revision() >= revision {
            return;
        }
        let mut applied = self.0.shared.watch_applied();
        let reached = applied.wait_for(|applied| applied.revision >= revision);
        let _ = timeout(read_index::READ_INDEX_MAX, reached).await;
    }

    /// The revision that is applied here.
    pub fn revision(&self) -> Revision {
        self.0.shared.applied().revision
    }

    /// Waits until this member may serve: it has applied up to a read index that was taken after
    /// its start. Returns at once when called again. A corrupt member may never serve.
    pub async fn ready(&self) -> Result<(), Error> {
        if self.0.health.corrupt().is_some() {
            return std::future::pending().await;
        }
        let caught_up = || async {
            loop {
                match self.read_index().await {
                    Ok(_) => return Ok(()),
                    Err(Error::Timeout { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        };
        self.0.ready.get_or_try_init(caught_up).await.copied()
    }

    /// Refuses when this member is none any more, or when its state is not to be believed.
    pub fn may_serve(&self) -> Result<(), Error> {
        self.0.may_serve()
    }

    /// Whether [`Store::ready`] would return at once.
    pub fn is_ready(&self) -> bool {
        self.0.ready.initialized() && self.0.health.corrupt().is_none()
    }

    /// Ends when this member may serve nobody any more, with the reason: whoever is served for
    /// longer than a request goes elsewhere.
    pub async fn dismissed(&self) -> Error {
        let mut expelled = self.0.identified.watch_expelled();
        tokio::select! { biased;
            _ = expelled.wait_for(Option::is_some) => {}
            () = self.0.health.condemned() => {}
        }
        self.0.may_serve().err().unwrap_or(Error::ShutDown)
    }

    /// Removes this member, as far as it knows itself.
    #[cfg(test)]
    pub(crate) fn expel(&self, reason: &str) {
        self.0.identified.expel(reason);
    }

    /// Lets this member find that its state differs from the others'.
    #[cfg(test)]
    pub(crate) async fn condemn(&self, finding: &str) {
        self.0.heed(finding, true).await;
    }

    /// What ails this member, for its status: nothing on a healthy one.
    pub fn ailments(&self) -> Vec<Ailment> {
        self.0.health.ailments()
    }

    /// Changes a stored value behind everybody's back, as a broken disk or a defect might. For
    /// tests of whether that is found.
    #[cfg(feature = "failpoints")]
    #[doc(hidden)]
    pub fn corrupt(&self, key: &[u8]) -> Result<(), Error> {
        use mvcc::{Space, View};
        let db = self.0.shared.db();
        let found = db.read().get(Space::Current, key)?;
        let mut value = found.map(|value| value.to_vec()).unwrap_or_default();
        if let Some(last) = value.last_mut() {
            *last ^= 1;
        }
        db.write([((Space::Current, key.to_vec()), Some(value.into()))])?;
        Ok(())
    }

    /// Who leads, and the fence while it is this member.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.subscribe()
    }

    /// Forgets history before `revision`; [`Error::Compacted`] if that is forgotten already.
    pub async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.0.propose(Command::Compact { revision }).await.map(drop)
    }

    /// Waits until this member has dropped what was compacted below `revision`.
    pub async fn reclaimed(&self, revision: Revision) -> Result<(), Error> {
        let mut reclaimed = self.0.shared.watch_reclaimed();
        let reached = reclaimed.wait_for(|reclaimed| *reclaimed >= revision).await;
        reached.map(drop).map_err(|_| Error::ShutDown)
    }

    /// A fingerprint of what this member holds at a revision (its latest when `None`): equal on
    /// all members that have applied it and have the same compaction floor.
    pub async fn hash(&self, at: Option<Revision>) -> Result<(Revision, u64), Error> {
        let shared = self.0.shared.clone();
        let hash = move || mvcc::hash::hash(&shared.db().read_once(), at);
        blocking(hash).await.map_err(|_| Error::ShutDown)?
    }

    /// Makes a backup of what this member has applied, with whatever belongs to it.
    pub async fn backup(&self, attachments: Vec<Attachment>) -> Result<Backup, Error> {
        self.0.may_serve()?;
        let cluster = self.0.identified.cluster().ok_or_else(|| Error::Declined {
            reason: "this member has not been added to a cluster yet".to_owned(),
        })?;
        backup::save(self.0.shared.clone(), self.id(), cluster, attachments).await
    }

    /// Flushes the state and drops the log before it, which otherwise happens as the log grows.
    pub async fn snapshot_and_purge(&self) -> Result<(), Error> {
        let stopped = |_| Error::ShutDown;
        let index = self.0.shared.applied().next_index.saturating_sub(1);
        let raft = &self.0.raft;
        raft.trigger().snapshot().await.map_err(stopped)?;
        raft.wait(Some(MAINTENANCE_MAX))
            .metrics(|m| m.snapshot.as_ref().is_some_and(|id| id.index >= index), "snapshot")
            .await
            .map_err(|error| Error::Storage(std::io::Error::other(error)))?;
        raft.trigger().purge_log(index).await.map_err(stopped)?;
        raft.wait(Some(MAINTENANCE_MAX))
            .metrics(|m| m.purged.as_ref().is_some_and(|id| id.index >= index), "purge")
            .await
            .map_err(|error| Error::Storage(std::io::Error::other(error)))?;
        Ok(())
    }

    /// Stops at once, as if the machine had: nothing is handed over, nothing is flushed. For
    /// tests of what comes after.
    #[doc(hidden)]
    pub fn crash(&self) {
        self.0.shared.hub().close();
        if let Some(runtime) = self.0.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }

    /// Hands leadership over if this member has it, stops, and flushes.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let inner = &self.0;
        if let Err(error) = timeout(HANDOVER_MAX, inner.hand_over()).await {
            tracing::info!("stopping without a successor: {error}");
        }
        inner.sequencer.close();
        inner.shared.hub().close();
        inner.tasks.stop().await;
        inner
            .raft
            .shutdown()
            .await
            .map_err(|error| Error::Storage(std::io::Error::other(error)))?;
        let (shared, log) = (inner.shared.clone(), inner.log.clone());
        let flush = move || {
            shared.db().flush()?;
            log.close();
            Ok::<(), std::io::Error>(())
        };
        blocking(flush).await.map_err(|_| Error::ShutDown)??;
        let runtime = inner.runtime.lock().take();
        if let Some(runtime) = runtime {
            // Waits for what still runs, so that the folder is free when this returns.
            let stop = move || runtime.shutdown_timeout(HANDOVER_MAX);
            blocking(stop).await.map_err(|_| Error::ShutDown)?;
        }
        Ok(())
    }
}

impl Inner {
    /// Tasks that stop with the store.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }
}

fn unexpected(reply: &Reply) -> Error {
    Error::Storage(std::io::Error::other(format!("the reply {reply:?} is of another command")))
}
