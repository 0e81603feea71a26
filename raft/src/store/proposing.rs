//! Getting something done by the leader, whoever that is by then.

use std::{
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use kontiki_base::backoff::Backoff;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::time::{Instant, timeout};

use super::Inner;
use crate::{
    codec,
    command::{Command, Envelope, Proposal, Reply},
    error::{Error, Refusal},
    metrics,
    raft_types::TypeConfig,
    types::{Leadership, MemberId},
};

/// How long a proposal is tried. etcd gives up after its request time-out and two elections; an
/// election is short here, and a caller that cannot wait gives up by itself.
const PROPOSAL_MAX: Duration = Duration::from_secs(10);

/// What one attempt came to.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    /// Answered.
    Done(T),
    /// Not done, or not known to be: try again, perhaps elsewhere.
    Again(String),
    /// It will not be done.
    Refused(String),
    /// The store has stopped.
    Stopped,
}

impl Inner {
    /// Proposes until it is answered; the identity makes repetition harmless.
    pub(crate) async fn propose(&self, command: Command) -> Result<Reply, Error> {
        self.may_serve()?;
        let start = Instant::now();
        let ticket = self.sequencer.begin(codec::size(&command)).await?;
        let proposal = Proposal::new(&Envelope { identity: ticket.identity(), command });
        let proposal = &proposal;
        let attempts = AtomicU32::new(0);
        let attempts = &attempts;
        let asked = self.ask_leader(PROPOSAL_MAX, |leader| async move {
            attempts.fetch_add(1, Ordering::Relaxed);
            if leader == self.identified.member {
                self.propose_here(proposal.clone()).await
            } else {
                self.peers.propose(leader, proposal).await
            }
        });
        match asked.await {
            // An earlier attempt may have come through: nobody knows.
            Ok(Reply::Refused(Refusal::NoSpace)) if attempts.load(Ordering::Relaxed) > 1 => {
                let last = Refusal::NoSpace.to_string();
                Err(Error::Timeout { waited: start.elapsed(), last })
            }
            Ok(Reply::Refused(refusal)) => Err(refusal.into()),
            Ok(reply) => Ok(reply),
            Err(error) => {
                metrics::store().proposals_failed.inc();
                Err(error)
            }
        }
    }

    /// Asks whoever leads, until it is answered or its time is over.
    pub(super) async fn ask_leader<T, F>(
        &self,
        most: Duration,
        ask: impl Fn(MemberId) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Attempt<T>>,
    {
        let deadline = Instant::now() + most;
        let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(20));
        let mut leadership = self.leadership.subscribe();
        let mut last = "no leader is known".to_owned();
        loop {
            if let Some(reason) = self.identified.expelled() {
                return Err(Error::Removed { reason });
            }
            let leader = leadership.borrow_and_update().leader;
            if let Some(leader) = leader {
                // A leader that was replaced may never answer: its successor is asked instead.
                let moved = leadership.wait_for(|now| has_moved(now, leader));
                tokio::select! { biased;
                    attempt = timeout(deadline - Instant::now(), ask(leader)) => match attempt {
                        Ok(Attempt::Done(answer)) => return Ok(answer),
                        Ok(Attempt::Again(reason)) => last = reason,
                        Ok(Attempt::Refused(reason)) => return Err(Error::Declined { reason }),
                        Ok(Attempt::Stopped) => return Err(Error::ShutDown),
                        Err(_) => last = format!("the leader {leader} does not answer"),
                    },
                    _ = moved => {
                        last = format!("{leader} leads no more");
                        backoff.reset();
                        continue;
                    }
                }
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(Error::Timeout { waited: most, last });
            }
            let pause = backoff.next_delay().min(deadline - now);
            if timeout(pause, leadership.changed()).await.is_ok() {
                backoff.reset();
            }
        }
    }

    /// Proposes on this member, which should be leading.
    async fn propose_here(&self, proposal: Proposal) -> Attempt<Reply> {
        if !self.has_room_for(&proposal) {
            return no_space();
        }
        match self.raft.client_write(proposal).await {
            Ok(written) => Attempt::Done(written.data),
            Err(RaftError::APIError(error)) => not_written(&error),
            Err(RaftError::Fatal(_)) => Attempt::Stopped,
        }
    }

    /// Proposes together what came together; answers come in the same order. `None` when Raft
    /// has stopped.
    pub(crate) async fn propose_many_here(
        &self,
        proposals: Vec<Proposal>,
    ) -> Option<BoxStream<'static, Attempt<Reply>>> {
        // What a state that is not to be believed replies is not to be believed.
        if self.health.corrupt().is_some() {
            return None;
        }
        let taken: Vec<bool> = proposals.iter().map(|p| self.has_room_for(p)).collect();
        let mut fits = taken.iter();
        let proposals: Vec<Proposal> =
            proposals.into_iter().filter(|_| fits.next().copied().unwrap_or(false)).collect();
        if proposals.is_empty() {
            let refused = taken.into_iter().map(|_| no_space());
            return Some(futures::stream::iter(refused).boxed());
        }
        let written = self.raft.client_write_many(proposals).await.ok()?;
        let answers = written.map(|written| match written {
            Ok(Ok(written)) => Attempt::Done(written.response),
            Ok(Err(error)) => not_written(&error),
            Err(_) => Attempt::Stopped,
        });
        // It ends with the first failure of Raft itself: the others have failed with it.
        let stopped = futures::stream::repeat_with(|| Attempt::Stopped);
        let answers = Box::pin(answers.chain(stopped));
        let in_order = futures::stream::unfold(
            (taken.into_iter(), answers),
            async |(mut taken, mut answers)| {
                let answer = if taken.next()? { answers.next().await? } else { no_space() };
                Some((answer, (taken, answers)))
            },
        );
        Some(in_order.boxed())
    }
}

fn no_space() -> Attempt<Reply> {
    Attempt::Done(Reply::Refused(Refusal::NoSpace))
}

fn not_written(error: &ClientWriteError<TypeConfig>) -> Attempt<Reply> {
    Attempt::Again(match error {
        ClientWriteError::ForwardToLeader(forward)
        | ClientWriteError::LogEntryDiscarded(forward) => forward.to_string(),
        other => other.to_string(),
    })
}

fn has_moved(now: &Leadership, from: MemberId) -> bool {
    now.leader.is_some_and(|leader| leader != from)
}
