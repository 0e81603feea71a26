//! Campaigning early: when the leader's connection breaks, waiting out a random election time-out
//! on top of the lease tells nothing more.
//!
//! The vote itself stays as safe as ever: a pre-vote is only asked for once the own lease has run
//! out, and only granted by peers whose lease has, too.

use std::{sync::Arc, time::Duration};

use kontiki_base::CancellationToken;
use tokio::{sync::mpsc, time::timeout};

use crate::{store::Inner, types::MemberId};

/// Broken connections that may wait to be looked at.
const REPORTS_MAX: usize = 64;
/// Attempts after a break; then the ordinary election timer is enough.
const ATTEMPTS_MAX: u32 = 16;
/// Between attempts. The lease ends between two of them.
const ATTEMPT_EVERY: Duration = Duration::from_millis(30);
/// Spreads the attempts of two followers.
const JITTER_MAX_MILLIS: u64 = 20;

/// Reports that a member's connection is gone.
#[derive(Clone)]
pub(crate) struct Lost(mpsc::Sender<MemberId>);

impl Lost {
    pub(crate) fn report(&self, member: MemberId) {
        // When the queue is full, somebody is at it already.
        let _ = self.0.try_send(member);
    }
}

pub(super) fn channel() -> (Lost, mpsc::Receiver<MemberId>) {
    let (sender, receiver) = mpsc::channel(REPORTS_MAX);
    (Lost(sender), receiver)
}

/// Campaigns when the leader's connections break, until there is another leader.
pub(super) async fn run(
    inner: Arc<Inner>,
    mut reports: mpsc::Receiver<MemberId>,
    shutdown: CancellationToken,
) {
    let mut leadership = inner.leadership.subscribe();
    loop {
        let member = tokio::select! { biased;
            () = shutdown.cancelled() => return,
            report = reports.recv() => match report {
                Some(member) => member,
                None => return,
            },
        };
        for _ in 0..ATTEMPTS_MAX {
            if leadership.borrow_and_update().leader != Some(member) {
                break;
            }
            let jitter = Duration::from_millis(rand::random_range(0..JITTER_MAX_MILLIS));
            let moved = leadership.wait_for(|now| now.leader != Some(member));
            tokio::select! { biased;
                () = shutdown.cancelled() => return,
                moved = timeout(ATTEMPT_EVERY + jitter, moved) => {
                    if moved.is_ok() {
                        break;
                    }
                }
            }
            if inner.pulse.is_unsure() {
                continue;
            }
            // Does nothing while the lease holds.
            if inner.raft.trigger().elect(true).await.is_err() {
                return;
            }
        }
        // Several connections of one member break together.
        while reports.try_recv().is_ok() {}
    }
}
