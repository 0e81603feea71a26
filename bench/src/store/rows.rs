//! What is measured: one row per kind of load, and how a row is run once against one side.

use std::time::Duration;

use anyhow::Result;
use kontiki_base::tasks::Tasks;
use serde_json::{Value, json};

use super::{
    contention::Contention,
    drive,
    fanout::{Pace, Watchers},
    grpc::Grpc,
    random::Values,
    requests::{self, Keys},
    side::Side,
};
use crate::load::Outcome;

/// Overwritten and read by most rows.
pub(super) const SMALL: Keys = Keys { prefix: "bench/small/", count: 100_000, bytes: 256 };
/// Overwritten by the row of larger values.
const LARGE: Keys = Keys { prefix: "bench/large/", count: 10_000, bytes: 2_048 };
/// Read as a whole.
const RANGE: Keys = Keys { prefix: "bench/range/", count: 10_000, bytes: 256 };
/// Fought for.
const CONTENDED: Keys = Keys { prefix: "bench/contended/", count: 4, bytes: 256 };

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// What it is called on the command line and in tables.
    pub(super) name: &'static str,
    clients: usize,
    work: Work,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Put(Keys),
    Get { serializable: bool },
    Range,
    Mixed { reads_percent: u64 },
    Contention,
    Grant,
    Watch { watchers: usize, pace: Pace },
}

const fn row(name: &'static str, clients: usize, work: Work) -> Row {
    Row { name, clients, work }
}

const fn watch(name: &'static str, watchers: usize, pace: Pace) -> Row {
    Row { name, clients: 1, work: Work::Watch { watchers, pace } }
}

/// All rows, in the order in which they are run: what writes much comes last.
pub(super) const ROWS: &[Row] = &[
    row("get-linearizable-64", 64, Work::Get { serializable: false }),
    row("get-serializable-64", 64, Work::Get { serializable: true }),
    row("range-10000-keys-4", 4, Work::Range),
    watch("watch-3-at-50/s", 3, Pace::Every(Duration::from_millis(20))),
    watch("watch-1000-at-10/s", 1_000, Pace::Every(Duration::from_millis(100))),
    watch("watch-1000-flood", 1_000, Pace::Flood),
    row("txn-contention-64", 64, Work::Contention),
    row("lease-grant-64", 64, Work::Grant),
    row("mixed-80-20-64", 64, Work::Mixed { reads_percent: 80 }),
    row("put-256b-1", 1, Work::Put(SMALL)),
    row("put-256b-64", 64, Work::Put(SMALL)),
    row("put-256b-256", 256, Work::Put(SMALL)),
    row("put-256b-1000", 1_000, Work::Put(SMALL)),
    row("put-2kb-64", 64, Work::Put(LARGE)),
];

/// Rows whose names begin with one of the given words; all without any.
pub(super) fn chosen(words: &[String]) -> Result<Vec<Row>> {
    let is_wanted = |row: &&Row| words.is_empty() || words.iter().any(|w| row.name.starts_with(w));
    let rows: Vec<Row> = ROWS.iter().filter(is_wanted).copied().collect();
    let unknown = words.iter().find(|w| !ROWS.iter().any(|row| row.name.starts_with(*w)));
    if let Some(word) = unknown {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        anyhow::bail!("no row begins with {word:?}; the rows are {}", names.join(", "));
    }
    Ok(rows)
}

/// Loads the keys that rows read or overwrite.
pub(super) async fn load(side: &Side, rows: &[Row], values: &Values, tasks: &Tasks) -> Result<()> {
    let connections = side.connect(side.endpoints.len(), tasks).await?;
    let mut loads = vec![SMALL];
    for row in rows {
        match row.work {
            Work::Put(keys) if keys.prefix == LARGE.prefix => loads.push(LARGE),
            Work::Range => loads.push(RANGE),
            _ => {}
        }
    }
    for keys in loads {
        keys.load(&connections, values, 0).await?;
    }
    Ok(())
}

/// One turn of a row on one side.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// The row's name.
    pub(super) row: &'static str,
    /// The side's.
    pub(super) side: String,
    /// Requests per second; events, where watches are measured.
    pub(super) rate: f64,
    /// Middle and 99th percentile of latencies in milliseconds.
    pub(super) p50_ms: f64,
    /// The latter.
    pub(super) p99_ms: f64,
    /// Requests that failed, or events that are missing.
    pub(super) errors: usize,
    /// The first of them.
    pub(super) first_error: Option<String>,
    /// Microseconds of the members' CPU for one request or event.
    pub(super) cpu_us: f64,
    /// The generator's.
    pub(super) generator_us: f64,
    /// Fsyncs of all members' logs for one request or event.
    pub(super) fsyncs: Option<f64>,
    /// Share of transactions that wrote, where they compete.
    pub(super) won: Option<f64>,
}

