//! Finding the others after everything moved.
//!
//! A member that starts looks for a leader where the members were last. If there is none, it asks
//! whoever is at those addresses, at those it was told, and at those that it hears of there, who
//! they are, and says where it is itself. One address that is right is enough for each member:
//! what one of them learns, the others are told. It ends with the first answer of a leader.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use kontiki_base::{CancellationToken, backoff::Backoff};
use tokio::time::timeout;

use super::Inner;

/// How long the ordinary way is given: whoever did not move is found by it.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Addresses that are tried in one look around.
const ADDRESSES_MAX: usize = 64;

/// Looks around until a leader answers.
pub(super) async fn run(inner: Arc<Inner>, told: Vec<String>, shutdown: CancellationToken) {
    let found = async {
        while inner.read_indexes.next().await.is_err() {
            // A member that was removed, or stops, is told so at once, however often it asks.
            if inner.identified.expelled().is_some() {
                return;
            }
            tokio::time::sleep(PAUSE_MIN).await;
        }
    };
    let looking = async {
        tokio::time::sleep(PATIENCE).await;
        let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        loop {
            inner.look_around(&told).await;
            tokio::time::sleep(backoff.next_delay()).await;
        }
    };
    tokio::select! { biased;
        () = shutdown.cancelled() => {}
        () = found => {}
        () = looking => {}
    }
}

impl Inner {
    /// Asks at every address that is known who is there.
    async fn look_around(&self, told: &[String]) {
        if self.identified.cluster().is_none() || self.identified.expelled().is_some() {
            return;
        }
        let own = &self.peers.own().peer_address;
        let mut asked = BTreeSet::from([own.clone()]);
        let mut next: BTreeSet<String> =
            told.iter().cloned().chain(self.peers.addresses()).collect();
        while asked.len() < ADDRESSES_MAX {
            let fresh: Vec<String> = next.difference(&asked).cloned().collect();
            if fresh.is_empty() {
                return;
            }
            asked.extend(fresh.iter().cloned());
            let answers = join_all(fresh.iter().map(|address| self.meet_at(address))).await;
            next = answers.into_iter().flatten().collect();
        }
    }

    /// Asks who is at an address; returns where others may be.
    async fn meet_at(&self, address: &str) -> Vec<String> {
        match timeout(PAUSE_MAX, self.peers.who_is_at(address)).await {
            Ok(Ok(greeting))
                if greeting.cluster == self.identified.cluster()
                    && greeting.member != self.identified.member =>
            {
                if self.is_member(greeting.member) {
                    self.peers.meet(greeting.member, address);
                }
                greeting.addresses
            }
            _ => Vec::new(),
        }
    }
}
