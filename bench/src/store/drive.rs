//! Closed loops: many clients, each sending its next request when the last one was answered.

use std::{
    ops::AsyncFn,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{FutureExt, future::join_all};

use super::{grpc::Grpc, random::Random};
use crate::{latency::Latencies, load::Outcome};

/// How long answers may be waited for after the end of a run.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Clients of one connection, as etcd's published benchmark has it (1,000 on 100).
const CLIENTS_PER_CONNECTION: usize = 10;
/// After so many errors in a row a client gives up: the server is gone.
const ERRORS_MAX: usize = 1_000;

/// Connections for so many clients: one for ten, but at least one to each member.
pub(super) fn connections_for(clients: usize, members: usize) -> usize {
    clients.div_ceil(CLIENTS_PER_CONNECTION).next_multiple_of(members.max(1))
}

/// Runs the clients for a time. Each request of a client goes to another connection than its last,
/// so that every client speaks to all members in turn, as etcd's client does.
pub(super) async fn run<F>(
    connections: &[Grpc],
    clients: usize,
    during: Duration,
    operation: F,
) -> Result<Outcome>
where
    F: AsyncFn(&Grpc, Random) -> Result<()>,
{
    ensure!(!connections.is_empty(), "no connections");
    let began = Instant::now();
    let loops = (0..clients).map(|client| {
        // Boxed: a thousand of them are moved about while they wait for each other.
        one(connections, client, began + during, &operation).boxed_local()
    });
    let all = tokio::time::timeout(during + DRAIN_MAX, join_all(loops));
    let outcomes = all.await.context("answers are missing long after the run's end")?;
    let mut sum = Outcome::default();
    for outcome in outcomes {
        sum.latencies.extend(outcome.latencies);
        sum.errors += outcome.errors;
        sum.first_error = sum.first_error.or(outcome.first_error);
    }
    sum.elapsed = began.elapsed();
    Ok(sum)
}

async fn one<F>(connections: &[Grpc], client: usize, end: Instant, operation: &F) -> Outcome
where
    F: AsyncFn(&Grpc, Random) -> Result<()>,
{
    let mut outcome = Outcome { latencies: Latencies::default(), ..Outcome::default() };
    let mut errors_in_a_row = 0;
    for number in 0u64.. {
        let start = Instant::now();
        if start >= end || errors_in_a_row >= ERRORS_MAX {
            break;
        }
        let turn = usize::try_from(number).unwrap_or_default();
        let connection = &connections[(client + turn) % connections.len()];
        match operation(connection, Random::of(client, number)).await {
            Ok(()) => {
                outcome.latencies.record(start.elapsed());
                errors_in_a_row = 0;
            }
            Err(error) => {
                outcome.errors += 1;
                errors_in_a_row += 1;
                outcome.first_error.get_or_insert(format!("{error:#}"));
            }
        }
    }
    outcome
}

/// Runs numbered jobs, a few at a time: loading keys and the like, where only the end counts.
pub(super) async fn all<F>(connections: &[Grpc], at_once: usize, jobs: u64, job: F) -> Result<()>
where
    F: AsyncFn(&Grpc, u64) -> Result<()>,
{
    let next = std::cell::Cell::new(0);
    let workers = (0..at_once).map(|worker| {
        let (next, job) = (&next, &job);
        async move {
            let connection = &connections[worker % connections.len()];
            loop {
                let number = next.get();
                if number >= jobs {
                    return Ok(());
                }
                next.set(number + 1);
                job(connection, number).await.with_context(|| format!("job {number}"))?;
            }
        }
        .boxed_local()
    });
    join_all(workers).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_gets_connections() {
        let cases = [(1, 3, 3), (64, 3, 9), (256, 3, 27), (1000, 3, 102), (1, 1, 1), (64, 1, 7)];
        for (clients, members, expected) in cases {
            assert_eq!(connections_for(clients, members), expected, "{clients} on {members}");
        }
    }
}
