//! Whether size costs speed: the same load over a hundred thousand keys and over ten million.
//!
//! ```text
//! 100 thousand keys -> puts, gets | 1 million -> memory (and the peer's) | 10 million -> puts,
//! gets, and how long a killed member takes until it serves again
//! ```

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kontiki_base::tasks::Tasks;
use serde_json::{Value, json};

use super::{
    compare::ProductArgs,
    drive, host,
    members::Cluster,
    random::Values,
    requests::{self, Keys},
    side::Side,
    table,
};
use crate::{api::mebibytes, load::Outcome};

/// Clients of the measured load.
const CLIENTS: usize = 64;
/// Numbers of keys at which to stop and look: the first is the yardstick, the second is where
/// memory is compared, the last is the goal.
const SMALL: u64 = 100_000;
const MIDDLE: u64 = 1_000_000;
const LARGE: u64 = 10_000_000;
/// How long a restarted member may take.
const RESTART_MAX: Duration = Duration::from_secs(120);
/// How long the members may go on with what loading left them to do, flushes and compactions; and
/// how idle they are once it is done: of one core, all together, in such a period.
const SETTLE_MAX: Duration = Duration::from_secs(600);
const SETTLE_PERIOD: Duration = Duration::from_secs(2);
const SETTLED_LOAD: f64 = 0.08;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct ScaleArgs {
    #[command(flatten)]
    /// Who is measured. A peer is loaded with a million keys, where memory is compared.
    pub products: ProductArgs,
    /// The largest number of keys
    #[arg(long, default_value_t = LARGE)]
    pub keys: u64,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
}

/// Figures at one size.
struct Step {
    keys: u64,
    puts: Outcome,
    gets: Outcome,
    /// How long it went on working when it was loaded, in seconds.
    settled: f64,
    /// Of one member, in MiB.
    rss: f64,
    anonymous: f64,
    disk: f64,
}

/// Runs it and prints a table per side.
pub async fn run(args: &ScaleArgs, tasks: &Tasks) -> Result<()> {
    let conditions = host::describe(&args.products.folder())?;
    let mut out = std::io::stdout();
    writeln!(out, "{conditions}. {CLIENTS} clients; values of 256 B.\n")?;
    writeln!(
        out,
        "| side, keys | puts/s | p99 ms | gets/s | p99 ms | RSS MiB | anonymous MiB | disk MiB | \
         loaded keys/s | settled s |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )?;
    for (number, product) in args.products.products().iter().enumerate() {
        let mut cluster = Cluster::start(product, &args.products.folder(), tasks).await?;
        let last = if number == 0 { args.keys } else { args.keys.min(MIDDLE) };
        let mut from = 0;
        for keys in [SMALL, MIDDLE, LARGE].into_iter().filter(|k| *k < last).chain([last]) {
            let side = cluster.side()?;
            let loaded = load(&side, from, keys, tasks).await?;
            let step = step(&cluster, keys, args.seconds, tasks).await?;
            from = keys;
            writeln!(out, "| {}, {keys} {} |", side.name, cells(&step, loaded))?;
            writeln!(std::io::stderr(), "{}", line(&side.name, &step, loaded))?;
        }
        let restart = restart(&mut cluster, tasks).await?;
        let name = product.name();
        writeln!(
            out,
            "\n{name}: a killed member with {last} keys serves again after {restart:.2?}."
        )?;
    }
    Ok(())
}

fn keys_of(count: u64) -> Keys {
    Keys { prefix: "bench/scale/", count, bytes: 256 }
}

/// Loads up to `count` keys; how many a second.
async fn load(side: &Side, from: u64, count: u64, tasks: &Tasks) -> Result<f64> {
    let connections = side.connect(side.endpoints.len(), tasks).await?;
    let began = Instant::now();
    keys_of(count).load(&connections, &Values::default(), from).await?;
    let loaded = u32::try_from(count - from).map_or(f64::MAX, f64::from);
    Ok(loaded / began.elapsed().as_secs_f64())
}

async fn step(cluster: &Cluster, count: u64, seconds: f64, tasks: &Tasks) -> Result<Step> {
    let side = cluster.side()?;
    let (keys, values) = (keys_of(count), Values::default());
    let settled = settle(&side, tasks).await?;
    let connections =
        side.connect(drive::connections_for(CLIENTS, side.endpoints.len()), tasks).await?;
    let during = Duration::from_secs_f64(seconds);
    let gets = drive::run(&connections, CLIENTS, during, async |grpc, random| {
        requests::get_any(grpc, &keys, false, random).await
    })
    .await?;
    let puts = drive::run(&connections, CLIENTS, during, async |grpc, random| {
        requests::put_any(grpc, &keys, &values, random).await
    })
    .await?;
    let members = u64::try_from(side.processes.len().max(1))?;
    let reading = side.reading(tasks).await?;
    let disk: u64 = cluster.members.iter().map(super::members::Member::disk_bytes).sum();
    Ok(Step {
        keys: count,
        puts,
        gets,
        settled: settled.as_secs_f64(),
        rss: mebibytes(reading.rss / members),
        anonymous: mebibytes(reading.anonymous / members),
        disk: mebibytes(disk / members),
    })
}

/// Waits until the members rest; how long that took.
async fn settle(side: &Side, tasks: &Tasks) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let before = side.reading(tasks).await?.cpu_seconds;
        tokio::time::sleep(SETTLE_PERIOD).await;
        let used = side.reading(tasks).await?.cpu_seconds - before;
        let rests = used < SETTLED_LOAD * SETTLE_PERIOD.as_secs_f64();
        if rests || began.elapsed() > SETTLE_MAX {
            return Ok(began.elapsed());
        }
    }
}

fn cells(step: &Step, loaded: f64) -> String {
    let p99 = |outcome: &Outcome| outcome.latencies.percentile(99).as_secs_f64() * 1e3;
    [
        step.puts.rate(),
        p99(&step.puts),
        step.gets.rate(),
        p99(&step.gets),
        step.rss,
        step.anonymous,
        step.disk,
        loaded,
        step.settled,
    ]
    .map(|value| format!("| {}", table::figure(value)))
    .join(" ")
}

fn line(side: &str, step: &Step, loaded: f64) -> Value {
    json!({
        "bench": "store scale", "side": side, "keys": step.keys,
        "puts_per_s": step.puts.rate(), "put_errors": step.puts.errors,
        "gets_per_s": step.gets.rate(), "get_errors": step.gets.errors,
        "rss_mib": step.rss, "anonymous_mib": step.anonymous, "disk_mib": step.disk,
        "loaded_per_s": loaded, "settled_s": step.settled,
    })
}

/// Kills a follower, starts it again, and measures until it answers a linearizable read.
async fn restart(cluster: &mut Cluster, tasks: &Tasks) -> Result<Duration> {
    let leader = cluster.side()?.leader(tasks).await?;
    let follower = (leader + 1) % cluster.members.len();
    cluster.members[follower].kill()?;
    let began = Instant::now();
    cluster.members[follower].start()?;
    let side = cluster.side()?;
    let alone = Side { endpoints: vec![side.endpoints[follower].clone()], ..side };
    loop {
        let read = async {
            let connection = alone.connect(1, tasks).await?.pop().context("one")?;
            requests::get_any(&connection, &keys_of(1), false, super::random::Random::of(0, 0))
                .await
        };
        match tokio::time::timeout(RESTART_MAX, read).await? {
            Ok(()) => return Ok(began.elapsed()),
            Err(error) => {
                ensure!(began.elapsed() < RESTART_MAX, "the member does not come back: {error:#}");
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
