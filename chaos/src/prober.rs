//! A steady stream of HTTP requests from somewhere in the lab, every answer written down.
//!
//! Requests start at their appointed times whether or not earlier ones have been answered, each on
//! a connection of its own, so that a stalled server shows as failures and not as a slower prober,
//! and every request is routed anew.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use kontiki_base::{
    CancellationToken,
    tasks::{TaskKind, Tasks},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::lab::Network;

const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// At the rates the scenarios use, a minute of unanswered requests.
const OUTSTANDING_MAX: usize = 4_096;

/// What to ask, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// Asked in turn.
    pub targets: Vec<SocketAddr>,
    /// Path of the request.
    pub path: String,
    /// Time from one request's start to the next's.
    pub interval: Duration,
    /// A request not answered by then has failed.
    pub timeout: Duration,
}

impl Options {
    /// Twenty requests a second for `/`, each given two seconds.
    pub fn new(targets: Vec<SocketAddr>) -> Options {
        let (interval, timeout) = (Duration::from_millis(50), Duration::from_secs(2));
        Options { targets, path: "/".to_owned(), interval, timeout }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it started.
    pub start: Instant,
    /// How long it took to be answered, or to fail.
    pub took: Duration,
    /// Whom it went to.
    pub target: SocketAddr,
    /// The answer's body, or what went wrong.
    pub outcome: Result<String, String>,
}

/// What happened to the requests of a period.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Requests made.
    pub requests: usize,
    /// Requests not answered with status 200 in time.
    pub failed: usize,
    /// Answers by the first line of their body: by it an app says which of its pods it is.
    pub answers: BTreeMap<String, usize>,
    /// Failures by their message.
    pub failures: BTreeMap<String, usize>,
    /// The slowest answer.
    pub slowest: Duration,
}

/// A running prober. Dropping it stops it.
#[derive(Debug)]
pub struct Prober {
    records: Arc<watch::Sender<Vec<Record>>>,
    shutdown: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Prober {
    /// Starts asking from inside `network`.
    pub fn start(network: Network, options: Options) -> anyhow::Result<Prober> {
        let records = Arc::new(watch::Sender::new(Vec::new()));
        let shutdown = CancellationToken::new();
        let (log, stop) = (records.clone(), shutdown.clone());
        let work = move || {
            if let Err(error) = run(&network, options, &log, &stop) {
                tracing::error!("prober failed: {error:#}");
            }
        };
        let thread = std::thread::Builder::new().name("prober".to_owned()).spawn(work)?;
        Ok(Prober { records, shutdown, thread: Some(thread) })
    }

    /// All requests finished so far.
    pub fn records(&self) -> Vec<Record> {
        self.records.borrow().clone()
    }

    /// What became of the requests that started in this period and have finished.
    pub fn summary(&self, from: Instant, to: Instant) -> Summary {
        let records = self.records.borrow();
        summarise(records.iter().filter(|record| record.start >= from && record.start < to))
    }

    /// Waits until so many requests that started at `from` or later have finished.
    pub async fn ended(&self, from: Instant, count: usize) {
        let enough = |records: &Vec<Record>| {
            records.iter().filter(|record| record.start >= from).count() >= count
        };
        let mut records = self.records.subscribe();
        records.wait_for(enough).await.expect("the sender is ours");
    }

    /// Lets requests under way finish, stops, and gives every record.
    pub fn stop(mut self) -> Vec<Record> {
        self.finish();
        self.records()
    }

    fn finish(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Adds records up.
pub fn summarise<'a>(records: impl IntoIterator<Item = &'a Record>) -> Summary {
    let mut summary = Summary::default();
    for record in records {
        summary.requests += 1;
        match &record.outcome {
            Ok(body) => {
                let first_line = body.lines().next().unwrap_or_default().to_owned();
                *summary.answers.entry(first_line).or_default() += 1;
                summary.slowest = summary.slowest.max(record.took);
            }
            Err(message) => {
                summary.failed += 1;
                *summary.failures.entry(message.clone()).or_default() += 1;
            }
        }
    }
    summary
}

fn run(
    network: &Network,
    options: Options,
    log: &Arc<watch::Sender<Vec<Record>>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    network.enter().context("enter the prober's network")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (tasks, options) = (Tasks::new(), Arc::new(options));
        let slots = Arc::new(Semaphore::new(OUTSTANDING_MAX));
        let mut ticks = interval(options.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for turn in 0_usize.. {
            if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                break;
            }
            let slot = slots.clone().acquire_owned().await.expect("the semaphore stays open");
            let (options, log) = (options.clone(), log.clone());
            tasks.spawn_infallible(TaskKind::logged("probe"), async move {
                let target = options.targets[turn % options.targets.len()];
                let record = probe(target, &options).await;
                log.send_modify(|records| records.push(record));
                drop(slot);
            });
        }
        tasks.stop().await;
        Ok(())
    })
}

/// One request from inside `network`, for what is asked only once; gives the body.
pub fn get(
    network: &Network,
    target: SocketAddr,
    path: &str,
    time_max: Duration,
) -> anyhow::Result<String> {
    let answer = network.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { timeout(time_max, ask(target, path)).await? })
    });
    let answer = answer.with_context(|| format!("ask {target} for {path}"))?;
    body(&answer).map_err(|problem| anyhow::anyhow!("{target}{path}: {problem}"))
}

async fn probe(target: SocketAddr, options: &Options) -> Record {
    let start = Instant::now();
    let outcome = match timeout(options.timeout, ask(target, &options.path)).await {
        Ok(Ok(answer)) => body(&answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {:?}", options.timeout)),
    };
    Record { start, took: start.elapsed(), target, outcome }
}

async fn ask(target: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(target).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: kontiki-prober\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The body of a complete answer with status 200; anything else is a failure.
fn body(answer: &str) -> Result<String, String> {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Err(format!("incomplete answer of {} bytes", answer.len()));
    };
    let mut lines = head.lines();
    let status_line = lines.next().unwrap_or_default();
    if status_line.split(' ').nth(1) != Some("200") {
        return Err(status_line.to_owned());
    }
    let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        let is_length = name.eq_ignore_ascii_case("content-length");
        if is_length { value.trim().parse::<usize>().ok() } else { None }
    });
    match length {
        Some(length) if body.len() < length => Err(format!("{} of {length} bytes", body.len())),
        _ => Ok(body.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_with_status_200_counts() {
        let rows = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nweb-1", Ok("web-1")),
            ("HTTP/1.1 200 OK\r\n\r\nno length", Ok("no length")),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nweb-1", Err("5 of 9 bytes")),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Err("HTTP/1.1 503 Service Unavailable")),
            ("HTTP/1.1 200", Err("incomplete answer of 12 bytes")),
            ("", Err("incomplete answer of 0 bytes")),
        ];
        for (answer, expected) in rows {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(body(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_summary_counts_answers_by_pod() {
        let record = |outcome: Result<&str, &str>| Record {
            start: Instant::now(),
            took: Duration::from_millis(3),
            target: ([10, 99, 0, 11], 30080).into(),
            outcome: outcome.map(str::to_owned).map_err(str::to_owned),
        };
        let records = [record(Ok("web-1\nv1")), record(Ok("web-2\nv1")), record(Err("refused"))];
        let summary = summarise(&records);
        assert_eq!((summary.requests, summary.failed), (3, 1));
        assert_eq!(summary.answers, [("web-1".to_owned(), 1), ("web-2".to_owned(), 1)].into());
    }
}