impl Turn {
    /// A line for machines.
    pub(super) fn json(&self) -> Value {
        let round = |value: f64| (value * 1e4).round() / 1e4;
        json!({
            "bench": "store",
            "row": self.row,
            "side": self.side,
            "per_s": round(self.rate),
            "p50_ms": round(self.p50_ms),
            "p99_ms": round(self.p99_ms),
            "errors": self.errors,
            "first_error": self.first_error,
            "cpu_us_per_op": round(self.cpu_us),
            "generator_us_per_op": round(self.generator_us),
            "fsyncs_per_op": self.fsyncs.map(round),
            "won": self.won.map(round),
        })
    }
}

/// A row's connections to one side, and what its clients share.
struct Session<'a> {
    row: &'a Row,
    values: &'a Values,
    connections: Vec<Grpc>,
    contention: Contention,
    watchers: Option<Watchers>,
}

impl<'a> Session<'a> {
    async fn open(
        row: &'a Row,
        side: &Side,
        values: &'a Values,
        tasks: &Tasks,
    ) -> Result<Session<'a>> {
        let count = drive::connections_for(row.clients, side.endpoints.len());
        let watchers = match row.work {
            Work::Watch { watchers, .. } => Some(Watchers::open(side, watchers, tasks).await?),
            _ => None,
        };
        Ok(Session {
            row,
            values,
            connections: side.connect(count, tasks).await?,
            contention: Contention::new(CONTENDED),
            watchers,
        })
    }

    /// The row's load for a time.
    async fn load(&mut self, during: Duration) -> Result<Outcome> {
        if let (Work::Watch { pace, .. }, Some(watchers)) = (self.row.work, &mut self.watchers) {
            return watchers.run(&self.connections[0], pace, during).await;
        }
        drive::run(&self.connections, self.row.clients, during, async |grpc, mut random| match self
            .row
            .work
        {
            Work::Put(keys) => requests::put_any(grpc, &keys, self.values, random).await,
            Work::Get { serializable } => {
                requests::get_any(grpc, &SMALL, serializable, random).await
            }
            Work::Range => requests::range_all(grpc, &RANGE).await,
            Work::Mixed { reads_percent } if random.below(100) < reads_percent => {
                requests::get_any(grpc, &SMALL, false, random).await
            }
            Work::Mixed { .. } => requests::put_any(grpc, &SMALL, self.values, random).await,
            Work::Contention => self.contention.attempt(grpc, self.values, random).await,
            Work::Grant => requests::grant(grpc).await,
            Work::Watch { .. } => unreachable!("watches have a load of their own"),
        })
        .await
    }
}

/// Runs a row once: a fifth of the time to warm up, then the whole of it measured.
pub(super) async fn turn(
    row: &Row,
    side: &Side,
    values: &Values,
    during: Duration,
    tasks: &Tasks,
) -> Result<Turn> {
    let mut session = Session::open(row, side, values, tasks).await?;
    session.load(during / 5).await?;
    let won = session.contention.won();
    let before = side.reading(tasks).await?;
    let outcome = session.load(during).await?;
    let after = side.reading(tasks).await?;
    let operations = count_f64(outcome.latencies.len()).max(1.0);
    let won = usize::try_from(session.contention.won() - won)?;
    let generator = after.generator_cpu_seconds - before.generator_cpu_seconds;
    let fsyncs = before.fsyncs.zip(after.fsyncs).map(|(before, after)| after - before);
    Ok(Turn {
        row: row.name,
        side: side.name.clone(),
        rate: outcome.rate(),
        p50_ms: outcome.latencies.percentile(50).as_secs_f64() * 1e3,
        p99_ms: outcome.latencies.percentile(99).as_secs_f64() * 1e3,
        errors: outcome.errors,
        first_error: outcome.first_error,
        cpu_us: (after.cpu_seconds - before.cpu_seconds) * 1e6 / operations,
        generator_us: generator * 1e6 / operations,
        fsyncs: fsyncs.map(|fsyncs| fsyncs / operations),
        won: matches!(row.work, Work::Contention).then(|| count_f64(won) / operations),
    })
}

fn count_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_how_they_begin() {
        let words = |list: &[&str]| list.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
        let names = |list: &[&str]| -> Vec<&str> {
            chosen(&words(list)).unwrap().iter().map(|row| row.name).collect()
        };
        assert_eq!(names(&["get-lin", "put-2kb"]), ["get-linearizable-64", "put-2kb-64"]);
        assert_eq!(names(&[]).len(), ROWS.len());
        assert!(chosen(&words(&["gets"])).unwrap_err().to_string().contains("no row begins"));
    }
}
