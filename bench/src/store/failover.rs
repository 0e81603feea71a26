//! How long writes stand still when the leader dies, and when it is moved on purpose.
//!
//! The load goes through the members that stay. A write counts as the first of the new leader when
//! its answer carries a higher term: an answer that was already on its way does not end the
//! outage. Between two kills the dead member comes back and catches up.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use kontiki_base::tasks::Tasks;
use serde_json::json;

use super::{
    compare::ProductArgs,
    grpc::Grpc,
    host,
    members::Cluster,
    messages::{MoveLeaderRequest, MoveLeaderResponse},
    random::{Random, Values},
    requests::{Keys, put},
    side::{Side, status},
};
use crate::latency::Latencies;

/// Clients of each member that stays.
const CLIENTS_PER_MEMBER: usize = 8;
/// How long the load runs before the leader goes.
const BEFORE: Duration = Duration::from_secs(1);
/// How long a client waits for an answer before it tries again elsewhere.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long an outage may last.
const OUTAGE_MAX: Duration = Duration::from_secs(30);
/// How late threads woke up, as our members tell it.
const TICK_LAG: &str = "kontiki_store_tick_lag_seconds";

/// What to do how often.
#[derive(Clone, Debug, clap::Args)]
pub struct FailoverArgs {
    #[command(flatten)]
    /// Who is measured, one after the other.
    pub products: ProductArgs,
    /// How often the leader is killed
    #[arg(long, default_value_t = 20)]
    pub kills: usize,
    /// How often it is moved
    #[arg(long, default_value_t = 20)]
    pub moves: usize,
}

/// Runs both parts on each side and prints a line for each.
pub async fn run(args: &FailoverArgs, tasks: &Tasks) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{}. {CLIENTS_PER_MEMBER} clients on each member that stays.\n",
        host::describe(&args.products.folder())?
    )?;
    writeln!(
        out,
        "| side | what | times | writes stand still p50 ms | p99 ms | longest ms | call p50 ms | \
         failed requests | mean tick lag ms |\n|---|---|---:|---:|---:|---:|---:|---:|---:|"
    )?;
    for product in args.products.products() {
        let mut cluster = Cluster::start(&product, &args.products.folder(), tasks).await?;
        let load = Load::default();
        let mut kills = Part::default();
        for _ in 0..args.kills {
            let outage = kill(&mut cluster, &load, tasks).await?;
            writeln!(std::io::stderr(), "{}", json!({"kill_ms": outage.as_secs_f64() * 1e3}))?;
            kills.outages.record(outage);
        }
        kills.tick_lag = tick_lag(&cluster.side()?, tasks).await;
        // Requests through the killed member fail; how many is the load's doing, not the store's.
        writeln!(out, "{}", kills.line(product.name(), "leader killed", false))?;
        let mut moves = Part::default();
        for _ in 0..args.moves {
            moves.add(&move_leader(&cluster, &load, tasks).await?);
        }
        moves.tick_lag = tick_lag(&cluster.side()?, tasks).await;
        writeln!(out, "{}", moves.line(product.name(), "leader moved", true))?;
    }
    Ok(())
}

/// What one kind of outage came to.
#[derive(Default)]
struct Part {
    outages: Latencies,
    calls: Latencies,
    failed: usize,
    first_error: Option<String>,
    tick_lag: Option<f64>,
}

impl Part {
    fn add(&mut self, moved: &Moved) {
        self.outages.record(moved.gap);
        self.calls.record(moved.call);
        self.failed += moved.failed;
        if self.first_error.is_none() {
            self.first_error.clone_from(&moved.first_error);
        }
    }

    fn line(&self, side: &str, what: &str, counts_failures: bool) -> String {
        let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
        if let Some(error) = &self.first_error {
            tracing::warn!("{side}, {what}: {} requests failed, the first: {error}", self.failed);
        }
        let dash = || "-".to_owned();
        [
            String::new(),
            side.to_owned(),
            what.to_owned(),
            self.outages.len().to_string(),
            ms(self.outages.percentile(50)),
            ms(self.outages.percentile(99)),
            ms(self.outages.max()),
            if self.calls.is_empty() { dash() } else { ms(self.calls.percentile(50)) },
            if counts_failures { self.failed.to_string() } else { dash() },
            self.tick_lag.map_or_else(dash, |seconds| format!("{:.2}", seconds * 1e3)),
            String::new(),
        ]
        .join(" | ")
        .trim()
        .to_owned()
    }
}

/// Mean of all waking delays so far.
async fn tick_lag(side: &Side, tasks: &Tasks) -> Option<f64> {
    let sum = side.metric(&format!("{TICK_LAG}_sum"), tasks).await?;
    let count = side.metric(&format!("{TICK_LAG}_count"), tasks).await?;
    Some(sum / count.max(1.0))
}

/// Writers, and what they saw.
#[derive(Default)]
struct Load {
    values: Values,
    term: Cell<u64>,
    failed: Cell<usize>,
    first_error: RefCell<Option<String>>,
    /// When answers came.
    acknowledged: RefCell<Vec<Instant>>,
    /// When the first answer of a term above the watched one came.
    first_above: Cell<Option<(u64, Instant)>>,
    written: Cell<u64>,
}

