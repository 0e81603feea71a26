//! The `api` generator: creates, gets, lists and watches, as many clients would do them.

pub mod servers;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::future::join_all;
use http::{Method, StatusCode};
use kontiki_base::tasks::Tasks;
use tokio::sync::Mutex;

use crate::{
    connection::Connection,
    latency::Latencies,
    load::{Clients, Outcome},
    objects,
    process::{Meter, Process},
    report::Report,
    target::Target,
    watch::Watch,
};

/// How long watchers may lag behind the last write before the run counts as incomplete.
const WATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts of a write that is refused for a moment (429, or a namespace's account not yet made).
const ATTEMPTS_MAX: u32 = 50;

/// How long servers with all objects in them are left alone before their memory is read again.
const REST: Duration = Duration::from_secs(15);

/// What to do and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct ApiArgs {
    /// Clients, each with a connection of its own
    #[arg(long, default_value_t = 32)]
    pub clients: usize,
    /// ConfigMaps to create
    #[arg(long, default_value_t = 5_000)]
    pub creates: usize,
    /// Bytes of data in each
    #[arg(long, default_value_t = 256)]
    pub bytes: usize,
    /// Reads of single objects
    #[arg(long, default_value_t = 10_000)]
    pub gets: usize,
    /// Pods that lists return
    #[arg(long, default_value_t = 10_000)]
    pub pods: usize,
    /// Lists of all of them
    #[arg(long, default_value_t = 20)]
    pub lists: usize,
    /// Watchers that see every one of the watched writes
    #[arg(long, default_value_t = 100)]
    pub watchers: usize,
    /// Writes that the watchers see
    #[arg(long, default_value_t = 1_000)]
    pub watched_writes: usize,
    /// Process whose CPU time and memory are read, NAME=PID; repeatable
    #[arg(long = "pid", value_name = "NAME=PID")]
    pub pids: Vec<Process>,
}

/// Runs all parts in a namespace of their own and removes it.
pub async fn run(target: &Target, args: &ApiArgs, run: &str, tasks: &Tasks) -> Result<Report> {
    let mut report = Report::new("api");
    measure_all(target, args, run, &mut report, tasks).await?;
    Ok(report)
}

async fn measure_all(
    target: &Target,
    args: &ApiArgs,
    run: &str,
    report: &mut Report,
    tasks: &Tasks,
) -> Result<()> {
    let clients = Clients::connect(target, args.clients, tasks).await?;
    let mut one = clients.one()?;
    one.create("/api/v1/namespaces", &objects::namespace(run)).await?.success()?;
    let measured = measure(target, args, run, &clients, report, tasks).await;
    let cleaned = clean(&clients, args, run).await;
    measured?;
    cleaned
}

async fn measure(
    target: &Target,
    args: &ApiArgs,
    run: &str,
    clients: &Clients,
    report: &mut Report,
    tasks: &Tasks,
) -> Result<()> {
    report.add_count("clients", args.clients);
    let maps = format!("/api/v1/namespaces/{run}/configmaps");
    let meter = Meter::start(&args.pids)?;
    let creates = clients
        .run(args.creates, |connection, i| {
            let object = objects::config_map(run, &format!("map-{i}"), args.bytes);
            create(connection, &maps, object)
        })
        .await;
    tell(report, "create", &creates, &meter)?;

    let meter = Meter::start(&args.pids)?;
    let gets = clients
        .run(if args.creates == 0 { 0 } else { args.gets }, |mut connection, i| {
            let uri = format!("{maps}/map-{}", i % args.creates);
            async move {
                connection.call(Method::GET, &uri, None).await?.success()?;
                Ok(())
            }
        })
        .await;
    tell(report, "get", &gets, &meter)?;
    lists(args, run, clients, report).await?;
    watches(target, args, run, clients, report, tasks).await?;
    if !args.pids.is_empty() {
        servers::memory(report, "end", &args.pids)?;
        tokio::time::sleep(REST).await;
        servers::memory(report, "rested", &args.pids)?;
    }
    Ok(())
}

async fn lists(args: &ApiArgs, run: &str, clients: &Clients, report: &mut Report) -> Result<()> {
    let pods = format!("/api/v1/namespaces/{run}/pods");
    let meter = Meter::start(&args.pids)?;
    let made = clients
        .run(args.pods, |connection, i| {
            let object = objects::pod(run, &format!("pod-{i}"), objects::LABEL, "100m", "128Mi");
            create(connection, &pods, object)
        })
        .await;
    tell(report, "create_pod", &made, &meter)?;
    let meter = Meter::start(&args.pids)?;
    let mut one = clients.one()?;
    let (mut latencies, mut bytes) = (Latencies::default(), 0);
    let began = Instant::now();
    for _ in 0..args.lists {
        let start = Instant::now();
        bytes = one.drain(&pods).await?;
        latencies.record(start.elapsed());
    }
    let outcome = Outcome { latencies, elapsed: began.elapsed(), ..Outcome::default() };
    report.add_count("list_pods", made.latencies.len());
    report.add("list_size", mebibytes(u64::try_from(bytes)?), "MiB");
    tell(report, "list", &outcome, &meter)?;
    Ok(())
}

