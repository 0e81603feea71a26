//! The `store` generator: any store that speaks the etcd v3 API, ours and etcd alike.
//!
//! ```text
//! rows -> turn: watchers, closed loops of clients -> grpc (one lean connection for ten clients)
//!                                                      |
//! members: three processes of each product <-----------+---> meters: /proc, /metrics
//! ```
//!
//! [`run`](StoreVerb) measures servers that run already. The other verbs start their own: three
//! members of ours, and beside them three of a peer, with the same security, disk and requests.
//! The generator runs on one thread, because it competes with what it measures.

pub mod churn;
pub mod compare;
mod contention;
mod drive;
pub mod failover;
mod fanout;
mod grpc;
pub(crate) mod host;
pub(crate) mod members;
mod messages;
mod random;
mod requests;
mod rows;
pub mod scale;
mod side;
pub(crate) mod table;

use std::{io::Write, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use kontiki_base::{
    tasks::Tasks,
    tls::{self, Identity, Roots},
};

use self::{
    churn::ChurnArgs, compare::CompareArgs, failover::FailoverArgs, random::Values,
    scale::ScaleArgs, side::Side,
};
use crate::process::Process;

/// What to do with stores.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum StoreVerb {
    /// Rows against servers that run already
    Run(RunArgs),
    /// Rows against members started for it, ours and a peer's by turns
    Compare(CompareArgs),
    /// The same load over few keys and over millions; memory, restart
    Scale(ScaleArgs),
    /// How long writes stand still when the leader is killed or moved
    Failover(FailoverArgs),
    /// Millions of overwrites with retention on: disk and memory over time
    Churn(ChurnArgs),
}

/// Servers that run already.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Addresses of all members
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    pub endpoints: Vec<String>,
    /// Authority of the servers; plain without
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Client certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Client key
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// A member's process whose CPU time and memory are read; repeatable
    #[arg(long = "pid", value_name = "NAME=PID")]
    pub pids: Vec<Process>,
    /// Turns of each row
    #[arg(long, default_value_t = 1)]
    pub turns: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Rows whose names begin so; all without
    pub rows: Vec<String>,
}

/// Runs a verb; what it found goes to stdout as markdown, single turns to stderr as lines of JSON.
pub async fn run(verb: &StoreVerb, tasks: &Tasks) -> Result<()> {
    match verb {
        StoreVerb::Run(args) => run_rows(args, tasks).await,
        StoreVerb::Compare(args) => compare::run(args, tasks).await,
        StoreVerb::Scale(args) => scale::run(args, tasks).await,
        StoreVerb::Failover(args) => failover::run(args, tasks).await,
        StoreVerb::Churn(args) => churn::run(args, tasks).await,
    }
}

async fn run_rows(args: &RunArgs, tasks: &Tasks) -> Result<()> {
    let rows = rows::chosen(&args.rows)?;
    let identity = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some(Identity::load(cert, key)?),
        _ => None,
    };
    let tls = match &args.cacert {
        Some(ca) => {
            let config = tls::client_config(&Roots::load(ca)?, identity.as_ref(), &[b"h2"])?;
            Some(Arc::new(config))
        }
        None => None,
    };
    let side = Side {
        name: "store".to_owned(),
        version: String::new(),
        endpoints: args.endpoints.clone(),
        tls,
        processes: args.pids.clone(),
    };
    let values = Values::default();
    rows::load(&side, &rows, &values, tasks).await.context("loading keys")?;
    let mut turns = Vec::new();
    for row in rows.iter().flat_map(|row| std::iter::repeat_n(row, args.turns)) {
        let during = Duration::from_secs_f64(args.seconds);
        let turn = rows::turn(row, &side, &values, during, tasks).await.context(row.name)?;
        writeln!(std::io::stderr(), "{}", turn.json())?;
        turns.push(turn);
    }
    write!(std::io::stdout(), "{}", table::markdown(&turns, &[side.name]))?;
    Ok(())
}