const KEYS: Keys = Keys { prefix: "bench/failover/", count: 10_000, bytes: 256 };

impl Load {
    /// Writes through the given members until dropped.
    async fn write(&self, connections: &[Grpc]) {
        let clients = connections
            .iter()
            .flat_map(|connection| std::iter::repeat_n(connection, CLIENTS_PER_MEMBER))
            .map(|connection| async move {
                loop {
                    self.once(connection).await;
                }
            });
        let _: Vec<()> = join_all(clients).await;
    }

    async fn once(&self, connection: &Grpc) {
        let number = self.written.get();
        self.written.set(number + 1);
        let mut random = Random::of(0, number);
        let key = KEYS.key(random.below(KEYS.count));
        let value = self.values.cut(KEYS.bytes, &mut random);
        let answer = tokio::time::timeout(ANSWER_MAX, put(connection, key, value)).await;
        let now = Instant::now();
        match answer {
            Ok(Ok(answer)) => {
                self.acknowledged.borrow_mut().push(now);
                let term = answer.header.map_or(0, |header| header.raft_term);
                if term > self.term.get() && self.first_above.get().is_none() {
                    self.first_above.set(Some((term, now)));
                }
            }
            failed => {
                self.failed.set(self.failed.get() + 1);
                let text = match failed {
                    Ok(Err(error)) => format!("{error:#}"),
                    _ => format!("no answer within {ANSWER_MAX:?}"),
                };
                self.first_error.borrow_mut().get_or_insert(text);
                // A member without a leader may refuse at once: not in a tight loop.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    /// Forgets what was, and waits for an answer above this term from now on.
    fn watch(&self, term: u64) {
        self.term.set(term);
        self.first_above.set(None);
        self.failed.set(0);
        self.first_error.borrow_mut().take();
        self.acknowledged.borrow_mut().clear();
    }

    /// The longest time without an answer after a moment.
    fn longest_gap(&self, from: Instant) -> Duration {
        longest_gap(from, &self.acknowledged.borrow())
    }
}

/// The longest time without an answer after a moment. Answers come in order.
fn longest_gap(from: Instant, answers: &[Instant]) -> Duration {
    let mut last = from;
    let mut longest = Duration::ZERO;
    for answer in answers.iter().filter(|answer| **answer > from) {
        longest = longest.max(*answer - last);
        last = *answer;
    }
    longest
}

/// Kills the leader under load; the time to the first write that another leader acknowledged.
async fn kill(cluster: &mut Cluster, load: &Load, tasks: &Tasks) -> Result<Duration> {
    let side = cluster.side()?;
    let leader = side.leader(tasks).await?;
    let connections = side.connect(side.endpoints.len(), tasks).await?;
    let term = status(&connections[leader]).await?.raft_term;
    let stay: Vec<Grpc> = (0..connections.len())
        .filter(|member| *member != leader)
        .map(|member| connections[member].clone())
        .collect();
    load.watch(term);
    let kill = async {
        tokio::time::sleep(BEFORE).await;
        ensure!(load.first_above.get().is_none(), "the leader changed before it was killed");
        cluster.members[leader].kill()?;
        let killed = Instant::now();
        while load.first_above.get().is_none() {
            ensure!(killed.elapsed() < OUTAGE_MAX, "no write was acknowledged again");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (_, when) = load.first_above.get().context("checked above")?;
        Ok(when - killed)
    };
    let outage = tokio::select! { biased;
        outage = kill => outage?,
        () = load.write(&stay) => unreachable!("writers go on until dropped"),
    };
    cluster.members[leader].start()?;
    cluster.ready(tasks).await?;
    Ok(outage)
}

/// What one move came to.
struct Moved {
    call: Duration,
    gap: Duration,
    failed: usize,
    first_error: Option<String>,
}

/// Moves the leadership under load through every member.
async fn move_leader(cluster: &Cluster, load: &Load, tasks: &Tasks) -> Result<Moved> {
    let side = cluster.side()?;
    let leader = side.leader(tasks).await?;
    let connections = side.connect(side.endpoints.len(), tasks).await?;
    let target = status(&connections[(leader + 1) % connections.len()]).await?;
    let target = target.header.context("an answer has a header")?.member_id;
    load.watch(u64::MAX);
    let moving = async {
        tokio::time::sleep(BEFORE).await;
        let began = Instant::now();
        let request = MoveLeaderRequest { target_id: target };
        let path = "/etcdserverpb.Maintenance/MoveLeader";
        let _: MoveLeaderResponse = connections[leader].call(path, &request).await?;
        let call = began.elapsed();
        tokio::time::sleep(BEFORE).await;
        anyhow::Ok(Moved {
            call,
            gap: load.longest_gap(began),
            failed: load.failed.get(),
            first_error: load.first_error.borrow().clone(),
        })
    };
    tokio::select! { biased;
        moved = moving => moved,
        () = load.write(&connections) => unreachable!("writers go on until dropped"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_begins_with_the_move_or_an_answer_after_it() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let answers = [at(1), at(5), at(30), at(32)];
        let cases = [(0, 25), (10, 20), (31, 1), (40, 0)];
        for (from, longest) in cases {
            assert_eq!(longest_gap(at(from), &answers), Duration::from_millis(longest), "{from}");
        }
    }
}