/// Writes ConfigMaps while watchers look on; from the answer to the writer to the event at each.
async fn watches(
    target: &Target,
    args: &ApiArgs,
    run: &str,
    clients: &Clients,
    report: &mut Report,
    tasks: &Tasks,
) -> Result<()> {
    if args.watchers == 0 || args.watched_writes == 0 {
        return Ok(());
    }
    let maps = format!("/api/v1/namespaces/{run}/configmaps");
    let mut one = clients.one()?;
    let list = one.call(Method::GET, &format!("{maps}?limit=1"), None).await?.success()?.json()?;
    let from = list["metadata"]["resourceVersion"].as_str().context("a list has a version")?;
    let mut watches = Vec::with_capacity(args.watchers);
    for watcher in 0..args.watchers {
        let server = target.server(watcher);
        let mut connection = Connection::open(server, &target.tls, tasks).await?;
        let watch = Watch::open(&mut connection, &maps, from).await?;
        // The connection lives as long as its watch.
        watches.push((connection, watch));
    }
    let meter = Meter::start(&args.pids)?;
    let acknowledged: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let writes = clients.run(args.watched_writes, |connection, i| {
        let name = format!("watched-{i}");
        let object = objects::config_map(run, &name, args.bytes);
        let (acknowledged, maps) = (acknowledged.clone(), maps.clone());
        async move {
            create(connection, &maps, object).await?;
            acknowledged.lock().await.insert(name, Instant::now());
            Ok(())
        }
    });
    let began = Instant::now();
    let seen = join_all(watches.into_iter().map(|(connection, watch)| async move {
        let seen = collect(watch, args.watched_writes).await;
        drop(connection);
        seen
    }));
    let (written, seen) = tokio::join!(writes, seen);
    let elapsed = began.elapsed();
    let acknowledged = acknowledged.lock().await;
    let mut lags = Latencies::default();
    for (name, when) in seen.into_iter().flatten() {
        if let Some(answered) = acknowledged.get(&name) {
            lags.record(when.saturating_duration_since(*answered));
        }
    }
    let expected = written.latencies.len() * args.watchers;
    report.add_count("watchers", args.watchers);
    report.add_count("watch_events_missing", expected.saturating_sub(lags.len()));
    let outcome = Outcome { latencies: lags, elapsed, ..Outcome::default() };
    tell(report, "watch_event", &outcome, &meter)
}

/// Names of watched objects with the time of their event, until all were seen.
async fn collect(mut watch: Watch, expected: usize) -> Vec<(String, Instant)> {
    let mut seen = Vec::with_capacity(expected);
    while seen.len() < expected {
        let next = tokio::time::timeout(WATCH_TIMEOUT, watch.next_json()).await;
        let Ok(Ok(Some((when, event)))) = next else { break };
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        if event["type"] == "ADDED" && name.starts_with("watched-") {
            seen.push((name.to_owned(), when));
        }
    }
    seen
}

/// Creates an object, again if the server asks to wait.
pub(crate) async fn create(
    mut connection: Connection,
    collection: &str,
    object: serde_json::Value,
) -> Result<()> {
    let body = Bytes::from(serde_json::to_vec(&object)?);
    for _ in 0..ATTEMPTS_MAX {
        let content = Some(("application/json", body.clone()));
        let answer = connection.call(Method::POST, collection, content).await?;
        let wait = match answer.status {
            StatusCode::TOO_MANY_REQUESTS => true,
            // A new namespace has no service account yet.
            StatusCode::FORBIDDEN => answer.body.windows(15).any(|w| w == b"service account"),
            _ => false,
        };
        if !wait {
            answer.success()?;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("refused {ATTEMPTS_MAX} times")
}

/// Adds the figures of one part.
pub(crate) fn tell(
    report: &mut Report,
    part: &str,
    outcome: &Outcome,
    meter: &Meter,
) -> Result<()> {
    report.add_count(&format!("{part}s"), outcome.latencies.len());
    if outcome.latencies.is_empty() && outcome.errors == 0 {
        return Ok(());
    }
    report.add(&format!("{part}_rate"), outcome.rate(), "/s");
    report.add_ms(&format!("{part}_p50"), outcome.latencies.percentile(50));
    report.add_ms(&format!("{part}_p99"), outcome.latencies.percentile(99));
    report.add_count(&format!("{part}_errors"), outcome.errors);
    if let Some(error) = &outcome.first_error {
        tracing::warn!("{part}: {} errors, the first: {error}", outcome.errors);
    }
    let cpu = meter.cpu_seconds()?;
    if cpu > 0.0 {
        let operations = u32::try_from(outcome.latencies.len().max(1))?;
        report.add(&format!("{part}_cpu"), cpu * 1e6 / f64::from(operations), "us/op");
    }
    Ok(())
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

/// Removes everything that was created.
async fn clean(clients: &Clients, args: &ApiArgs, run: &str) -> Result<()> {
    remove(clients, &format!("/api/v1/namespaces/{run}/pods"), args.pods, |i| format!("pod-{i}"))
        .await;
    let mut one = clients.one()?;
    one.call(Method::DELETE, &format!("/api/v1/namespaces/{run}"), None).await?.success()?;
    Ok(())
}

/// Deletes numbered objects at once, without grace.
pub(crate) async fn remove(
    clients: &Clients,
    collection: &str,
    count: usize,
    name: impl Fn(usize) -> String + Sync,
) {
    let outcome = clients
        .run(count, |mut connection, i| {
            let uri = format!("{collection}/{}?gracePeriodSeconds=0", name(i));
            async move {
                connection.call(Method::DELETE, &uri, None).await?;
                Ok(())
            }
        })
        .await;
    if let Some(error) = outcome.first_error {
        tracing::warn!("cleaning up: {} errors, the first: {error}", outcome.errors);
    }
}
