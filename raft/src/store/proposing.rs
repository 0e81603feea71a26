//! Getting something done by the leader, whoever that is by then.

use std::{
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use kontiki_base::backoff::Backoff;
use openraft::errors::ClientWriteError;
use tokio::time::{Instant, timeout};

use super::{Inner, batching::Asked};
use crate::{
    asking::answer_of,
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
        let (asked, answer) = Asked::new(proposal);
        if self.batching.send(vec![asked]).await.is_err() {
            return Attempt::Stopped;
        }
        answer_of(&self.batching, answer).await.unwrap_or(Attempt::Stopped)
    }

    /// Proposes together what came together; answers come in the same order. `None` when the store
    /// has stopped.
    pub(crate) async fn propose_many_here(
        &self,
        proposals: Vec<Proposal>,
    ) -> Option<BoxStream<'static, Attempt<Reply>>> {
        // What a state that is not to be believed replies is not to be believed.
        if self.health.corrupt().is_some() {
            return None;
        }
        let mut asked = Vec::with_capacity(proposals.len());
        let mut answers = Vec::with_capacity(proposals.len());
        for proposal in proposals {
            let answer = self.has_room_for(&proposal).then(|| {
                let (one, answer) = Asked::new(proposal);
                asked.push(one);
                answer
            });
            answers.push(answer);
        }
        if !asked.is_empty() {
            self.batching.send(asked).await.ok()?;
        }
        let queue = self.batching.clone();
        let answers = futures::stream::iter(answers).then(move |answer| {
            let queue = queue.clone();
            async move {
                match answer {
                    Some(answer) => answer_of(&queue, answer).await.unwrap_or(Attempt::Stopped),
                    None => no_space(),
                }
            }
        });
        Some(answers.boxed())
    }
}

fn no_space() -> Attempt<Reply> {
    Attempt::Done(Reply::Refused(Refusal::NoSpace))
}

pub(super) fn not_written(error: &ClientWriteError<TypeConfig>) -> Attempt<Reply> {
    Attempt::Again(match error {
        ClientWriteError::ForwardToLeader(forward)
        | ClientWriteError::LogEntryDiscarded(forward) => forward.to_string(),
        other => other.to_string(),
    })
}

fn has_moved(now: &Leadership, from: MemberId) -> bool {
    now.leader.is_some_and(|leader| leader != from)
}
