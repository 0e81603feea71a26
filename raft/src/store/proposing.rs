//! Getting a command applied: to the leader, again and again, once.

use std::time::Duration;

use kontiki_base::backoff::Backoff;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::time::{Instant, timeout};

use super::Inner;
use crate::{
    command::{Command, Envelope, Proposal, Reply},
    error::Error,
    metrics,
    types::{Leadership, Member, MemberId},
};

/// How long a proposal is tried. etcd gives up after its request time-out and two elections; an
/// election is short here, and a caller that cannot wait gives up by itself.
const PROPOSAL_MAX: Duration = Duration::from_secs(10);

/// What one attempt came to.
pub(crate) enum Attempt {
    /// Applied, or refused at apply.
    Answered(Reply),
    /// Not known to be applied: try again.
    Again(String),
    /// The store has stopped.
    Stopped,
}

impl Inner {
    /// Proposes until it is answered.
    pub(crate) async fn propose(&self, command: Command) -> Result<Reply, Error> {
        let ticket = self.sequencer.begin().await.ok_or(Error::ShutDown)?;
        let proposal = Proposal::new(&Envelope { identity: ticket.identity(), command });
        let deadline = Instant::now() + PROPOSAL_MAX;
        let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(50));
        let mut leadership = self.leadership.subscribe();
        let mut last = "no leader is known".to_owned();
        loop {
            let leader = leadership.borrow_and_update().leader;
            if let Some(leader) = leader {
                // A leader that was replaced may never answer: its successor is asked instead.
                let moved = leadership.wait_for(|now| has_moved(now, leader));
                tokio::select! { biased;
                    attempt = timeout(deadline - Instant::now(), self.attempt(leader, &proposal)) => {
                        match attempt {
                            Ok(Attempt::Answered(Reply::Refused(refusal))) => {
                                return Err(Error::Refused(refusal));
                            }
                            Ok(Attempt::Answered(reply)) => return Ok(reply),
                            Ok(Attempt::Again(reason)) => last = reason,
                            Ok(Attempt::Stopped) => return Err(Error::ShutDown),
                            Err(_) => last = format!("the leader {leader} does not answer"),
                        }
                    }
                    _ = moved => last = format!("{leader} leads no more"),
                }
            }
            let now = Instant::now();
            if now >= deadline {
                metrics::store().proposals_failed.inc();
                return Err(Error::Timeout { waited: PROPOSAL_MAX, last });
            }
            let pause = backoff.next_delay().min(deadline - now);
            let _ = timeout(pause, leadership.changed()).await;
        }
    }

    async fn attempt(&self, leader: MemberId, proposal: &Proposal) -> Attempt {
        if leader == self.identified.member {
            self.propose_here(proposal.clone()).await
        } else {
            self.peers.propose(leader, proposal).await
        }
    }

    /// Proposes on this member, which should be leading.
    pub(crate) async fn propose_here(&self, proposal: Proposal) -> Attempt {
        match self.raft.client_write(proposal).await {
            Ok(written) => Attempt::Answered(written.data),
            Err(RaftError::APIError(
                ClientWriteError::ForwardToLeader(forward)
                | ClientWriteError::LogEntryDiscarded(forward),
            )) => Attempt::Again(forward.to_string()),
            Err(RaftError::APIError(error)) => Attempt::Again(error.to_string()),
            Err(RaftError::Fatal(_)) => Attempt::Stopped,
        }
    }

    /// The members, from the replicated membership.
    pub(crate) fn members(&self) -> Vec<Member> {
        let membership = {
            let metrics = self.raft.metrics();
            let metrics = openraft::async_runtime::watch::WatchReceiver::borrow_watched(&metrics);
            metrics.membership_config.clone()
        };
        let voters: Vec<u64> = membership.voter_ids().collect();
        membership
            .nodes()
            .map(|(id, node)| Member {
                id: MemberId(*id),
                name: node.name.clone(),
                peer_address: node.peer_address.clone(),
                api_address: node.api_address.clone(),
                voter: voters.contains(id),
            })
            .collect()
    }
}

fn has_moved(now: &Leadership, from: MemberId) -> bool {
    now.leader.is_some_and(|leader| leader != from)
}
