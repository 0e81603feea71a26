//! A day of writes by volume: the same keys overwritten again and again, with retention on.
//!
//! Disk and memory must level off once the first versions are past retention. Writes go in
//! transactions of a hundred, so that the volume comes together in minutes.

use std::{
    cell::Cell,
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Result;
use kontiki_base::tasks::Tasks;
use serde_json::json;

use super::{
    compare::ProductArgs,
    drive, host,
    members::Cluster,
    random::{Random, Values},
    requests::{Keys, put_batch},
    table,
};
use crate::api::mebibytes;

/// Puts of a transaction.
const BATCH: u64 = 100;
/// Clients that write.
const CLIENTS: usize = 8;

/// What to write.
#[derive(Clone, Debug, clap::Args)]
pub struct ChurnArgs {
    #[command(flatten)]
    /// Who is measured, one after the other.
    pub products: ProductArgs,
    /// Overwrites in all
    #[arg(long, default_value_t = 20_000_000)]
    pub writes: u64,
    /// Keys that are overwritten
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
    /// Revisions that are kept
    #[arg(long, default_value_t = 20_000)]
    pub retention_revisions: u64,
    /// Seconds between two looks at disk and memory
    #[arg(long, default_value_t = 15.0)]
    pub every: f64,
}

/// Runs it and prints a line per look.
pub async fn run(args: &ChurnArgs, tasks: &Tasks) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{}. {} overwrites of {} keys of 256 B, in transactions of {BATCH} by {CLIENTS} clients; {} \
         revisions are kept.\n",
        host::describe(&args.products.folder())?,
        args.writes,
        args.keys,
        args.retention_revisions
    )?;
    writeln!(
        out,
        "| side | seconds | overwrites | per s | RSS MiB | anonymous MiB | disk MiB |\n\
         |---|---:|---:|---:|---:|---:|---:|"
    )?;
    for product in args.products.products() {
        let product = product.retaining(args.retention_revisions);
        let cluster = Cluster::start(&product, &args.products.folder(), tasks).await?;
        churn(&cluster, args, tasks).await?;
    }
    Ok(())
}

async fn churn(cluster: &Cluster, args: &ChurnArgs, tasks: &Tasks) -> Result<()> {
    let side = cluster.side()?;
    let connections = side.connect(side.endpoints.len(), tasks).await?;
    let keys = Keys { prefix: "bench/churn/", count: args.keys, bytes: 256 };
    let (values, written, began) = (Values::default(), Cell::new(0u64), Instant::now());
    let writing = drive::all(&connections, CLIENTS, args.writes / BATCH, async |grpc, batch| {
        let mut random = Random::of(CLIENTS, batch);
        // Any hundred neighbours: no key twice in a transaction, which the API forbids.
        let first = random.below(keys.count.saturating_sub(BATCH));
        let salted = Keys { bytes: 128 + usize::try_from(random.below(256))?, ..keys };
        put_batch(grpc, &salted, &values, first..first + BATCH).await?;
        written.set(written.get() + BATCH);
        Ok(())
    });
    let look = async || {
        let members = u64::try_from(side.processes.len().max(1))?;
        let reading = side.reading(tasks).await?;
        let disk: u64 = cluster.members.iter().map(super::members::Member::disk_bytes).sum();
        let seconds = began.elapsed().as_secs_f64();
        let count = u32::try_from(written.get()).map_or(f64::MAX, f64::from);
        let (rss, disk) = (mebibytes(reading.rss / members), mebibytes(disk / members));
        let anonymous = mebibytes(reading.anonymous / members);
        let cells = [seconds, count, count / seconds, rss, anonymous, disk].map(table::figure);
        writeln!(std::io::stdout(), "| {} | {} |", side.name, cells.join(" | "))?;
        let line = json!({
            "bench": "store churn", "side": side.name, "seconds": seconds, "overwrites": count,
            "rss_mib": rss, "anonymous_mib": anonymous, "disk_mib": disk,
        });
        writeln!(std::io::stderr(), "{line}")?;
        anyhow::Ok(())
    };
    let mut interval = tokio::time::interval(Duration::from_secs_f64(args.every));
    let looking = async {
        loop {
            interval.tick().await;
            look().await?;
        }
    };
    tokio::select! { biased;
        written = writing => written?,
        failed = looking => return failed,
    }
    look().await
}
