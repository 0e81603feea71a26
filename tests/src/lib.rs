//! Black-box tests of the real `kontiki` binary: what they need to start it and to talk to it.
//!
//! The product is only ever a process here. Servers run unprivileged on loopback addresses and
//! ports of their own, with their data in a temporary folder that goes when the test ends; their
//! logs are printed when a test fails.

pub mod cluster;
pub mod command;
pub mod etcd;
pub mod etcdctl;
pub mod server;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long anything that should happen soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Looks until what is awaited is there, or it has taken too long: then the last reason is the
/// error.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + SOON;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(reason) if Instant::now() > deadline => {
                bail!("{what}: not within {SOON:?}: {reason:#}");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
