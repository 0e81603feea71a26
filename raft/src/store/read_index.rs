//! Read indexes: requests that wait together share one round to the leader.

use std::{sync::Arc, time::Duration};

use kontiki_base::{CancellationToken, backoff::Backoff};
use openraft::{
    ReadPolicy,
    errors::{LinearizableReadError, RaftError},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use super::Inner;
use crate::{error::Error, metrics};

/// How long a read waits for its index, and for this member to reach it.
pub(super) const READ_INDEX_MAX: Duration = Duration::from_secs(5);
/// Readers that may wait for the next round.
const WAITING_MAX: usize = 65_536;

type Answer = oneshot::Sender<Result<u64, String>>;

/// The queue of readers.
pub(super) struct ReadIndexes(mpsc::Sender<Answer>);

impl ReadIndexes {
    pub(super) fn new() -> (ReadIndexes, mpsc::Receiver<Answer>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (ReadIndexes(sender), receiver)
    }

    /// The log index that a read which begins now must see applied.
    pub(super) async fn next(&self) -> Result<u64, Error> {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| Error::ShutDown)?;
        match answered.await {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(last)) => Err(Error::Timeout { waited: READ_INDEX_MAX, last }),
            Err(_) => Err(Error::ShutDown),
        }
    }
}

/// What one attempt to learn a read index came to.
pub(crate) enum ReadIndex {
    /// What was asked for.
    At(u64),
    /// Ask again, perhaps someone else.
    Again(String),
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
        let deadline = Instant::now() + READ_INDEX_MAX;
        let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(50));
        let mut leadership = self.leadership.subscribe();
        let mut last = "no leader is known".to_owned();
        loop {
            let leader = leadership.borrow_and_update().leader;
            if let Some(leader) = leader {
                let ask = async {
                    if leader == self.identified.member {
                        self.read_index_here().await
                    } else {
                        self.peers.read_index(leader).await
                    }
                };
                let moved = leadership
                    .wait_for(|now| now.leader.is_some_and(|now| now != leader));
                tokio::select! { biased;
                    answer = timeout(deadline - Instant::now(), ask) => match answer {
                        Ok(ReadIndex::At(index)) => return Ok(index),
                        Ok(ReadIndex::Again(reason)) => last = reason,
                        Err(_) => last = format!("the leader {leader} does not answer"),
                    },
                    _ = moved => last = format!("{leader} leads no more"),
                }
            }
            let now = Instant::now();
            if now >= deadline {
                metrics::store().slow_read_indexes.inc();
                return Err(last);
            }
            let pause = backoff.next_delay().min(deadline - now);
            let _ = timeout(pause, leadership.changed()).await;
        }
    }

    /// Takes a read index on this member, which should be leading.
    pub(crate) async fn read_index_here(&self) -> ReadIndex {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => ReadIndex::At(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                ReadIndex::Again(forward.to_string())
            }
            Err(error) => ReadIndex::Again(error.to_string()),
        }
    }
}
