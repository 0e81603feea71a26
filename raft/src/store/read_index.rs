//! Read indexes: requests that wait together share one round to the leader.

use std::{sync::Arc, time::Duration};

use kontiki_base::CancellationToken;
use openraft::{
    ReadPolicy,
    errors::{LinearizableReadError, RaftError},
};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

use super::{Attempt, Inner};
use crate::{asking::answer_of, error::Error, metrics};

/// How long a read waits for its index, and for this member to reach it.
pub(super) const READ_INDEX_MAX: Duration = Duration::from_secs(5);
/// Readers that may wait, for a round or for what it said to be applied; the next one is refused.
const WAITING_MAX: usize = 65_536;

type Answer = oneshot::Sender<Result<u64, String>>;

/// The queue of readers.
pub(super) struct ReadIndexes {
    queue: mpsc::Sender<Answer>,
    readers: Semaphore,
}

impl ReadIndexes {
    pub(super) fn new() -> (ReadIndexes, mpsc::Receiver<Answer>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (ReadIndexes { queue: sender, readers: Semaphore::new(WAITING_MAX) }, receiver)
    }

    /// A place among the readers, to be kept until the read may begin.
    pub(super) fn enter(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.readers.try_acquire().map_err(|_| {
            metrics::health().reads_rejected.inc();
            Error::TooManyRequests
        })
    }

    /// The log index that a read which begins now must see applied.
    pub(super) async fn next(&self) -> Result<u64, Error> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(answer).await.map_err(|_| Error::ShutDown)?;
        match answer_of(&self.queue, answered).await {
            Some(Ok(index)) => Ok(index),
            Some(Err(last)) => Err(Error::Timeout { waited: READ_INDEX_MAX, last }),
            None => Err(Error::ShutDown),
        }
    }
}

/// Serves the queue: everyone who waits when a round begins is answered by it.
pub(super) async fn run(
    inner: Arc<Inner>,
    mut queue: mpsc::Receiver<Answer>,
    shutdown: CancellationToken,
) {
    let mut waiting = Vec::new();
    loop {
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            received = queue.recv_many(&mut waiting, WAITING_MAX) => {
                if received == 0 {
                    return;
                }
            }
        }
        let round = tokio::select! { biased;
            () = shutdown.cancelled() => return,
            round = inner.read_index_round() => round,
        };
        for answer in waiting.drain(..) {
            let _ = answer.send(round.clone());
        }
    }
}

impl Inner {
    async fn read_index_round(&self) -> Result<u64, String> {
        let asked = self.ask_leader(READ_INDEX_MAX, |leader| async move {
            if leader == self.identified.member {
                self.read_index_here().await
            } else {
                self.peers.read_index(leader).await
            }
        });
        asked.await.map_err(|error| {
            metrics::store().slow_read_indexes.inc();
            match error {
                Error::Timeout { last, .. } => last,
                other => other.to_string(),
            }
        })
    }

    /// Takes a read index on this member, which should be leading.
    pub(crate) async fn read_index_here(&self) -> Attempt<u64> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Attempt::Done(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Attempt::Again(forward.to_string())
            }
            Err(error) => Attempt::Again(error.to_string()),
        }
    }
}
