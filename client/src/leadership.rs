//! Acting only while one's member leads.
//!
//! Leadership of a component follows the store's. A [`Turn`] begins when this member has become
//! leader, the component's caches have passed a read index taken since, and the component's Lease
//! in kube-system is its own; it ends when any of that ends. Writes of a turn carry its fence, so
//! that a write of a turn that ended is refused by the store itself.
//!
//! The Lease is for others to read, and to stay out of the way of a foreign scheduler or
//! controller manager: what decides between members of one cluster is the fence. A Lease held by
//! another member of ours is therefore taken over at once.

use std::time::Duration;

use kontiki_api::k8s_openapi::{
    api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp,
};
use kontiki_base::{
    CancellationToken, Fence,
    tasks::{TaskKind, Tasks, render},
};
use tokio::sync::watch;

use crate::{Client, Error, store::Progress};

/// Tells the committed leadership of this member, while it leads.
pub type FenceReceiver = watch::Receiver<Option<Fence>>;

/// Holders of ours start with this, so that members recognise one another.
const IDENTITY_PREFIX: &str = "kontiki-";
const LEASE_DURATION: Duration = Duration::from_secs(15);
const RENEW_INTERVAL: Duration = Duration::from_secs(2);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// One component's claim to act.
pub struct Leadership {
    client: Client,
    receiver: FenceReceiver,
    lease: &'static str,
    tasks: Tasks,
}

/// A period in which a component may act.
pub struct Turn {
    /// Writes with it are fenced.
    pub client: Client,
    /// The leadership it acts under.
    pub fence: Fence,
    /// Cancelled when the turn is over.
    pub over: CancellationToken,
}

impl Leadership {
    /// A claim under the name of the component's Lease (`kube-scheduler`, …).
    pub fn new(
        client: Client,
        receiver: FenceReceiver,
        lease: &'static str,
        tasks: &Tasks,
    ) -> Leadership {
        Leadership { client, receiver, lease, tasks: tasks.clone() }
    }

    /// Waits for the next turn. `None` when the process is stopping.
    pub async fn next_turn(&mut self, caches: &[&dyn Progress]) -> Option<Turn> {
        let shutdown = self.tasks.shutdown();
        tokio::select! { biased;
            () = shutdown.cancelled() => None,
            turn = self.wait_for_turn(caches) => turn,
        }
    }

    async fn wait_for_turn(&mut self, caches: &[&dyn Progress]) -> Option<Turn> {
        let mut told = false;
        loop {
            let fence = (*self.receiver.wait_for(Option::is_some).await.ok()?)?;
            let client = self.client.with_fence(fence);
            match self.prepare(&client, fence, caches).await {
                Ok(None) => {
                    let over = self.watch_over(client.clone(), fence);
                    return Some(Turn { client, fence, over });
                }
                Ok(Some(holder)) if !told => {
                    tracing::info!(lease = self.lease, "passive: the Lease is held by {holder}");
                    told = true;
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    tracing::debug!(lease = self.lease, "not acting yet: {}", render(&error));
                }
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// `Ok(Some(holder))` if a stranger holds the Lease.
    async fn prepare(
        &mut self,
        client: &Client,
        fence: Fence,
        caches: &[&dyn Progress],
    ) -> Result<Option<String>, Error> {
        let revision = client.read_index().await?;
        let passed = futures::future::join_all(caches.iter().map(|cache| cache.passed(revision)));
        tokio::select! { biased;
            _ = self.receiver.wait_for(|current| *current != Some(fence)) => {
                return Err(Error::InvalidRequest(format!("{fence} has ended")));
            }
            _ = passed => {}
        }
        claim(client, self.lease, fence).await
    }

    fn watch_over(&self, client: Client, fence: Fence) -> CancellationToken {
        let over = self.tasks.shutdown().child_token();
        let (token, mut receiver, lease) = (over.clone(), self.receiver.clone(), self.lease);
        self.tasks.spawn_infallible(TaskKind::logged("leadership"), async move {
            let renew = async {
                loop {
                    tokio::time::sleep(RENEW_INTERVAL).await;
                    match claim(&client, lease, fence).await {
                        Ok(Some(holder)) => {
                            tracing::warn!(lease, "the Lease was taken by {holder}: passive");
                            return;
                        }
                        Ok(None) => {}
                        Err(error) => tracing::debug!(lease, "not renewed: {}", render(&error)),
                    }
                }
            };
            tokio::select! { biased;
                () = token.cancelled() => {}
                _ = receiver.wait_for(|current| *current != Some(fence)) => {}
                () = renew => {}
            }
            token.cancel();
        });
        over
    }
}

/// Takes or renews the Lease; answers the holder if that is a stranger.
async fn claim(client: &Client, name: &str, fence: Fence) -> Result<Option<String>, Error> {
    let identity = format!("{IDENTITY_PREFIX}{:016x}", fence.member);
    let now = Timestamp::now();
    let Some(mut lease) = client.find::<Lease>("kube-system", name).await? else {
        let mut lease = Lease::default();
        lease.metadata.namespace = Some("kube-system".to_owned());
        lease.metadata.name = Some(name.to_owned());
        take(&mut lease, &identity, now);
        client.create(&lease).await?;
        return Ok(None);
    };
    if let Some(stranger) = foreign_holder(&lease, now) {
        return Ok(Some(stranger.to_owned()));
    }
    take(&mut lease, &identity, now);
    client.update(&lease).await?;
    Ok(None)
}

/// The holder of a Lease that is still valid and not one of our members.
fn foreign_holder(lease: &Lease, now: Timestamp) -> Option<&str> {
    let spec = lease.spec.as_ref()?;
    let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())?;
    let renewed = spec.renew_time.as_ref()?.0;
    let seconds = i64::from(spec.lease_duration_seconds.unwrap_or(0));
    let valid = now.as_second() < renewed.as_second() + seconds;
    (valid && !holder.starts_with(IDENTITY_PREFIX)).then_some(holder)
}

fn take(lease: &mut Lease, identity: &str, now: Timestamp) {
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() != Some(identity) {
        spec.holder_identity = Some(identity.to_owned());
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count + 1));
    }
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = i32::try_from(LEASE_DURATION.as_secs()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_lease_of_a_stranger_keeps_us_passive() {
        let now = Timestamp::from_second(1_000).unwrap();
        let check = |holder: &str, renewed: i64| {
            let mut lease = Lease::default();
            take(&mut lease, holder, Timestamp::from_second(renewed).unwrap());
            foreign_holder(&lease, now).map(str::to_owned)
        };
        assert_eq!(check("node-1_abc", 995), Some("node-1_abc".to_owned()));
        assert_eq!(check("node-1_abc", 900), None);
        assert_eq!(check("kontiki-00000000000000a1", 999), None);
        assert_eq!(check("", 999), None);
    }

    #[test]
    fn transitions_count_changes_of_the_holder_only() {
        let mut lease = Lease::default();
        let now = Timestamp::from_second(1_000).unwrap();
        take(&mut lease, "kontiki-a", now);
        take(&mut lease, "kontiki-a", now);
        assert_eq!(lease.spec.as_ref().unwrap().lease_transitions, Some(0));
        take(&mut lease, "kontiki-b", now);
        assert_eq!(lease.spec.as_ref().unwrap().lease_transitions, Some(1));
    }
}
