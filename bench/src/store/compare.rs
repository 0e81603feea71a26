//! The comparison: both sides' members run beside each other and are driven by turns.

use std::{io::Write, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use kontiki_base::tasks::Tasks;
use serde_json::json;

use super::{
    host,
    members::{Cluster, Product},
    random::Values,
    rows::{self, Row, Turn},
    side::Side,
    table,
};
use crate::api::mebibytes;

/// How long a fresh cluster is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(5);

/// What to compare.
#[derive(Clone, Debug, clap::Args)]
pub struct CompareArgs {
    #[command(flatten)]
    /// Who is measured.
    pub products: ProductArgs,
    /// Two short turns instead of five
    #[arg(long)]
    pub quick: bool,
    /// Turns of each side
    #[arg(long, value_name = "N")]
    pub turns: Option<usize>,
    /// Seconds of each turn
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,
    /// Rows whose names begin so; all without
    pub rows: Vec<String>,
}

/// Whose members are started, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct ProductArgs {
    /// Our binary
    #[arg(long, value_name = "PATH", default_value = "kontiki")]
    pub kontiki: PathBuf,
    /// Another flag for our members; repeatable
    #[arg(long = "kontiki-flag", value_name = "FLAG", allow_hyphen_values = true)]
    pub kontiki_flags: Vec<String>,
    /// Measure etcd beside it: its binary
    #[arg(long, value_name = "PATH")]
    pub peer: Option<PathBuf>,
    /// Measure the peer alone
    #[arg(long, requires = "peer")]
    pub peer_only: bool,
    /// Folder for the members' data, on a disk [default: the system's temporary folder]
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

impl ProductArgs {
    /// Ours first.
    pub(super) fn products(&self) -> Vec<Product> {
        let ours =
            Product::Kontiki { program: self.kontiki.clone(), flags: self.kontiki_flags.clone() };
        let peer = self.peer.as_ref();
        let peer =
            peer.map(|program| Product::Etcd { program: program.clone(), flags: Vec::new() });
        [Some(ours).filter(|_| !self.peer_only), peer].into_iter().flatten().collect()
    }

    /// Where the members' folders go.
    pub(super) fn folder(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(std::env::temp_dir)
    }
}

/// Resident memory of one side's members, each, in MiB.
struct Memory {
    side: String,
    when: &'static str,
    rss: f64,
    anonymous: f64,
}

/// Runs the comparison and prints it.
pub async fn run(args: &CompareArgs, tasks: &Tasks) -> Result<()> {
    let rows = rows::chosen(&args.rows)?;
    let folder = args.products.folder();
    let conditions = host::describe(&folder)?;
    let mut clusters = Vec::new();
    for product in args.products.products() {
        clusters.push(Cluster::start(&product, &folder, tasks).await?);
    }
    let sides: Result<Vec<Side>> = clusters.iter().map(Cluster::side).collect();
    let sides = sides?;
    tokio::time::sleep(SETTLE).await;
    let mut memory = remember("idle", &sides, tasks).await?;
    let values = Values::default();
    for side in &sides {
        rows::load(side, &rows, &values, tasks).await.context(side.name.clone())?;
    }
    memory.extend(remember("100k keys loaded", &sides, tasks).await?);
    let (turns, seconds) = if args.quick { (2, 1.0) } else { (5, 3.0) };
    let turns = args.turns.unwrap_or(turns);
    let during = Duration::from_secs_f64(args.seconds.unwrap_or(seconds));
    let measured = take_turns(&rows, &sides, &values, turns, during, tasks).await?;
    memory.extend(remember("after all rows", &sides, tasks).await?);
    let versions: Vec<String> =
        sides.iter().map(|side| format!("{}: {}", side.name, side.version)).collect();
    let heading = format!(
        "{}. {conditions}. Three members each, TLS with client certificates everywhere; medians \
         of {turns} turns of {:.1} s.\n",
        versions.join(", "),
        during.as_secs_f64()
    );
    print(&heading, &measured, &sides, &memory, &clusters)
}

async fn take_turns(
    rows: &[Row],
    sides: &[Side],
    values: &Values,
    turns: usize,
    during: Duration,
    tasks: &Tasks,
) -> Result<Vec<Turn>> {
    let mut measured = Vec::new();
    for row in rows {
        for _ in 0..turns {
            for side in sides {
                let turn = rows::turn(row, side, values, during, tasks)
                    .await
                    .with_context(|| format!("{} of {}", row.name, side.name))?;
                writeln!(std::io::stderr(), "{}", turn.json())?;
                measured.push(turn);
            }
        }
    }
    Ok(measured)
}

async fn remember(when: &'static str, sides: &[Side], tasks: &Tasks) -> Result<Vec<Memory>> {
    let mut memory = Vec::new();
    for side in sides {
        let reading = side.reading(tasks).await?;
        let members = u64::try_from(side.processes.len().max(1))?;
        memory.push(Memory {
            side: side.name.clone(),
            when,
            rss: mebibytes(reading.rss / members),
            anonymous: mebibytes(reading.anonymous / members),
        });
    }
    Ok(memory)
}

fn print(
    heading: &str,
    turns: &[Turn],
    sides: &[Side],
    memory: &[Memory],
    clusters: &[Cluster],
) -> Result<()> {
    let names: Vec<String> = sides.iter().map(|side| side.name.clone()).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{heading}\n{}", table::markdown(turns, &names))?;
    writeln!(out, "| memory of a member, MiB | RSS | anonymous |\n|---|---:|---:|")?;
    for m in memory {
        let cells = [m.rss, m.anonymous].map(table::figure).join(" | ");
        writeln!(out, "| {}, {} | {cells} |", m.side, m.when)?;
    }
    writeln!(out)?;
    for (cluster, name) in clusters.iter().zip(&names) {
        let disk: u64 = cluster.members.iter().map(super::members::Member::disk_bytes).sum();
        let line = json!({"bench": "store", "side": name, "disk_mib": mebibytes(disk)});
        writeln!(std::io::stderr(), "{line}")?;
    }
    Ok(())
}
